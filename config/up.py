"""`make up`: prepares the data directory, starts pages and workers, and says where to go.

Django runs in the child processes alone, so this one is small and starts at once.
"""

import argparse
import asyncio
import contextlib
import fcntl
import ipaddress
import logging
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from config import install
from config.environment import EX_CONFIG, Environment, refuse
from config.supervisor import Log, Program, RefusalError, Supervisor, back_off

BASE_DIR = Path(__file__).resolve().parent.parent
BEHIND_PROXY = "127.0.0.1:8000"  # where the pages are when RANKLOOP_URL is that of a TLS proxy
PREPARE = "manage.py prepare"
WEB = (
    "-m granian --interface wsgi --host {host} --port {port} --no-ws --workers 2 --blocking-threads 4"
    " --respawn-failed-workers --workers-kill-timeout 10 --log-level warning config.web:application"
)
WORKER = (
    "-m celery -q -A config worker -P solo -Q {queue} -n {queue}@%h"
    " --without-gossip --without-mingle --without-heartbeat"
)
SLOW = 30  # seconds without a page after which we say so
LINK = re.compile(r"(\S+) (https?://\S+/sign-in/\S+)")


class PreparationError(Exception):
    """The step before the first page failed; it has said why."""


class Installation:
    """One data directory, and the programs that serve it."""

    def __init__(self, *, data: Path, url: str, address: tuple[str, int], installs: bool) -> None:
        self.data = data
        self.url = url
        self.address = address
        self.installs = installs
        self.log = Log(data / "rankloop.log")
        self.supervisor = Supervisor(self.log, BASE_DIR)
        self.links: list[tuple[str, str]] = []
        self.pages_are_up = asyncio.Event()
        self.usable = {queue: asyncio.Event() for queue in install.REQUIREMENTS}
        self.installing = asyncio.Lock()  # one after the other, the light worker's few packages first

    async def serve(self) -> int:
        """Run until a signal or a refusal; the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.supervisor.interrupt)
        work = asyncio.create_task(self.work())
        asked = asyncio.create_task(self.supervisor.asked_to_end())
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        error = work.exception() if work.done() else None
        self.log.say("ending" if error is None else str(error))
        await self.supervisor.end()
        work.cancel()
        if isinstance(error, RefusalError | PreparationError):
            return EX_CONFIG if isinstance(error, RefusalError) else 1
        if error:
            raise error
        return 0

    async def work(self) -> None:
        """Prepare, then keep the pages and the workers alive."""
        if await self.supervisor.run(self.program("prepare", PREPARE), self.hear_of_links):
            raise PreparationError("the database could not be prepared; see the lines above")
        host, port = self.address
        web = self.program("web", WEB.format(host=host, port=port), RANKLOOP_PROCESS="web")
        await asyncio.gather(
            self.supervisor.keep(web),
            self.announce(),
            *(self.equip(queue) for queue in self.usable),
            *(self.worker(queue) for queue in self.usable),
        )

    def program(self, name: str, arguments: str, **environment: str) -> Program:
        """A Python program with our environment."""
        shared = {**os.environ, "RANKLOOP_DATA": str(self.data), "PYTHONUNBUFFERED": "1"}
        return Program(
            name=name,
            command=(sys.executable, *arguments.split()),
            environment={**shared, **environment},
        )

    async def worker(self, queue: str) -> None:
        """Keep a queue's worker alive, once its jobs have their packages."""
        await self.usable[queue].wait()
        worker = self.program(queue, WORKER.format(queue=queue), RANKLOOP_PROCESS="worker")
        await self.supervisor.keep(worker)

    async def equip(self, queue: str) -> None:
        """Once the pages are up, install what a queue's jobs import; without a network, try again later."""
        await self.pages_are_up.wait()
        pauses = back_off(30, longest=600)
        while self.installs and install.missing(queue):
            async with self.installing:
                failed = await self.supervisor.run(self.program(queue, f"-m config.install {queue}"))
            if not failed:
                self.log.say(f"packages of the {queue} worker are installed")
                break
            pause = next(pauses)
            start = "its worker starts with what is there" if install.is_usable(queue) else "its worker waits"
            self.log.say(
                f"packages for {queue} are not installed (no network?); {start}; tried again in {pause} s"
            )
            if install.is_usable(queue):
                self.usable[queue].set()
            await asyncio.sleep(pause)
        self.usable[queue].set()

    def hear_of_links(self, line: str) -> None:
        """Keep one-time links out of the log."""
        if link := LINK.fullmatch(line):
            self.links.append((link[1], link[2]))
        else:
            self.log.line("prepare", line)

    async def announce(self) -> None:
        """Wait for the first page, then print where to go."""
        started, patient = time.monotonic(), True
        while not await self.answers():
            await asyncio.sleep(0.1)
            if patient and time.monotonic() - started > SLOW:
                patient = False
                self.log.say(f"no page yet after {SLOW} s; /health does not answer with 200")
                self.pages_are_up.set()  # workers need no pages
        self.log.say(f"the pages are up at {self.url}")
        command = f"{os.path.relpath(sys.executable)} manage.py"
        links = [f"    {role:12}{link}" for role, link in self.links]
        if links:
            links = ["", "  Sign in; each link works once and for 15 minutes:", *links]
        banner = [
            "",
            f"  Rankloop: {self.url}",
            *links,
            "",
            f"  Another link:      {command} signin_link --help",
            f"  Something wrong:   {command} doctor",
            f"  The log:           {self.log.file}",
            "  Ctrl-C ends everything.",
            "",
        ]
        self.log.show("\n".join(banner))
        self.pages_are_up.set()

    async def answers(self) -> bool:
        """Whether the web server says that it is well."""
        host = urlsplit(self.url).netloc
        request = f"GET /health HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(*self.address)
                writer.write(request.encode())
                status = await reader.readline()
                writer.close()
        except (OSError, TimeoutError):
            return False
        return status.split(b" ")[1:2] == [b"200"]


def bind_address(url: str, wanted: str) -> tuple[str, int]:
    """Where the web server listens; an address that others reach must be behind https."""
    try:
        parts, https = urlsplit(url), url.startswith("https://")
        bind = urlsplit(f"//{wanted or (BEHIND_PROXY if https else parts.netloc)}")
        host, port = bind.hostname or "", bind.port or 80
    except ValueError:
        refuse(f"{wanted or url!r} has no usable port")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        is_local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local and not https:
        refuse(
            f"others could reach {host} and read along, for RANKLOOP_URL is {url}; put a TLS proxy in front"
            " and set RANKLOOP_URL to its https address, or use http://127.0.0.1:8000"
        )
    return host, port


def refuse_taken_port(host: str, port: int, url: str) -> None:
    """Say which port is taken, and what to set, before anything is started."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            setting = (
                f"--bind {host}:{port + 1}"
                if url.startswith("https:")
                else f"RANKLOOP_URL=http://{host}:{port + 1}"
            )
            refuse(
                f"port {port} on {host} can't be used ({error.strerror}); choose another, such as {setting}"
            )


def hold(data: Path) -> TextIO:
    """Make the data directory and lock it; a second `make up` on it is refused."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(0o700)
    lock = (data / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        refuse(f"it runs already on {data} (process {lock.read().strip()})")
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def write_secret(file: Path) -> None:
    """Make the secret that signs sessions, once."""
    with contextlib.suppress(FileExistsError), file.open("x", encoding="utf-8") as stream:
        stream.write(secrets.token_urlsafe(64) + "\n")


def main(arguments: list[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Check what can be checked here, then serve until the end."""
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument(
        "--bind", default="", metavar="HOST:PORT", help="listen here; else as RANKLOOP_URL says"
    )
    parser.add_argument(
        "--without-install", action="store_true", help="leave the workers' packages as they are"
    )
    options = parser.parse_args(arguments)
    os.umask(0o077)
    logging.raiseExceptions = False  # a full disk must not fill the terminal with tracebacks
    environment = Environment(environ)
    data = Path(environment.text("RANKLOOP_DATA", str(BASE_DIR / "data"))).absolute()
    with hold(data):
        if not environment.text("RANKLOOP_SECRET_KEY"):
            write_secret(data / "secret_key")
        from config import settings  # noqa: PLC0415, needs the secret; refuses what is wrong in the environment

        address = bind_address(settings.PUBLIC_URL, options.bind)
        refuse_taken_port(*address, settings.PUBLIC_URL)
        in_virtual_environment = sys.prefix != sys.base_prefix
        installation = Installation(
            data=data,
            url=settings.PUBLIC_URL,
            address=address,
            installs=in_virtual_environment and not options.without_install,
        )
        return asyncio.run(installation.serve())


if __name__ == "__main__":
    sys.exit(main())
