"""Keeps processes alive: starts them, starts them again, gathers what they say, ends them."""

import asyncio
import contextlib
import logging
import logging.handlers
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from config.environment import EX_CONFIG
from config.logs import CONTROL, ONE_TIME_LINK, USERINFO
from runs.launch import die_with_parent

LOG_BYTES, LOG_FILES = 10_000_000, 3
LONGEST_LINE = 10_000  # bytes; the rest of a longer one is left out
ALIVE = 60  # seconds after which a process counts as having started well
GRACE = 35  # seconds to end in: a worker has 30 to hand its run over
LONGEST_PAUSE = 60  # seconds
JUST_NOW = 15  # seconds
REFUSAL = "rankloop does not start: "  # how config.environment.refuse begins


class RefusalError(Exception):
    """A program refused its configuration; starting it again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to be run, and the name that its lines carry."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]


class Log:
    """One log of all processes: on the terminal, and in a file of its own that is rotated."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._handler = logging.handlers.RotatingFileHandler(
            file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )

    def line(self, name: str, text: str) -> None:
        """Keep one line, without passwords, one-time links and what could steer a terminal."""
        text = ONE_TIME_LINK.sub(r"\1…", USERINFO.sub(r"\1…@", text))
        text = f"{name:7}| {CONTROL.sub('', text)}"
        self._handler.handle(logging.makeLogRecord({"msg": text}))
        self.show(text)

    def say(self, text: str) -> None:
        """Keep a line of the supervisor's own."""
        self.line("up", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}")

    def show(self, text: str) -> None:
        """Print on the terminal alone; one that is gone is no reason to stop."""
        with contextlib.suppress(OSError, ValueError):
            print(text, flush=True)


class Supervisor:
    """The processes of one installation on one machine."""

    def __init__(self, log: Log, directory: Path) -> None:
        self.log = log
        self.directory = directory
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._asked_to_end = asyncio.Event()
        self._asked_again = asyncio.Event()
        self._none_left = asyncio.Event()

    def interrupt(self) -> None:
        """What a signal does: the first asks all to end, the second kills."""
        (self._asked_again if self._asked_to_end.is_set() else self._asked_to_end).set()

    async def asked_to_end(self) -> None:
        """Wait for the first signal."""
        await self._asked_to_end.wait()

    async def run(self, program: Program, said: Callable[[str], None] | None = None) -> int:
        """Run a program to its end, its lines going to the log or to `said`; its exit code."""
        if self._asked_to_end.is_set():
            raise asyncio.CancelledError
        process = subprocess.Popen(
            program.command,
            cwd=self.directory,
            env=program.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509, there is one thread
        )
        self._processes.add(process)
        self._none_left.clear()
        refused_at = -math.inf
        keep = said or partial(self.log.line, program.name)

        def hear(line: str) -> None:
            nonlocal refused_at
            if line.startswith(REFUSAL):
                refused_at = time.monotonic()
            keep(line)

        listening = asyncio.create_task(_listen(process, hear))
        await _until_ended(process)
        _kill_group(process)  # what it left behind
        code = process.wait()
        await asyncio.wait({listening}, timeout=1)
        listening.cancel()
        self._processes.discard(process)
        if not self._processes:
            self._none_left.set()
        # A web server's exit code does not tell why its workers ended; their words do.
        if code == EX_CONFIG or (code and time.monotonic() - refused_at < JUST_NOW):
            raise RefusalError(f"{program.name} refuses its configuration")
        return code

    async def keep(self, program: Program) -> None:
        """Run a program, and again whenever it ends, with longer and longer pauses."""
        pauses = back_off(1)
        while True:
            started = time.monotonic()
            code = await self.run(program)
            if self._asked_to_end.is_set():
                return
            if time.monotonic() - started > ALIVE:
                pauses = back_off(1)
            pause = next(pauses)
            self.log.say(f"{program.name} ended, {_reason(code)}; it starts again in {pause} s")
            await asyncio.sleep(pause)

    async def end(self) -> None:
        """Ask all processes to end, and kill those that have not after a while or a second signal."""
        self._asked_to_end.set()
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        if not self._processes:
            return
        waiting = {asyncio.create_task(event.wait()) for event in (self._none_left, self._asked_again)}
        await asyncio.wait(waiting, timeout=GRACE, return_when=asyncio.FIRST_COMPLETED)
        if self._processes:
            self.log.say("killing what has not ended")
            for process in self._processes:
                _kill_group(process)
            await self._none_left.wait()


def back_off(first: float, longest: float = LONGEST_PAUSE) -> Iterator[float]:
    """Pauses in seconds, each twice the one before."""
    while True:
        yield min(first, longest)
        first *= 2


async def _until_ended(process: subprocess.Popen[bytes]) -> None:
    """Wait for a process alone; asyncio's own wait goes on while a descendant holds its output open."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _listen(process: subprocess.Popen[bytes], hear: Callable[[str], None]) -> None:
    """Pass on what a process says, line by line."""
    stream = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(stream)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, process.stdout)
    rest = b""
    try:
        while chunk := await stream.read(2**16):
            *lines, rest = (rest + chunk).split(b"\n")
            rest = rest[:LONGEST_LINE]
            for line in lines:
                if text := line[:LONGEST_LINE].decode(errors="replace").rstrip():
                    hear(text)
        if rest:
            hear(rest.decode(errors="replace"))
    finally:
        transport.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those of its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(code: int) -> str:
    """An exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
