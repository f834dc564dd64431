"""How many comparisons raters can judge a second, beside the least that Django can do on the same server.

    python -m bench.web [--raters 8 32 64] [--seconds 10] [--repeats 3]

Both are served by granian with two processes, one after the other, from the same kind of database
(a new SQLite file; with DATABASE_URL a PostgreSQL server, a database made there and dropped).
Each rater is a session that judges without a pause as the page's script does: one POST stores the judgment
and brings the next comparison, already leased. The bare view does in one POST what cannot be left out:
a signed-in session, one row selected and a page of the same size, one row inserted, one commit.
Afterwards the database is read: a judgment that was acknowledged and isn't there is lost; more judgments
than places, or one comparison twice for a rater, are double. Medians over the repeats.
"""

import argparse
import http.client
import json
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
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import psycopg

PAGE_BYTES = 17_000  # what a comparison weighs here; the bare view’s answer is as long
COMPARISONS = 20_000
KEY = re.compile(r'action="/assignments/([0-9a-f-]{36})/judge/"')
FETCH = {"X-Requested-With": "fetch"}


@dataclass
class Load:
    """What came of some seconds of raters without a pause."""

    times: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)  # client keys
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0
    lost: int = 0
    double: int = 0

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def milliseconds(self, share: float) -> float:
        return 1000 * sorted(self.times)[min(len(self.times) - 1, int(share * len(self.times)))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--raters", type=int, nargs="+", default=[8, 32, 64])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    options = parser.parse_args()
    database = (
        "PostgreSQL" if os.environ.get("DATABASE_URL", "").startswith("postgres") else "SQLite, full sync"
    )
    print(
        f"{database}, {options.comparisons:,} comparisons, {options.repeats} x {options.seconds:.0f} s each"
    )
    print("raters   bare/s   ours/s  ratio    p50 ms   p95 ms   p99 ms  bare p95  errors  lost  double")
    for raters in options.raters:
        bare, ours = [], []
        for _ in range(options.repeats):
            bare.append(_measure(_bare, raters, options))
            ours.append(_measure(_rankloop, raters, options))
        ratio = statistics.median(a.rate / b.rate for a, b in zip(ours, bare, strict=True))
        shares = [statistics.median(load.milliseconds(share) for load in ours) for share in (0.5, 0.95, 0.99)]
        print(
            f"{raters:6}{_median(bare):9.0f}{_median(ours):9.0f}{ratio:7.2f} "
            + "".join(f"{share:9.1f}" for share in shares)
            + f"{statistics.median(load.milliseconds(0.95) for load in bare):10.1f}"
            + f"{sum(len(load.errors) for load in ours):8}{sum(load.lost for load in ours):6}"
            + f"{sum(load.double for load in ours):8}",
            flush=True,
        )
        for error in [error for load in ours for error in load.errors][:3]:
            print("   ", error)


def _median(loads: list[Load]) -> float:
    return statistics.median(load.rate for load in loads)


def _measure(serve: Callable, raters: int, options: argparse.Namespace) -> Load:
    folder = Path(tempfile.mkdtemp(prefix="rankloop-bench-"))
    try:
        with _database(folder) as url:
            with serve(folder, url, raters, options.comparisons) as (address, sessions):
                load = _run(address, sessions, options.seconds)
            if serve is _rankloop:
                _count(load, folder, url)
            return load
    finally:
        shutil.rmtree(folder)


def _run(address: str, sessions: list[Callable], seconds: float) -> Load:
    load = Load(seconds=seconds)
    until = time.monotonic() + seconds

    def work(judge: Callable) -> None:
        connection = http.client.HTTPConnection(address)
        while time.monotonic() < until:
            start = time.monotonic()
            try:
                key = judge(connection)
            except Exception as error:
                load.errors.append(repr(error))
                return
            load.times.append(time.monotonic() - start)
            load.acknowledged.append(key)

    threads = [threading.Thread(target=work, args=(judge,)) for judge in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def _count(load: Load, folder: Path, url: str) -> None:
    """Read what the database holds of what was acknowledged, and what it holds twice."""
    environment = _environment(folder, url, 1)
    command = [sys.executable, "-m", "bench.web_seed", "count"]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found = json.loads(done)
    load.lost = len(set(load.acknowledged) - set(found["keys"]))
    load.double = found["double"]


def _environment(folder: Path, url: str, port: int) -> dict[str, str]:
    secret = folder / "bench-secret"
    if not secret.exists():
        secret.write_text(secrets.token_urlsafe(64))
    return {
        **os.environ,
        "RANKLOOP_DATA": str(folder),
        "RANKLOOP_SECRET_KEY": secret.read_text(),
        "RANKLOOP_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": url,
    }


@contextmanager
def _rankloop(folder: Path, url: str, raters: int, comparisons: int) -> Iterator[tuple[str, list[Callable]]]:
    port = free_port()
    environment = _environment(folder, url, port)
    for command in (["migrate", "-v0"], ["collectstatic", "--noinput", "-v0"]):
        subprocess.run([sys.executable, "manage.py", *command], env=environment, check=True)
    seed = [sys.executable, "-m", "bench.web_seed", str(comparisons), str(raters)]
    links = subprocess.run(seed, env=environment, check=True, capture_output=True, text=True).stdout.split()
    links = [link for link in links if link.startswith("http")]
    with _granian("config.wsgi:application", port, environment | {"RANKLOOP_PROCESS": "web"}):
        yield f"127.0.0.1:{port}", [_rater(f"127.0.0.1:{port}", link) for link in links]


def _rater(address: str, link: str) -> Callable:
    connection = http.client.HTTPConnection(address)
    path = urlsplit(link).path
    cookie, body = _ask(connection, "GET", path)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', body)[1]
    cookie, _ = _ask(connection, "POST", path, {"csrfmiddlewaretoken": token}, cookie=cookie)
    _, page = _ask(connection, "GET", "/projects/bench/compare/", cookie=cookie)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[1]
    first = KEY.search(page)[1]
    _, more = _ask(connection, "GET", f"/projects/bench/next/?held={first}", cookie=cookie, headers=FETCH)
    hand = [first, KEY.search(more)[1]]

    def judge(connection: http.client.HTTPConnection) -> str:
        key = str(uuid.uuid4())
        current = hand.pop(0)
        answer = {
            "csrfmiddlewaretoken": token,
            "client_key": key,
            "order": "1>2",
            "active_ms": "4000",
            "held": hand[0],
        }
        _, more = _ask(
            connection, "POST", f"/assignments/{current}/judge/", answer, cookie=cookie, headers=FETCH
        )
        hand.append(KEY.search(more)[1])
        return key

    return judge


@contextmanager
def _bare(folder: Path, url: str, raters: int, comparisons: int) -> Iterator[tuple[str, list[Callable]]]:
    port = free_port()
    environment = {**os.environ, "DATABASE_URL": url}
    subprocess.run([sys.executable, "-m", "bench.bare", str(PAGE_BYTES)], env=environment, check=True)
    with _granian("bench.bare:application", port, environment | {"BARE": "serve"}):
        yield f"127.0.0.1:{port}", [_bare_rater(f"127.0.0.1:{port}", number) for number in range(raters)]


def _bare_rater(address: str, number: int) -> Callable:
    cookie, _ = _ask(http.client.HTTPConnection(address), "GET", f"/enter/rater{number}/")

    def judge(connection: http.client.HTTPConnection) -> str:
        _ask(connection, "POST", "/judge/", {"vote": "1"}, cookie=cookie)
        return ""

    return judge


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    form: dict | None = None,
    cookie: str = "",
    headers: dict | None = None,
) -> tuple[str, str]:
    """One request; the cookie after it, and the body."""
    headers = dict(headers or {})
    headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
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
