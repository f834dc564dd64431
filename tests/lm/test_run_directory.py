"""A run directory stays whole: killed at any moment, on a full disk, beside a child that should be gone."""

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Annotated

import pytest

from lm import run_directory
from lm.run_directory import RunDirectory, command, numeric_failure, read_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config."""

    steps: Annotated[int, "how many"] = 3


@pytest.fixture
def directory(tmp_path):
    """A run's directory as its program has it, just begun."""
    found = RunDirectory(tmp_path / "run")
    found.begin(Config(), resume=False)
    return found


def save(directory, step, text="weights", **options):
    with directory.checkpoint(step, **options) as folder:
        (folder / "weights").write_text(text)
        (folder / "inner").mkdir()
        (folder / "inner" / "state.json").write_text(json.dumps({"step": step}))


def left_over(directory):
    return [path.name for path in directory.path.rglob("*") if path.name.startswith((".tmp-", ".gone-"))]


def take_over(directory, token):
    """What a supervisor does before it starts another child, and that child's first act."""
    (directory.path / "token").write_text(str(token))
    successor = RunDirectory(directory.path, token=token)
    successor.begin(Config(), resume=True)
    return successor


# Beginning


def test_the_command_prepares_the_directory(tmp_path):
    config, directory, resume = command(Config, ["--steps", "5", "--output", str(tmp_path / "run")])
    assert (config, resume) == (Config(steps=5), False)
    assert directory.config() == {"steps": 5}


def test_resuming_by_hand_takes_the_stored_config(tmp_path):
    _, directory, _ = command(Config, ["--steps", "5", "--output", str(tmp_path)])
    save(directory, 1)
    config, directory, resume = command(Config, ["--output", str(tmp_path), "--resume"])
    assert (config.steps, resume, directory.latest_checkpoint().step) == (5, True, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "5"], "which holds a run; add --resume"),
        (["--resume", "--steps", "6"], "config.json differs"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_a_directory_that_holds_another_run_is_refused(words, message, tmp_path, capsys):
    _, directory, _ = command(Config, ["--steps", "5", "--output", str(tmp_path)])
    save(directory, 1)
    with pytest.raises(SystemExit) as exit_:
        command(Config, [*words, "--output", str(tmp_path)])
    assert exit_.value.code == 78
    assert message in capsys.readouterr().err


def test_resuming_a_complete_run_does_nothing(tmp_path, capsys):
    _, directory, _ = command(Config, ["--output", str(tmp_path)])
    directory.write_result({"loss": 1.0})
    with pytest.raises(SystemExit) as exit_:
        command(Config, ["--output", str(tmp_path), "--resume"])
    assert exit_.value.code == 0
    assert "complete" in capsys.readouterr().out


# Metrics


def test_a_report_is_a_line_at_once(directory):
    directory.report(step=1, total=3, phase="train", loss=0.5, note="fine")
    (line,) = read_lines(directory.path / "metrics.jsonl")
    assert line.pop("at") == pytest.approx(time.time(), abs=5)
    assert line == {"step": 1, "total": 3, "phase": "train", "loss": 0.5, "note": "fine"}


def test_a_number_that_is_not_finite_is_stored_as_null(directory):
    directory.report(step=1, total=3, loss=float("nan"), reward=float("inf"))
    (line,) = read_lines(directory.path / "metrics.jsonl")
    assert (line["loss"], line["reward"]) == (None, None)


def test_resuming_forgets_the_lines_after_its_step(directory):
    for step in range(1, 6):
        directory.report(step=step, total=9)
    with (directory.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 3, "tot')  # a line that was cut off
    again = take_over(directory, 1)
    again.resume(3)
    again.report(step=4, total=9)
    assert [line["step"] for line in read_lines(directory.path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_a_former_child_that_still_reports_changes_nothing(directory):
    directory.report(step=1, total=9)
    take_over(directory, 1).resume(1)
    directory.report(step=2, total=9)
    assert [line["step"] for line in read_lines(directory.path / "metrics.jsonl")] == [1]


def test_numeric_failure_ends_with_70():
    with pytest.raises(SystemExit) as exit_:
        numeric_failure("loss is nan at step 3")
    assert exit_.value.code == 70


# Checkpoints


def test_the_newest_checkpoint_is_found(directory):
    assert directory.latest_checkpoint() is None
    save(directory, 1)
    save(directory, 2, "newer")
    found = directory.latest_checkpoint()
    assert (found.step, (found.path / "weights").read_text()) == (2, "newer")
    assert left_over(directory) == []


def test_the_last_two_and_the_best_are_kept(directory):
    for step in range(1, 8):
        save(directory, step, best=step in (2, 3))
    assert directory.checkpoint_steps() == [3, 6, 7]


def test_a_checkpoint_of_the_same_step_replaces_the_earlier(directory):
    save(directory, 1, "first")
    save(directory, 1, "second")
    assert (directory.latest_checkpoint().path / "weights").read_text() == "second"
    assert left_over(directory) == []


def test_an_error_while_writing_publishes_nothing(directory):
    save(directory, 1)
    with pytest.raises(ZeroDivisionError), directory.checkpoint(2) as folder:
        (folder / "weights").write_text(str(1 / 0))
    assert directory.checkpoint_steps() == [1]
    assert left_over(directory) == []


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip,
    "truncated": lambda path: os.truncate(path, path.stat().st_size - 1),
    "emptied": lambda path: os.truncate(path, 0),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ["weights", "inner/state.json", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, name, directory, caplog):
    save(directory, 1)
    save(directory, 2)
    DAMAGES[damage](directory.path / "checkpoints/step-00000002" / name)
    if (damage, name) == ("flipped", "manifest.json"):  # one bit may leave what counts as it was
        (directory.path / "checkpoints/step-00000002" / name).write_text("{}")
    assert directory.latest_checkpoint().step == 1
    assert "checkpoint at step 2 is not whole" in caplog.text


def test_when_no_checkpoint_is_whole_the_run_does_not_start_over(directory, caplog):
    save(directory, 1)
    save(directory, 2)
    for step in (1, 2):
        flip(directory.path / f"checkpoints/step-0000000{step}/weights")
    with pytest.raises(SystemExit) as exit_:
        directory.latest_checkpoint()
    assert exit_.value.code == 66
    assert "no_checkpoint" in caplog.text


def test_resuming_removes_checkpoints_after_its_step(directory):
    save(directory, 1)
    save(directory, 2)
    flip(directory.path / "checkpoints/step-00000002/weights")
    again = take_over(directory, 1)
    again.resume(again.latest_checkpoint().step)
    assert directory.checkpoint_steps() == [1]
    assert left_over(directory) == []


# A full disk


def test_without_room_for_another_checkpoint_the_run_ends_before_it_writes(directory, monkeypatch):
    save(directory, 1, "x" * 1000)
    monkeypatch.setattr(RunDirectory, "free_bytes", lambda _: 2000)
    with pytest.raises(SystemExit) as exit_:
        save(directory, 2)
    assert exit_.value.code == 73
    assert directory.checkpoint_steps() == [1]


@pytest.mark.parametrize("act", ["checkpoint", "report", "result"])
def test_a_disk_that_is_really_full_ends_the_run_with_73(act, small_disk):
    directory = RunDirectory(small_disk / "run")
    directory.begin(Config(), resume=False)
    directory.report(step=1, total=9)
    save(directory, 1)
    if act != "checkpoint":
        with pytest.raises(OSError, match="No space left"):
            (small_disk / "filler").write_bytes(b"x" * 10_000_000)
    acts = {
        "checkpoint": lambda: save(directory, 2, "x" * 10_000_000),
        "report": lambda: directory.report(step=2, total=9, note="x" * 100_000),
        "result": lambda: directory.write_result({"note": "x" * 100_000}),
    }
    with pytest.raises(SystemExit) as exit_:
        acts[act]()
    assert exit_.value.code == 73
    assert directory.latest_checkpoint().step == 1
    assert not directory.has_result()


@pytest.mark.parametrize("broken", ["fsync", "rename"])
def test_an_error_of_the_disk_at_any_moment_leaves_the_checkpoint_before(broken, directory, monkeypatch):
    save(directory, 1)
    owner = os if broken == "fsync" else run_directory.Path
    real = getattr(owner, broken)
    for moment in range(8):
        calls = iter(range(100))

        def fail(*words, calls=calls, moment=moment):
            if next(calls) == moment:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*words)

        with monkeypatch.context() as patch:
            patch.setattr(owner, broken, fail)
            with contextlib.suppress(OSError):
                save(directory, 2)
        assert directory.latest_checkpoint().step in (1, 2)
        assert left_over(directory) == []


# Another child


def test_a_child_that_was_replaced_publishes_nothing(directory):
    save(directory, 1)
    with pytest.raises(SystemExit) as exit_, directory.checkpoint(2):
        (directory.path / "token").write_text("1")
    assert exit_.value.code == 75
    with pytest.raises(SystemExit):
        directory.write_result({})
    assert directory.checkpoint_steps() == [1]
    assert not directory.has_result()
    assert left_over(directory) == []


def test_a_child_that_slept_between_its_last_look_and_the_rename_publishes_nothing(directory, monkeypatch):
    save(directory, 1)
    real = run_directory.Path.rename

    def sleep_then_rename(source, target):
        if target.name == "step-00000002":
            monkeypatch.setattr(run_directory.Path, "rename", real)
            successor = take_over(directory, 1)
            successor.resume(successor.latest_checkpoint().step)
        return real(source, target)

    monkeypatch.setattr(run_directory.Path, "rename", sleep_then_rename)
    with pytest.raises(SystemExit) as exit_:
        save(directory, 2)
    assert exit_.value.code == 75
    assert directory.checkpoint_steps() == [1]


def test_a_child_that_was_replaced_before_it_began_ends_at_once(directory):
    (directory.path / "token").write_text("2")
    with pytest.raises(SystemExit) as exit_:
        RunDirectory(directory.path, token=1).begin(Config(), resume=True)
    assert exit_.value.code == 75


def test_what_a_killed_child_left_half_written_is_swept(directory):
    (directory.checkpoints / ".tmp-0-7").mkdir()
    (directory.checkpoints / ".tmp-0-7" / "weights").write_text("half")
    (directory.path / ".tmp-0-result.json").write_text("{")
    (directory.path / ".gone-0-step-00000001").mkdir()
    take_over(directory, 1)
    assert left_over(directory) == []


# A kill


def test_a_kill_while_writing_never_costs_a_published_checkpoint(tmp_path):
    _kill_while_writing(tmp_path, rounds=15, size=2_000_000)


@pytest.mark.verify
def test_two_hundred_kills_while_writing_never_cost_a_published_checkpoint(tmp_path):
    _kill_while_writing(tmp_path, rounds=200, size=24_000_000)


def _kill_while_writing(tmp_path, rounds, size):
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    context = multiprocessing.get_context("fork")
    acknowledged = context.Value("q", 0)
    for number in range(rounds):
        child = context.Process(target=_write_for_ever, args=(tmp_path, number + 1, size, acknowledged))
        (tmp_path / "token").write_text(str(number + 1))
        child.start()
        child.join(chance.uniform(0.02, 0.3))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        newest = RunDirectory(tmp_path).latest_checkpoint()
        assert (newest.step if newest else 0) >= acknowledged.value, f"seed {seed}, round {number}"
    assert acknowledged.value > 0
    take_over(RunDirectory(tmp_path), rounds + 1)
    assert left_over(RunDirectory(tmp_path)) == []


def _write_for_ever(path, token, size, acknowledged):
    directory = RunDirectory(path, token=token)
    directory.begin(Config(), resume=True)
    newest = directory.latest_checkpoint()
    step = directory.resume(newest.step if newest else 0)
    while True:
        step += 1
        with directory.checkpoint(step) as folder:
            for name in ("model", "optimizer", "state"):
                (folder / name).write_bytes(os.urandom(size // 3))
        acknowledged.value = step


def test_sigterm_is_noted_and_nothing_is_interrupted():
    program = (
        "import os, signal; from lm.run_directory import StopSignal; stop = StopSignal();"
        "os.kill(os.getpid(), signal.SIGTERM); print(bool(stop))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
