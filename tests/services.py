"""The real parts that tests run against: found on this machine, or started for one test run."""

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis

from tests.processes import Processes

FOLDER = "rankloop-parts-"
START_LIMIT = 30.0  # seconds until a server must answer


@dataclass(frozen=True, slots=True)
class Part:
    """A database, broker or browser: its version and where it is, or why it is left out."""

    version: str = ""
    where: str = ""
    address: str = ""  # what the tests are given: an address, or a program's path
    missing: str = ""  # the reason, where it is left out

    def __str__(self) -> str:
        """Version and place, or the reason."""
        return self.missing or ", ".join(filter(None, (self.version, self.where)))


class Missing(Exception):  # noqa: N818 (nothing is wrong)
    """Why a part can't be had."""


def temporary_folder() -> Path:
    """A new folder for all that one test run writes; those of killed runs are removed."""
    base = Path(tempfile.gettempdir())
    for old in base.glob(f"{FOLDER}*"):
        if not Path("/proc", old.name.removeprefix(FOLDER).split("-")[0]).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
    folder.chmod(0o711)  # a server without root's rights reaches its own folder inside
    return folder


def postgresql(address: str, *, processes: Processes, folder: Path) -> Part:
    """The server at the address where that is PostgreSQL's, else a new empty one."""
    try:
        if address.startswith(("postgres://", "postgresql://")):
            return Part(_postgresql_version(address), f"DATABASE_URL, {_host(address)}", address)
        return _temporary_postgresql(processes, folder)
    except psycopg.Error as error:
        return Part(missing=f"DATABASE_URL does not answer: {str(error).splitlines()[0]}")
    except Missing as reason:
        return Part(missing=str(reason))


def redis_server(address: str, *, processes: Processes, folder: Path) -> Part:
    """The server at the address, else a new empty one."""
    try:
        if address:
            return Part(_redis_version(address), f"REDIS_URL, {_host(address)}", address)
        return _temporary_redis(processes, folder)
    except redis.RedisError as error:
        return Part(missing=f"REDIS_URL does not answer: {error}")
    except Missing as reason:
        return Part(missing=str(reason))


@cache
def chromium() -> Part:
    """Chromium as the machine has it; nothing is downloaded."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
            if version := re.search(r"\d+[\d.]+", answer.stdout):
                return Part(version.group(), program, program)
    return Part(missing="there is no chromium, chromium-browser or google-chrome on the PATH")


def _temporary_postgresql(processes: Processes, folder: Path) -> Part:
    initdb, postgres = _postgresql_program("initdb"), _postgresql_program("postgres")
    place, password, port = _own_folder(folder / "postgresql"), secrets.token_hex(16), _free_port()
    address = f"postgresql://tests:{password}@127.0.0.1:{port}/postgres"
    secret = _own_file(place / "password", password)
    access = ["--username=tests", "--auth=scram-sha-256", f"--pwfile={secret}"]
    made = subprocess.run(
        [initdb, "-D", place / "data", "--encoding=UTF8", "--locale=C", "--no-sync", *access],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        **_unprivileged(),
    )
    if made.returncode:
        raise Missing(f"initdb failed: {made.stderr.strip()}")
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": 200,
        "fsync": "off",  # nothing here needs to survive
        "synchronous_commit": "off",
        "full_page_writes": "off",
    }
    log = place / "log.txt"
    server = processes.start(
        *(postgres, "-D", place / "data", *(f"--{name}={value}" for name, value in settings.items())),
        farewell=signal.SIGQUIT,  # at once
        stdin=subprocess.DEVNULL,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        cwd=place,
        **_unprivileged(),
    )
    version = _first_answer(server, lambda: _postgresql_version(address), silence=psycopg.Error, log=log)
    return Part(version, f"temporary, port {port}", address)


def _postgresql_program(name: str) -> str:
    # Debian keeps the server's programs off the PATH, a folder for each version; the newest first
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin_: -int(bin_.parent.name))
    for place in (None, *folders):
        if program := shutil.which(name, path=place and str(place)):
            return program
    raise Missing(f"there is no {name} on the PATH or in /usr/lib/postgresql; DATABASE_URL names no server")


def _postgresql_version(address: str) -> str:
    with psycopg.connect(address, connect_timeout=5) as connection:
        return str(connection.info.parameter_status("server_version")).split()[0]


def _temporary_redis(processes: Processes, folder: Path) -> Part:
    program = shutil.which("redis-server")
    if not program:
        raise Missing("there is no redis-server on the PATH, and REDIS_URL is not set")
    place, password, port = _own_folder(folder / "redis"), secrets.token_hex(16), _free_port()
    lines = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\ndir {place}\n'
    log = place / "log.txt"
    server = processes.start(
        *(program, _own_file(place / "redis.conf", lines)),
        farewell=signal.SIGTERM,
        stdin=subprocess.DEVNULL,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
        cwd=place,
        **_unprivileged(),
    )
    address = f"redis://:{password}@127.0.0.1:{port}/0"
    version = _first_answer(server, lambda: _redis_version(address), silence=redis.RedisError, log=log)
    return Part(version, f"temporary, port {port}", address)


def _redis_version(address: str) -> str:
    with redis.Redis.from_url(address, socket_connect_timeout=5) as client:
        return str(client.info("server")["redis_version"])


def _first_answer(
    server: subprocess.Popen[bytes], ask: Callable[[], str], *, silence: type[Exception], log: Path
) -> str:
    until = time.monotonic() + START_LIMIT
    while server.poll() is None and time.monotonic() < until:
        try:
            return ask()
        except silence:
            time.sleep(0.05)
    last_line = log.read_text(errors="replace").strip().rpartition("\n")[2]
    raise Missing(f"{Path(server.args[0]).name} does not answer; its log ends: {last_line}")


def _unprivileged() -> dict[str, Any]:
    """Whose rights a server gets where we are root: PostgreSQL refuses root's."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _own_folder(place: Path) -> Path:
    place.mkdir(mode=0o700)
    if rights := _unprivileged():
        os.chown(place, rights["user"], rights["group"])
    return place


def _own_file(file: Path, text: str) -> Path:
    file.touch(mode=0o600)
    file.write_text(text, encoding="utf-8")
    if rights := _unprivileged():
        os.chown(file, rights["user"], rights["group"])
    return file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _host(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.hostname or 'local socket'}:{parts.port or 'default port'}"
