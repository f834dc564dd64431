"""Count in numbered steps with checkpoints; fail in the way and at the step that the config says."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, command, numeric_failure


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """Every switch of the toy."""

    steps: Annotated[int, "how far to count"] = 5
    seconds: Annotated[float, "how long a step takes"] = 0.01
    checkpoint_every: Annotated[int, "steps between checkpoints; 0 for none"] = 1
    fail: Annotated[
        Literal["no", "crash", "kill", "nan", "hang", "disk_full", "no_result", "config", "finish"],
        "what goes wrong",
    ] = "no"
    fail_at: Annotated[int, "the step at which it goes wrong"] = 3
    fail_once: Annotated[bool, "whether it goes wrong in the first attempt alone"] = False
    ignore_sigterm: Annotated[bool, "whether it goes on when asked to stop"] = False
    grandchild: Annotated[bool, "whether it starts a process that outlives it"] = False

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}; it must not be negative")


def main(argv: list[str] | None = None) -> None:
    config, directory, _ = command(ToyConfig, argv)
    checkpoint = directory.latest_checkpoint()
    total = json.loads((checkpoint.path / "state.json").read_text())["sum"] if checkpoint else 0
    step = directory.resume(checkpoint.step if checkpoint else 0)
    stop = StopSignal()
    if config.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if config.grandchild:
        subprocess.Popen(["sleep", "300"])
    first = directory.path / "failed-once"
    while step < config.steps:
        step += 1
        time.sleep(config.seconds)
        if step == config.fail_at and not (config.fail_once and first.exists()):
            first.touch()
            go_wrong(config.fail, directory.path)
        total += step
        directory.report(step=step, total=config.steps, phase="count", sum=total, mean=total / step)
        if stop or (config.checkpoint_every and step % config.checkpoint_every == 0):
            with directory.checkpoint(step) as folder:
                (folder / "state.json").write_text(json.dumps({"sum": total}))
        if stop:
            sys.exit(EX_TEMPFAIL)
    if config.fail != "no_result":
        directory.write_result({"sum": total})


def go_wrong(how: str, path: Path) -> None:
    if how == "crash":
        raise RuntimeError("the toy broke")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "nan":
        numeric_failure("sum is nan")
    if how == "hang":
        time.sleep(600)
    if how == "disk_full":
        write_on_a_full_disk(path)
    if how == "config":
        sys.exit(78)


def write_on_a_full_disk(path: Path) -> None:
    with RunDirectory(path).checkpoint(10**6):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


if __name__ == "__main__":
    main()
