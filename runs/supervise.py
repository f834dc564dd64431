"""Carry one claimed run out: start its program, follow its files, keep the lease, and settle how it ended.

The program is a process of its own that knows only its run directory. It says how far it is in metrics.jsonl
and how it ended by its exit code; we ask it to stop by SIGTERM and make it stop by SIGKILL.
"""

import contextlib
import functools
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

from lm.config import EX_CONFIG, ConfigError
from lm.run_directory import (
    EX_DISK_FULL,
    EX_NOINPUT,
    EX_NUMERIC,
    EX_TEMPFAIL,
    FULL,
    read_line,
)
from runs import host, kinds, transitions
from runs.models import Run, State, Want, sha256
from runs.transitions import LostError

PATIENCE = 20  # seconds from SIGTERM to SIGKILL
OUTAGE = 45  # seconds for which a database may be away before the program is stopped
MAX_LINE = 64 * 1024
MAX_COUNT = 2**62  # what every database holds
FAILURES = {EX_CONFIG: "config", EX_NOINPUT: "no_checkpoint"}  # trying again won't help
PAUSES = {EX_NUMERIC: "numeric", EX_DISK_FULL: "disk_full"}  # a person, or room, can help
PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES")

Result = TypeVar("Result")
logger = logging.getLogger(__name__)


def carry_out(run: Run) -> None:
    """See a claimed run through until it ends, waits, is handed over, or is no longer ours."""
    supervision = Supervision(run)
    try:
        supervision.carry_out()
    except LostError as error:
        logger.warning("%s; nothing more is written", error)
    finally:
        supervision.kill()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the last line of metrics.jsonl says the program is."""

    step: int
    total: int
    phase: str


class Follower:
    """Reads what is new in a metrics.jsonl, also after the program has put a shorter one in its place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inode = self.offset = 0

    def news(self) -> Progress | None:
        """The last whole line since we looked."""
        latest = None
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self.inode:
                self.inode, self.offset = inode, 0
            file.seek(self.offset)
            while (text := file.readline(MAX_LINE)) and (text.endswith(b"\n") or len(text) == MAX_LINE):
                self.offset += len(text)
                latest = _progress(text) or latest
        return latest


class Supervision:
    """One attempt at one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.directory = run.directory
        self.child: subprocess.Popen[bytes] | None = None
        self.follower = Follower(self.directory.path / "metrics.jsonl")
        self.news: Progress | None = None  # not yet written to the database
        self.stopped_for = ""  # a Want, "stalled", "max_runtime" or "database"
        self.stored = False  # all that the kind takes in parts
        self.memory_kills = host.killed_for_memory()
        self.beat_due = self.progress_at = self.database_at = time.monotonic()
        self.runtime_until = self.kill_at = float("inf")

    def carry_out(self) -> None:
        """One attempt, from the claimed row to the settled one."""
        try:
            kind = kinds.get(self.run.kind)
            if sha256(self.run.config) != self.run.config_sha256:
                raise ConfigError("the stored config differs from the one that was started")
            if not self.directory.has_result():
                self.start(kind)
                self.follow()
            self.insist(self.note)  # also what a program wrote whose supervisor died before it could
            self.take_in(kind)
            self.settle(lambda: self.conclude(kind))
        except (LostError, OperationalError, InterfaceError):
            raise
        except Exception as error:  # a kind's own code, or a disk
            logger.exception("run %d: attempt %d failed", self.run.pk, self.run.attempt)
            self.kill()
            self.settle(functools.partial(self.conclude_error, error))

    def start(self, kind: kinds.Kind) -> None:
        """Make the directory ours, let the kind fill it, start the program."""
        path = self.directory.path
        path.mkdir(parents=True, exist_ok=True)
        self.insist(lambda: transitions.beat(self.run))  # one who slept and was replaced stops here
        if self.directory.current_token() > self.run.token:
            raise LostError(f"run {self.run.pk} has a newer token on disk")
        self.write("token", str(self.run.token))
        self.kill_former()
        self.write("config.json", json.dumps(self.run.config, indent=1))
        kind.prepare(self.run, self.directory)
        left = self.run.max_runtime - self.insist(self.run.active_time)
        self.runtime_until = time.monotonic() + left.total_seconds()
        program = [sys.executable, "-m", kind.module, "--config", str(path / "config.json")]
        program += ["--output", str(path), "--token", str(self.run.token)]
        program += ["--resume"] if self.run.token > 1 else []
        with (path / "log.txt").open("ab") as log:
            self.child = subprocess.Popen(
                [sys.executable, "-m", "runs.launch", str(os.getpid()), "--", *program],
                cwd=settings.BASE_DIR,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        pid = self.child.pid
        child = {"pid": pid, "start": host.process_start(pid), "boot_id": host.boot_id()}
        self.write("child.json", json.dumps(child))
        self.progress_at = time.monotonic()

    def kill_former(self) -> None:
        """End the program of the attempt before, if it still sleeps on this machine."""
        try:
            former = json.loads((self.directory.path / "child.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        start = host.process_start(former["pid"])
        if start and former == {"pid": former["pid"], "start": start, "boot_id": host.boot_id()}:
            logger.warning(
                "run %d: its former program %d still lives; it is killed", self.run.pk, former["pid"]
            )
            _signal_group(former["pid"], signal.SIGKILL)

    def follow(self) -> None:
        """Look at the program every second until it has ended."""
        assert self.child is not None  # noqa: S101
        turn = min(1.0, settings.RUN_HEARTBEAT.total_seconds() / 2)
        while self.child.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.child.wait(turn)
            self.look()
            if time.monotonic() > self.kill_at:
                self.kill()
        self.kill()  # whatever it left behind

    def look(self) -> None:
        """Note progress, keep the lease, see what is asked for and what takes too long."""
        now = time.monotonic()
        close_old_connections()
        try:
            self.note()
            self.database_at = now
        except (OperationalError, InterfaceError) as error:
            logger.warning("run %d: the database does not answer: %s", self.run.pk, str(error).strip())
        if now - self.database_at > OUTAGE:
            self.stop("database", PATIENCE)
        if now > self.runtime_until:
            self.stop("max_runtime", PATIENCE)
        if now - self.progress_at > settings.RUN_STALL.total_seconds():
            self.stop("stalled", PATIENCE)
        if self.run.want == Want.PAUSE:
            self.stop(Want.PAUSE, float("inf"))  # a step may take long; a stall ends it
        elif self.run.want != Want.NONE:
            self.stop(self.run.want, PATIENCE)

    def note(self) -> None:
        """Write down what is new, and at each heartbeat that we live; else read what is asked for."""
        news = self.follower.news()
        if news:
            self.news, self.progress_at = news, time.monotonic()
        if self.news:
            transitions.advance(self.run, step=self.news.step, total=self.news.total, phase=self.news.phase)
            self.news = None
        newest = max(self.directory.checkpoint_steps(), default=None)
        if time.monotonic() > self.beat_due or newest != self.run.checkpoint:
            transitions.beat(self.run, checkpoint=newest)
            self.beat_due = time.monotonic() + settings.RUN_HEARTBEAT.total_seconds()
        if not news:
            self.refresh()

    def refresh(self) -> None:
        """Read the row again; LostError if the run is no longer ours."""
        token = self.run.token
        self.run.refresh_from_db()
        if (self.run.state, self.run.token) != (State.RUNNING, token):
            raise LostError(f"run {self.run.pk} is no longer ours")

    def stop(self, reason: str, patience: float) -> None:
        """Ask the program once for each reason to write a checkpoint and end; the shortest patience holds."""
        if self.child is None or reason == self.stopped_for or self.kill_at < float("inf"):
            return
        self.stopped_for = reason
        self.kill_at = time.monotonic() + patience
        self.child.terminate()  # it alone: what it started it may need for its checkpoint

    def kill(self) -> None:
        """End the program and all that it started."""
        if self.child:
            _signal_group(self.child.pid, signal.SIGKILL)
            self.child.wait()

    def take_in(self, kind: kinds.Kind) -> None:
        """Let the kind store in parts what its program has found, until it is done or asked to stop."""
        self.stored = False
        if self.complete and self.run.want != Want.CANCEL:
            for step, total in kind.take_in(self.run, self.directory):
                self.news = Progress(step, total, "store")
                self.insist(self.note)
                if self.run.want != Want.NONE:
                    return
            self.stored = True

    @property
    def complete(self) -> bool:
        """Whether the program has ended well."""
        return not (self.child and self.child.returncode) and self.directory.has_result()

    def settle(self, conclude: Callable[[], None]) -> None:
        """Write down how the attempt ended; again where a wish came in between."""
        while True:
            try:
                return self.insist(conclude)
            except LostError:
                self.insist(self.refresh)

    def conclude(self, kind: kinds.Kind) -> None:
        """The transition that fits how the program ended."""
        run, code = self.run, self.child.returncode if self.child else 0
        if run.want == Want.CANCEL:
            transitions.stop(run)
        elif self.complete and self.stored:
            transitions.succeed(run, lambda: kind.finish(run, self.directory))
        elif code in FAILURES:
            transitions.fail(run, code=FAILURES[code], text=self.log_tail())
        elif code in PAUSES:
            transitions.pause(run, code=PAUSES[code], text=self.log_tail())
        elif self.stopped_for == "max_runtime":
            transitions.fail(run, code="max_runtime", text=f"It ran for more than {run.max_runtime}.")
        elif run.want == Want.PAUSE:
            transitions.pause(run)
        elif run.want == Want.HANDOFF:
            transitions.hand_over(run)
        else:
            transitions.retry(run, code=self.crash_code(code), text=f"Exit code {code}.\n{self.log_tail()}")

    def conclude_error(self, error: Exception) -> None:
        """The transition that fits an exception on our side of the program."""
        text = "".join(traceback.format_exception(error))
        if self.run.want == Want.CANCEL:
            transitions.stop(self.run)
        elif isinstance(error, ConfigError | kinds.UnknownKindError):
            transitions.fail(self.run, code="config", text=str(error))
        elif isinstance(error, OSError) and error.errno in FULL:
            transitions.pause(self.run, code="disk_full", text=str(error))
        else:
            transitions.retry(self.run, code="error", text=text)

    def crash_code(self, code: int) -> str:
        """What to call an end that may be tried again."""
        if self.stopped_for:
            return self.stopped_for
        if code == -signal.SIGKILL:
            return "out_of_memory" if host.killed_for_memory() > self.memory_kills else "killed"
        return "try_again" if code == EX_TEMPFAIL else "no_result" if code == 0 else "crashed"

    def log_tail(self) -> str:
        """The end of what the program said."""
        with contextlib.suppress(OSError), (self.directory.path / "log.txt").open("rb") as log:
            log.seek(max(log.seek(0, os.SEEK_END) - 4096, 0))
            return log.read().decode(errors="replace")
        return ""

    def write(self, name: str, text: str) -> None:
        """Put a file of ours into the directory, whole or not at all."""
        path = self.directory.path
        source = path / f".new-{name}"  # a name that the program, which may already run, does not sweep
        source.write_text(text, encoding="utf-8")
        source.rename(path / name)

    def insist(self, act: Callable[[], Result]) -> Result:
        """Do it on the database; where that does not answer, again for a while."""
        until = time.monotonic() + OUTAGE
        while True:
            close_old_connections()
            try:
                return act()
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > until:
                    raise
                logger.warning("run %d: the database does not answer: %s", self.run.pk, str(error).strip())
                time.sleep(1)


def environment() -> dict[str, str]:
    """What of our environment a program gets: no secret, no address of the database."""
    passed = {
        name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith("LC_")
    }
    return passed | {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1)),  # one core stays for the pages
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "1000",  # some microseconds: as fast as spinning, and others get the cores
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _progress(text: bytes) -> Progress | None:
    line = read_line(text)
    if not line or not 0 <= line["step"] <= MAX_COUNT or not 0 <= line["total"] <= MAX_COUNT:
        return None
    phase = "".join(letter for letter in str(line.get("phase", "")) if letter.isprintable())
    return Progress(line["step"], line["total"], phase[:64])


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)
