"""How many comparisons raters can judge a second, beside the least that Django can do on the same server.

    python -m bench.judging [--raters 8] [--seconds 10] [--repeats 3]

Both are served by granian with two processes, one after the other, from the same kind of database
(a new SQLite file; with DATABASE_URL a PostgreSQL server, a database made there and dropped).
A pair is a page with the next comparison and a posted judgment. Medians over the repeats.
"""

import argparse
import http.client
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psycopg

PAGE_BYTES = 9000  # about what a rater's page weighs
COMPARISONS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raters", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    ours, theirs, latencies = [], [], []
    for _ in range(options.repeats):
        theirs.append(_measure(_bare, options)[0])
        rate, slow = _measure(_rankloop, options)
        ours.append(rate)
        latencies.append(slow)
    database = (
        "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite, full sync"
    )
    print(f"{database}, {options.raters} raters, {options.repeats} x {options.seconds:.0f} s each")
    print(
        f"bare Django view   {statistics.median(theirs):7.0f} pairs/s  ({min(theirs):.0f} to {max(theirs):.0f})"
    )
    print(f"Rankloop           {statistics.median(ours):7.0f} pairs/s  ({min(ours):.0f} to {max(ours):.0f})")
    print(f"ratio              {statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):7.2f}")
    print(f"a pair takes       {1000 * statistics.median(latencies):7.1f} ms at the 95th percentile")


def _measure(serve: Callable, options: argparse.Namespace) -> tuple[float, float]:
    """Pairs a second, and the 95th percentile of a pair's seconds."""
    folder = Path(tempfile.mkdtemp(prefix="rankloop-bench-"))
    try:
        with _database(folder) as url, serve(folder, url, options.raters) as (address, raters):
            return _load(address, raters, options.seconds)
    finally:
        shutil.rmtree(folder)


def _load(address: str, raters: list[Callable], seconds: float) -> tuple[float, float]:
    times: list[float] = []
    errors: list[BaseException] = []
    until = time.monotonic() + seconds

    def work(pair: Callable) -> None:
        connection = http.client.HTTPConnection(address)
        try:
            while time.monotonic() < until:
                start = time.monotonic()
                pair(connection)
                times.append(time.monotonic() - start)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(pair,)) for pair in raters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return len(times) / seconds, sorted(times)[int(0.95 * len(times))]


@contextmanager
def _rankloop(folder: Path, url: str, raters: int) -> Iterator[tuple[str, list[Callable]]]:
    port = free_port()
    environment = {
        **os.environ,
        "RANKLOOP_DATA": str(folder),
        "RANKLOOP_SECRET_KEY": secrets.token_urlsafe(64),
        "RANKLOOP_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": url,
    }
    for command in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
        subprocess.run([sys.executable, "manage.py", *command], env=environment, check=True)
    seed = [sys.executable, "-m", "bench.judging_seed", str(COMPARISONS), str(raters)]
    links = subprocess.run(seed, env=environment, check=True, capture_output=True, text=True).stdout.split()
    with _granian("config.wsgi:application", port, environment | {"RANKLOOP_PROCESS": "web"}):
        yield f"127.0.0.1:{port}", [_rater(f"127.0.0.1:{port}", link) for link in links]


def _rater(address: str, link: str) -> Callable:
    connection = http.client.HTTPConnection(address)
    cookie, body = _ask(connection, "GET", urlsplit(link).path)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', body)[1]
    signed_in, _ = _ask(
        connection, "POST", urlsplit(link).path, {"csrfmiddlewaretoken": token}, cookie=cookie
    )

    def pair(connection: http.client.HTTPConnection) -> None:
        _, page = _ask(connection, "GET", "/projects/bench/compare/", cookie=signed_in)
        action = re.search(r'id="comparison" method="post" action="([^"]+)"', page)[1]
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
        answer = {
            "csrfmiddlewaretoken": token,
            "client_key": str(uuid.uuid4()),
            "order": "1>2",
            "active_ms": "4000",
        }
        _ask(connection, "POST", action, answer, cookie=signed_in)

    return pair


@contextmanager
def _bare(folder: Path, url: str, raters: int) -> Iterator[tuple[str, list[Callable]]]:
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "bench.bare", str(PAGE_BYTES)], env=environment, check=True)
    with _granian("bench.bare:application", port, environment | {"BARE": "serve"}):
        yield f"127.0.0.1:{port}", [_bare_rater(f"127.0.0.1:{port}", number) for number in range(raters)]


def _bare_rater(address: str, number: int) -> Callable:
    cookie, _ = _ask(http.client.HTTPConnection(address), "GET", f"/enter/rater{number}/")

    def pair(connection: http.client.HTTPConnection) -> None:
        _, page = _ask(connection, "GET", "/next/", cookie=cookie)
        _ask(connection, "POST", f"/store/{page.split(':')[0]}/", {"vote": "1"}, cookie=cookie)

    return pair


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, form: dict | None = None, cookie: str = ""
) -> tuple[str, str]:
    """One request; the cookie after it, and the body."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
    headers |= {"Cookie": cookie} if cookie else {}
    body = urlencode(form) if form else None
    try:
        connection.request(method, path, body, headers)
    except ConnectionError:  # the server had closed an idle one
        connection.close()
        connection.request(method, path, body, headers)
    response = connection.getresponse()
    body = response.read().decode()
    if response.status not in (200, 302):
        raise RuntimeError(f"{method} {path}: {response.status} {body[:300]}")
    return (response.getheader("Set-Cookie") or cookie).split(";")[0], body


@contextmanager
def _granian(application: str, port: int, environment: dict[str, str]) -> Iterator[None]:
    command = f"-m granian --interface wsgi --port {port} --workers 2 --blocking-threads 4 --no-ws --log-level error"
    server = subprocess.Popen(
        [sys.executable, *command.split(), application], env=environment, start_new_session=True
    )
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        time.sleep(1)  # the second process
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


@contextmanager
def _database(folder: Path) -> Iterator[str]:
    """A database of our own, gone afterwards."""
    server = os.environ.get("DATABASE_URL", "")
    if not server.startswith("postgres"):
        yield f"sqlite://{folder}/bench.sqlite3"
        return
    name = f"bench_{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
