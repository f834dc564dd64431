"""How long `make up` takes to its first page, and what it holds in memory, with packages installed.

    python -m bench.start [--repeats 3]

The first start makes the database and the demo project; the second finds them. Medians over the repeats.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.web import free_port


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    first, second, memory = [], [], []
    for _ in range(options.repeats):
        folder = Path(tempfile.mkdtemp(prefix="rankloop-bench-"))
        try:
            first.append(start(folder)[0])
            seconds, sizes = start(folder)
            second.append(seconds)
            memory.append(sizes)
        finally:
            shutil.rmtree(folder)
    print(f"first start, new database and demo   {statistics.median(first):5.1f} s to the first page")
    print(f"second start                         {statistics.median(second):5.1f} s")
    for name in memory[0]:
        print(f"{name:36} {statistics.median(sizes.get(name, 0) for sizes in memory):5.0f} MB")


def start(folder: Path) -> tuple[float, dict[str, float]]:
    """Seconds to the first page, and the megabytes of each process that stays."""
    address = f"http://127.0.0.1:{free_port()}"
    environment = {**os.environ, "RANKLOOP_DATA": str(folder), "RANKLOOP_URL": address}
    environment.pop("DATABASE_URL", None)
    began = time.monotonic()
    command = [sys.executable, "-m", "config.up", "--without-install"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            while not _answers(address):
                time.sleep(0.02)
                if process.poll() is not None or time.monotonic() - began > 120:
                    raise RuntimeError(f"no page; see the log in {folder}")
            seconds = time.monotonic() - began
            time.sleep(8)  # workers too
            return seconds, _memory(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _answers(address: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, ConnectionError):
        return urllib.request.urlopen(f"{address}/sign-in/", timeout=5).status == 200
    return False


def _memory(supervisor: int) -> dict[str, float]:
    """Resident megabytes of the supervisor and of its descendants, by what they are."""
    parents, sizes, names = {}, {}, {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            text = status.read_text()
            pid = int(status.parent.name)
            parents[pid] = int(re.search(r"PPid:\s+(\d+)", text)[1])
            sizes[pid] = int((re.search(r"VmRSS:\s+(\d+)", text) or [0, 0])[1]) / 1024
            names[pid] = (status.parent / "cmdline").read_text().replace("\0", " ")
    ours, found = {supervisor}, {}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    for pid in sorted(ours):
        kind = next(
            (word for word in ("config.up", "granian", "-Q light", "-Q train") if word in names[pid]),
            "web process",
        )
        label = f"{kind} {sum(name.startswith(kind) for name in found) + 1}"
        found[label] = sizes[pid]
    return found


if __name__ == "__main__":
    main()
