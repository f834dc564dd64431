"""A run directory: config in, metrics and checkpoints along the way, result last; a kill leaves it whole.

    config, directory, resume = command(MyConfig, argv)
    checkpoint = directory.latest_checkpoint()
    step = directory.resume(checkpoint.step if checkpoint else 0)
    stop = StopSignal()
    while step < config.steps:
        step += 1
        ...
        directory.report(step=step, total=config.steps, loss=loss)
        if step % config.checkpoint_every == 0 or stop:
            with directory.checkpoint(step) as folder:
                ...  # write files there
        if stop:
            sys.exit(EX_TEMPFAIL)
    directory.write_result({"loss": loss})

A supervisor writes a growing number into the file `token` and gives it to the child as `--token`. A child
whose number is no longer in the file has been replaced: it publishes nothing more. By hand there is no
number, and nobody to replace us.
"""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

from lm.config import ConfigError, Parser, from_json, read_json, to_json

EX_NOINPUT = 66  # checkpoints exist, none of them is whole
EX_NUMERIC = 70  # a number is not finite: the same again would give the same
EX_DISK_FULL = 73
EX_TEMPFAIL = 75  # stopped or replaced: try again
ROOM = 2.2  # free space asked for, in sizes of the last checkpoint
FULL = (errno.ENOSPC, errno.EDQUOT)

Config = TypeVar("Config")
logger = logging.getLogger(__name__)


def command(cls: type[Config], argv: Sequence[str] | None = None) -> tuple[Config, "RunDirectory", bool]:
    """Read a run's command line and prepare its directory; a bad config ends with exit code 78."""
    parser = Parser(cls)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="the run directory")
    parser.add_argument("--resume", action="store_true", default=False, help="go on from the last checkpoint")
    parser.add_argument(
        "--token", type=int, default=None, help="given by a supervisor: the number of this attempt"
    )
    argv = list(sys.argv[1:] if argv is None else argv)
    given, _ = parser.parse_known_args(argv)
    if given.resume and "config" not in given and (given.output / "config.json").is_file():
        argv += ["--config", str(given.output / "config.json")]
    config, rest = parser.read(argv)
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    if int(os.environ.get("RANK", "0")):  # torchrun's number of this process; the first one writes
        return config, Follower(rest.output, token=rest.token), rest.resume
    directory = RunDirectory(rest.output, token=rest.token)
    try:
        directory.begin(config, resume=rest.resume)
    except ConfigError as error:
        parser.error(str(error))
    if directory.has_result():
        print(f"{directory.path} holds a complete run; there is nothing to do")
        sys.exit(0)
    return config, directory, rest.resume


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A directory of files, published at once when all of them were on disk."""

    path: Path
    step: int


class StopSignal:
    """True once SIGTERM has asked us to stop: write a checkpoint, then exit with 75."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def __bool__(self) -> bool:
        return self.asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


class RunDirectory:
    """The files of one run; whoever reads needs no more than the path."""

    def __init__(self, path: Path | str, *, token: int | None = None) -> None:
        self.path = Path(path)
        self.checkpoints = self.path / "checkpoints"
        self.token = self.current_token() if token is None else token
        self._metrics: FileIO | None = None

    # What anybody may read

    def config(self) -> dict[str, Any]:
        """The config of the run as JSON."""
        return read_json(self.path / "config.json")

    def has_result(self) -> bool:
        """Whether the run is complete."""
        return (self.path / "result.json").is_file()

    def result(self) -> dict[str, Any]:
        """What the run found."""
        found: dict[str, Any] = json.loads((self.path / "result.json").read_text(encoding="utf-8"))
        return found

    def checkpoint_steps(self) -> list[int]:
        """Steps of the published checkpoints, oldest first, not verified."""
        names = self.checkpoints.iterdir() if self.checkpoints.is_dir() else ()
        return sorted(int(path.name[5:]) for path in names if re.fullmatch(r"step-\d{8,}", path.name))

    def checkpoint_bytes(self) -> int:
        """The size of the newest checkpoint; 0 without one."""
        steps = self.checkpoint_steps()
        return sum(file.stat().st_size for file in _files(self._step(steps[-1]))) if steps else 0

    def current_token(self) -> int:
        """The number of the attempt that owns the directory; 0 if it was never supervised."""
        try:
            return int((self.path / "token").read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0

    def find(self, path: Path) -> Path:
        """Where an input is: a relative path is looked up here first, as `input/…`, then where we started."""
        return self.path / path if not path.is_absolute() and (self.path / path).exists() else path

    def bring(self, folder: Path, name: str) -> Path:
        """Keep a folder's files as `input/NAME`, hard-linked where the disk allows it; the relative path."""
        target = self.path / "input" / name
        if not target.is_dir():
            aside = target.with_name(f".tmp-{name}")
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, aside, copy_function=_link)
            aside.rename(target)
        return target.relative_to(self.path)

    def free_bytes(self) -> int:
        """What the disk still holds."""
        return shutil.disk_usage(self.path).free

    # What the child does, in this order

    def begin(self, config: Any, *, resume: bool) -> None:
        """Take the directory over: write the config, sweep what a former child left half written."""
        self._refuse_if_replaced()
        if not resume and (self.has_result() or self.checkpoint_steps()):
            raise ConfigError(
                f"output is {str(self.path)!r}, which holds a run; add --resume or name another"
            )
        stored = self.path / "config.json"
        if stored.exists() and from_json(type(config), self.config()) != config:
            raise ConfigError(f"output is {str(self.path)!r}, whose config.json differs from this config")
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        self._sweep()
        if not stored.exists():
            self._publish("config.json", to_json(config))

    def latest_checkpoint(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None before the first; never a silent start at 0."""
        steps = self.checkpoint_steps()
        for step in reversed(steps):
            fault = _fault(self._step(step))
            if not fault:
                return Checkpoint(self._step(step), step)
            logger.warning("checkpoint at step %d is not whole (%s); taking the one before", step, fault)
        if steps:
            logger.error("no_checkpoint: none of the %d checkpoints is whole", len(steps))
            sys.exit(EX_NOINPUT)
        return None

    def resume(self, step: int) -> int:
        """Forget what came after this step, before anything is reported; gives the step back.

        The metrics are copied, opened and renamed: a former child that still runs holds a file that is gone.
        """
        self._metrics = self._metrics_up_to(step)
        for later in self.checkpoint_steps():
            if later > step:
                self._refuse_if_replaced()
                self._discard(self._step(later))
        return step

    def report(self, *, step: int, total: int, phase: str = "", **metrics: float | int | str | None) -> None:
        """Append a line to metrics.jsonl and print it; numbers that are not finite are stored as null."""
        line: dict[str, Any] = {"step": step, "total": total, "at": round(time.time(), 3)}
        if phase:
            line["phase"] = phase
        line |= {name: value if _finite(value) else None for name, value in metrics.items()}
        shown = "  ".join(f"{name} {_short(value)}" for name, value in metrics.items())
        with self._disk():
            _append(self._opened(), line)
            print(
                f"{time.strftime('%H:%M:%S')} {phase or 'step'} {step}/{total}  {shown}".rstrip(), flush=True
            )

    @contextlib.contextmanager
    def checkpoint(self, step: int, *, best: bool = False) -> Iterator[Path]:
        """Give a directory to write files into, and publish it by one rename when all are on disk."""
        if self.free_bytes() < ROOM * self.checkpoint_bytes():
            disk_full(f"less than {ROOM} times the last checkpoint is free")
        folder = self.checkpoints / f".tmp-{self.token}-{step}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with self._disk():
                folder.mkdir()
                yield folder
                manifest = {path.relative_to(folder).as_posix(): _digest(path) for path in _files(folder)}
                content = {"step": step, "token": self.token, "best": best, "files": manifest}
                (folder / "manifest.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
                for path in (*folder.rglob("*"), folder):
                    _sync(path)
                self._rename(folder, self._step(step))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._prune()

    def write_result(self, result: dict[str, Any]) -> None:
        """Say that the run is complete, and what it found. The last thing a run does."""
        with self._disk():
            self._publish("result.json", result)

    # How it is done

    def _opened(self) -> FileIO:
        if self._metrics is None:
            self._metrics = self._metrics_up_to(0)
        return self._metrics

    def _metrics_up_to(self, step: int) -> FileIO:
        target, source = self.path / "metrics.jsonl", self.path / f".tmp-{self.token}-metrics.jsonl"
        with self._disk():
            file = source.open("wb", buffering=0)
            for line in read_lines(target):
                if line["step"] <= step:
                    _append(file, line)
            os.fsync(file)
        self._rename(source, target)
        return file

    def _step(self, step: int) -> Path:
        return self.checkpoints / f"step-{step:08d}"

    def _sweep(self) -> None:
        """Remove what is half written, our own too: after this a former child has nothing left to publish."""
        for path in (*self.path.glob(".tmp-*"), *self.checkpoints.glob(".tmp-*")):
            self._discard(path)
        for path in self.path.glob(".gone-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _discard(self, path: Path) -> None:
        """Take a path away at once, so that nobody publishes or reads half of it, then delete it."""
        gone = self.path / f".gone-{self.token}-{path.name.lstrip('.')}"
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            else:
                path.unlink()

    def _publish(self, name: str, content: dict[str, Any]) -> None:
        source = self.path / f".tmp-{self.token}-{name}"
        source.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        _sync(source)
        self._rename(source, self.path / name)

    def _rename(self, source: Path, target: Path) -> None:
        """Publish, unless we were replaced.

        Between the look at the token and the rename a successor may start; it sweeps our source away first,
        and the rename fails.
        """
        if self.current_token() != self.token:
            self._discard(source)
            replaced()
        try:
            try:
                source.rename(target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self._discard(target)  # our own checkpoint of the same step
                source.rename(target)
        except FileNotFoundError:
            replaced()
        _sync(target.parent)

    def _refuse_if_replaced(self) -> None:
        if self.current_token() != self.token:
            replaced()

    def _prune(self) -> None:
        """Keep the last two checkpoints and the newest that was the best."""
        steps = self.checkpoint_steps()
        best = [step for step in steps if _manifest(self._step(step)).get("best")]
        for step in set(steps[:-2]) - set(best[-1:]):
            self._discard(self._step(step))

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """End with exit code 73 where something failed for want of space."""
        try:
            yield
        except Exception as error:  # safetensors has a class of its own for this
            if getattr(error, "errno", None) in FULL or "No space left" in str(error):
                disk_full(str(error))
            raise


class Follower(RunDirectory):
    """The directory for the other processes of a run that has several: they read it and write nothing."""

    def resume(self, step: int) -> int:
        """Leave the metrics to the first process."""
        return step

    def report(self, *, step: int, total: int, phase: str = "", **metrics: float | int | str | None) -> None:
        """Nothing: the first process says it for all."""

    def write_result(self, result: dict[str, Any]) -> None:
        """Nothing."""


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a metrics.jsonl; what a killed process left unfinished is no line."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for text in file:
            if line := read_line(text):
                yield line


def read_line(text: bytes) -> dict[str, Any] | None:
    """One line of a metrics.jsonl, if it is a whole one with its step and total."""
    try:
        line = json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None
    counted = isinstance(line, dict) and all(type(line.get(key)) is int for key in ("step", "total"))
    return line if counted else None


def numeric_failure(message: str) -> NoReturn:
    """End the run because a number is not finite; nothing of this step is published."""
    logger.error("numeric: %s", message)
    sys.exit(EX_NUMERIC)


def disk_full(message: str) -> NoReturn:
    """End the run until there is room."""
    logger.error("disk_full: %s", message)
    sys.exit(EX_DISK_FULL)


def replaced() -> NoReturn:
    """End the run because another child has taken it over."""
    logger.warning("another child has taken this run over; nothing more is written")
    sys.exit(EX_TEMPFAIL)


def _link(source: str, target: str) -> None:
    """One file under a second name, or a copy of it on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _manifest(folder: Path) -> dict[str, Any]:
    """What the checkpoint says it holds; empty where that can't be read."""
    try:
        found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _fault(folder: Path) -> str:
    """What keeps a checkpoint from being whole; empty if nothing does."""
    expected = _manifest(folder).get("files")
    if not isinstance(expected, dict):
        return "manifest.json is missing or damaged"
    for name, digest in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if _digest(path) != digest:
            return f"{name} differs from its checksum"
    return ""


def _sync(path: Path) -> None:
    """Ask the disk to keep this file or directory before we go on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _append(file: FileIO, line: dict[str, Any]) -> None:
    """Write a whole line at once; a disk that is nearly full takes a part and only then complains."""
    rest = json.dumps(line, allow_nan=False).encode() + b"\n"
    while rest:
        rest = rest[file.write(rest) :]


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
