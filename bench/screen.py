"""What a rater waits for in a browser: the cold page, and the time from a key to the next comparison painted.

    python -m bench.screen [--keys 60]

A new installation with the demo project, served by granian with two processes as `make up` does; a real
Chromium without a window, its cache empty. Bytes are those over the wire, headers included. Interactive means
that the page's script has its keys in place and the next comparison is in hand or being fetched. From key to
paint is measured in the page: from the key's own time stamp to the frame after the one that shows the next.
"""

import argparse
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from bench.web import _database, _granian, free_port

WATCH = """() => {
  window.painted = [];
  const screen = () => document.querySelector("#comparison")?.dataset.assignment;
  addEventListener("keydown", (event) => {
    const pressed = event.timeStamp, before = screen();
    const look = () => requestAnimationFrame(() => {
      if (screen() === before) return look();
      requestAnimationFrame((now) => painted.push(now - pressed));
    });
    look();
  }, { capture: true });
}"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keys", type=int, default=60)
    parser.add_argument("--cold", type=int, default=7, help="how often the cold page is loaded")
    options = parser.parse_args()
    folder, port = Path(tempfile.mkdtemp(prefix="rankloop-bench-")), free_port()
    try:
        with _database(folder) as url:
            environment = {
                **os.environ,
                "RANKLOOP_DATA": str(folder),
                "RANKLOOP_SECRET_KEY": secrets.token_urlsafe(64),
                "RANKLOOP_URL": f"http://127.0.0.1:{port}",
                "DATABASE_URL": url,
            }
            for command in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
                subprocess.run([sys.executable, "manage.py", *command], env=environment, check=True)
            seed = [sys.executable, "-m", "bench.web_seed", "400", "1"]
            done = subprocess.run(seed, env=environment, check=True, capture_output=True, text=True)
            link = next(word for word in done.stdout.split() if word.startswith("http"))
            with _granian("config.wsgi:application", port, environment | {"RANKLOOP_PROCESS": "web"}):
                _look(link, f"http://127.0.0.1:{port}/projects/bench/compare/", options)
    finally:
        shutil.rmtree(folder)


def _look(link: str, address: str, options: argparse.Namespace) -> None:
    chromium = next(
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        page.goto(link)
        page.locator("form button").first.click()
        page.wait_for_load_state()
        state = context.storage_state()
        loads = [_cold(browser.new_context(storage_state=state), address) for _ in range(options.cold)]
        kilobytes, requests, ready = (statistics.median(column) for column in zip(*loads, strict=True))
        print(f"cold page          {kilobytes:6.1f} kB over the wire, {requests:.0f} requests")
        print(f"interactive        {ready:6.0f} ms after the request, median of {options.cold}")
        times = _press(page, address, options.keys)
        slow = sorted(times)[int(0.95 * len(times))]
        print(
            f"key to painted     {statistics.median(times):6.1f} ms, 95 % under {slow:.1f} ms, {len(times)} keys"
        )


def _cold(context, address: str) -> tuple[float, int, float]:
    """Kilobytes, requests and milliseconds until the page can be used, with an empty cache."""
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    got: list[float] = []
    session.on("Network.loadingFinished", lambda event: got.append(event["encodedDataLength"]))
    page.goto(address, wait_until="load")
    ready = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    needed = len(got)
    size = sum(got[:needed]) / 1000
    context.close()
    return size, needed, ready


def _press(page: Page, address: str, keys: int) -> list[float]:
    page.goto(address)
    page.wait_for_load_state("networkidle")
    page.evaluate(WATCH)
    for number in range(keys):
        page.keyboard.press(("ArrowLeft", "ArrowRight", "ArrowDown")[number % 3])
        for _ in range(500):  # not wait_for_function, which the page's policy refuses
            if page.evaluate("painted.length") > number:
                break
            page.wait_for_timeout(10)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(150)  # people read, and the next one comes into hand
    return page.evaluate("painted")


if __name__ == "__main__":
    main()
