"""`make up` for tests: real processes, on a data directory and a port of their own."""

import contextlib
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.config.environments import clean

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 60  # seconds until something must have happened


def until(condition, what, limit=LIMIT):
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.05)
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Up:
    """One `make up`, less make."""

    def __init__(self, data, *arguments, **environment):
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.out = data.with_suffix(f".{self.port}.out")
        settings = {"RANKLOOP_DATA": data, "RANKLOOP_URL": self.url, "RANKLOOP_RECONCILE_SECONDS": 0.3}
        self.environment = clean(**settings | environment)
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "config.up", "--without-install", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, text):
        return text in self.out.read_text()

    def wait_for(self, text):
        until(lambda: self.said(text) or self.process.poll() is not None, text)
        assert self.said(text), self.out.read_text()

    def wait_for_banner(self):
        self.wait_for("Ctrl-C ends everything.")
        return self

    def wait_for_workers(self):
        self.wait_for_banner()
        until(lambda: len(self.workers()) == 2, "both workers sign in")
        return self

    def workers(self):
        with contextlib.closing(sqlite3.connect(self.data / "rankloop.sqlite3")) as database:
            return dict(database.execute("SELECT pid, queues FROM runs_worker"))

    def ended(self, limit=LIMIT):
        return self.process.wait(limit)

    def get(self, path):
        return httpx.get(self.url + path, timeout=10, trust_env=False)

    def manage(self, *arguments):
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def processes(self):
        """All living processes of this data directory, the supervisor's own included."""
        mark = f"RANKLOOP_DATA={self.data}\0".encode()
        found = {}
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                alive = (directory / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and mark in (directory / "environ").read_bytes():
                    found[int(directory.name)] = (directory / "cmdline").read_bytes().decode()
        return found

    def children(self, word):
        """The direct children of the supervisor whose command line has a word."""
        ours = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in ours if word in self.processes().get(int(pid), "")]
