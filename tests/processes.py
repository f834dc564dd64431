"""The processes of one test run and all that those start: none outlives it, whichever way it ends."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(slots=True)
class Processes:
    """What was started, in that order; the last goes first."""

    _started: list[tuple[subprocess.Popen[bytes], signal.Signals]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Let orphans come to this process instead of init, so that none slips away."""
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(
        self, *command: str | Path, farewell: signal.Signals, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; `farewell` ends it, also when this process is killed."""
        process = subprocess.Popen(
            [str(word) for word in command],
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the rest in order
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, farewell, 0, 0, 0),  # noqa: PLW1509 (one thread)
            **options,
        )
        self._started.append((process, farewell))
        return process

    def wait(self, process: subprocess.Popen[bytes], *, limit: float) -> int:
        """Wait for a command and return its exit code, burying orphans meanwhile."""
        until = time.monotonic() + limit
        while process.poll() is None:
            if time.monotonic() > until:
                raise TimeoutError
            self._bury()
            time.sleep(0.05)
        return process.returncode

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Say farewell to one command, and after 20 s no more than that."""
        farewell = next(signal for started, signal in self._started if started is process)
        if process.poll() is None:
            os.killpg(process.pid, farewell)
            try:
                self.wait(process, limit=20)
            except TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def end(self) -> list[str]:
        """End all, and name those that the started ones had left behind."""
        for process, _ in reversed(self._started):
            self.stop(process)
        self._until_none_is_left(limit=3)
        left = [_title(pid) for pid in _descendants()]
        for last in (signal.SIGTERM, signal.SIGKILL):
            for pid in _descendants():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, last)
                    os.kill(pid, signal.SIGCONT)  # a stopped process takes no other signal
            self._until_none_is_left(limit=3)
        return left

    def _until_none_is_left(self, *, limit: float) -> None:
        until = time.monotonic() + limit
        self._bury()
        while _descendants() and time.monotonic() < until:
            time.sleep(0.05)
            self._bury()

    def _bury(self) -> None:
        ours = {process.pid: process for process, _ in self._started}
        with contextlib.suppress(ChildProcessError):  # there is no child at all
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid in ours:
                    ours[dead.si_pid].poll()  # it keeps the exit code
                else:
                    os.waitpid(dead.si_pid, 0)


def _descendants() -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(os.getpid(), []))
    for pid in found:  # grows while it is read
        found.extend(children.get(pid, []))
    return found


def _title(pid: int) -> str:
    try:
        words = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
    except OSError:
        words = ""
    return f"{pid} {words[:120] or '(ended meanwhile)'}"
