"""Supervision with a real program: whatever happens to it, the run ends where it should."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import OperationalError, connection

from lm.run_directory import RunDirectory, read_lines
from runs import host, kinds, supervise, transitions
from runs.models import Run, State
from runs.supervise import Follower, Progress, carry_out, environment
from tests.runs.conftest import OTHER, OWNER, check_history, expire, history, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clocks")]


def steps(run):
    return [line["step"] for line in read_lines(run.directory.path / "metrics.jsonl")]


def child(run):
    return json.loads((run.directory.path / "child.json").read_text())["pid"]


def alive(pid):
    return bool(host.process_start(pid))


def again(run):
    """Claim the run as soon as it is due."""
    Run.objects.filter(pk=run.pk, state=State.RETRY_WAIT).update(not_before="2020-01-01T00:00:00Z")
    assert transitions.claim(["light"], OTHER) == run
    run.refresh_from_db()


class Beside:
    """Do something from another thread once the run has reached a step."""

    def __init__(self, run, step, act):
        self.errors = []
        self.thread = threading.Thread(target=self.work, args=(run, step, act))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join(30)
        assert not self.errors, self.errors

    def work(self, run, step, act):
        try:
            wait_until(lambda: steps(run) and steps(run)[-1] >= step)
            act(Run.objects.get(pk=run.pk))
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()


# Ends


def test_what_a_kind_takes_in_parts_is_progress_and_comes_before_its_end(claimed, monkeypatch):
    seen = []

    def take_in(kind, run, directory):
        for part in range(1, 4):
            seen.append((part, directory.has_result(), run.state))
            yield part, 3

    monkeypatch.setattr(type(kinds.get("toy")), "take_in", take_in)
    run = claimed({"steps": 2})
    carry_out(run)

    assert seen == [(part, True, State.RUNNING) for part in (1, 2, 3)]
    assert (run.state, run.step, run.total, run.phase) == (State.SUCCEEDED, 3, 3, "store")


@pytest.mark.parametrize(
    ("ask", "state"), [(transitions.cancel, State.CANCELLED), (transitions.request_pause, State.PAUSED)]
)
def test_a_wish_to_stop_is_heard_between_two_parts(claimed, monkeypatch, ask, state):
    taken = []

    def take_in(kind, run, directory):
        for part in range(1, 4):
            taken.append(part)
            if part == 2 and len(taken) == 2:
                ask(Run.objects.get(pk=run.pk), by="ada")
            yield part, 3

    monkeypatch.setattr(type(kinds.get("toy")), "take_in", take_in)
    run = claimed({"steps": 2})
    carry_out(run)
    assert (taken, run.state) == ([1, 2], state)

    transitions.resume(run, by="ada")
    assert transitions.claim(["light"], OTHER) == run
    run.refresh_from_db()
    carry_out(run)
    assert (taken[2:], run.state) == ([1, 2, 3], State.SUCCEEDED)


def test_a_run_is_carried_out(claimed):
    run = claimed({"steps": 5})
    carry_out(run)
    assert (run.state, run.step, run.total, run.checkpoint, run.phase) == (State.SUCCEEDED, 5, 5, 5, "count")
    assert steps(run) == [1, 2, 3, 4, 5]
    assert run.directory.result() == {"sum": 15}
    assert history(run)[-1] == ("running", "succeeded")
    assert "count 5/5" in (run.directory.path / "log.txt").read_text()
    assert json.loads((run.directory.path / "input/attempt.json").read_text()) == {"token": 1}
    check_history(run)


@pytest.mark.parametrize(
    ("how", "state", "code"),
    [
        ("crash", State.RETRY_WAIT, "crashed"),
        ("kill", State.RETRY_WAIT, "killed"),
        ("no_result", State.RETRY_WAIT, "no_result"),
        ("config", State.FAILED, "config"),
        ("nan", State.PAUSED, "numeric"),
        ("disk_full", State.PAUSED, "disk_full"),
        ("finish", State.RETRY_WAIT, "error"),
    ],
)
def test_each_way_to_end_has_its_state(how, state, code, claimed):
    run = claimed({"fail": how})
    carry_out(run)
    assert (run.state, run.error_code) == (state, code)
    assert run.owner == ""
    assert not alive(child(run))
    if how == "crash":
        assert "RuntimeError: the toy broke" in run.error_text
    check_history(run)


def test_a_program_that_was_killed_goes_on_from_its_checkpoint(claimed):
    run = claimed({"steps": 6, "fail": "kill", "fail_at": 4, "fail_once": True})
    carry_out(run)
    assert (run.state, run.checkpoint) == (State.RETRY_WAIT, 3)
    again(run)
    carry_out(run)
    assert run.state == State.SUCCEEDED
    assert steps(run) == [1, 2, 3, 4, 5, 6]
    assert run.directory.result() == {"sum": 21}
    assert run.attempt == 2


def test_three_attempts_without_a_checkpoint_are_a_crash_loop(claimed):
    run = claimed({"fail": "crash", "fail_at": 1})
    for _ in range(2):
        carry_out(run)
        assert run.state == State.RETRY_WAIT
        again(run)
    carry_out(run)
    assert (run.state, run.error_code) == (State.FAILED, "crash_loop")
    assert "the toy broke" in run.error_text


def test_a_run_whose_program_ended_unseen_shows_all_its_steps(claimed):
    run = claimed({"steps": 5})
    path = run.directory.path
    path.mkdir(parents=True)
    (path / "token").write_text("1")
    (path / "config.json").write_text(json.dumps(run.config))
    program = ["-m", "tests.runs.toy.job", "--config", str(path / "config.json"), "--output", str(path)]
    subprocess.run([sys.executable, *program, "--token", "1"], check=True, capture_output=True)
    expire(run)  # its supervisor died before it could write any of this down
    again(run)

    carry_out(run)

    assert (run.state, run.step, run.total, run.checkpoint) == (State.SUCCEEDED, 5, 5, 5)
    assert not (path / "child.json").exists()  # nothing was started again
    check_history(run)


def test_a_result_that_could_not_be_stored_is_stored_without_counting_again(claimed, monkeypatch):
    run = claimed({"fail": "finish"})
    carry_out(run)
    assert run.state == State.RETRY_WAIT
    monkeypatch.setattr(kinds.get("toy").__class__, "finish", lambda *_: None)
    again(run)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started again"))
    carry_out(run)
    assert run.state == State.SUCCEEDED


def test_checkpoints_that_are_all_damaged_fail_the_run_instead_of_starting_over(claimed):
    run = claimed({"steps": 6, "fail": "kill", "fail_at": 4, "fail_once": True})
    carry_out(run)
    for path in run.directory.checkpoints.rglob("state.json"):
        path.write_text("{}")
    again(run)
    carry_out(run)
    assert (run.state, run.error_code) == (State.FAILED, "no_checkpoint")
    assert steps(run) == [1, 2, 3]


def test_a_damaged_checkpoint_costs_its_steps_alone(claimed):
    run = claimed({"steps": 6, "fail": "kill", "fail_at": 4, "fail_once": True})
    carry_out(run)
    (run.directory.checkpoints / "step-00000003" / "state.json").write_text("{}")
    again(run)
    carry_out(run)
    assert run.state == State.SUCCEEDED
    assert steps(run) == [1, 2, 3, 4, 5, 6]
    assert "checkpoint at step 3 is not whole" in (run.directory.path / "log.txt").read_text()


def test_a_config_that_no_longer_works_fails_at_once(claimed):
    run = claimed()
    Run.objects.filter(pk=run.pk).update(config={"steps": 99})
    run.refresh_from_db()
    carry_out(run)
    assert (run.state, run.error_code) == (State.FAILED, "config")
    assert not run.directory.path.exists()


def test_a_kind_that_no_app_declares_any_more_fails_at_once(claimed):
    run = claimed()
    Run.objects.filter(pk=run.pk).update(kind="gone")
    run.refresh_from_db()
    carry_out(run)
    assert (run.state, run.error_code) == (State.FAILED, "config")
    assert "'gone'" in run.error_text


def test_a_kind_that_cannot_prepare_tries_again(claimed, monkeypatch):
    run = claimed()

    def prepare(*_):
        raise RuntimeError("no input today")

    monkeypatch.setattr(kinds.get("toy").__class__, "prepare", prepare)
    carry_out(run)
    assert (run.state, run.error_code) == (State.RETRY_WAIT, "error")
    assert "no input today" in run.error_text


# Limits


def test_a_program_without_progress_is_ended_and_tries_again(claimed, clocks, monkeypatch):
    monkeypatch.setattr(supervise, "PATIENCE", 1)
    clocks.RUN_STALL = timedelta(seconds=1)
    run = claimed({"fail": "hang"})
    carry_out(run)
    assert (run.state, run.error_code, run.step) == (State.RETRY_WAIT, "stalled", 2)
    assert not alive(child(run))


def test_a_run_that_takes_too_long_fails(claimed):
    run = claimed({"steps": 1000, "seconds": 0.05})
    Run.objects.filter(pk=run.pk).update(max_runtime=timedelta(seconds=1))
    run.refresh_from_db()
    carry_out(run)
    assert (run.state, run.error_code) == (State.FAILED, "max_runtime")
    assert not alive(child(run))


# Wishes


def test_a_cancel_ends_the_program_at_its_step(claimed):
    run = claimed({"steps": 1000, "seconds": 0.05})
    with Beside(run, 3, lambda found: transitions.cancel(found, by="alice")):
        carry_out(run)
    assert run.state == State.CANCELLED
    assert run.directory.checkpoint_steps()[-1] == steps(run)[-1]
    assert not alive(child(run))
    check_history(run)


def test_a_program_that_ignores_sigterm_is_killed_after_a_while(claimed, monkeypatch):
    monkeypatch.setattr(supervise, "PATIENCE", 1)
    run = claimed({"steps": 1000, "seconds": 0.05, "ignore_sigterm": True})
    with Beside(run, 3, lambda found: transitions.cancel(found, by="alice")):
        carry_out(run)
    assert run.state == State.CANCELLED
    assert not alive(child(run))


def test_what_a_program_started_ends_with_it(claimed):
    run = claimed({"steps": 3, "grandchild": True})
    carry_out(run)
    assert run.state == State.SUCCEEDED
    for entry in os.listdir("/proc"):
        if entry.isdigit() and alive(int(entry)):
            assert os.getpgid(int(entry)) != child(run)


def test_a_pause_keeps_a_checkpoint_and_resuming_goes_on_from_it(claimed):
    run = claimed({"steps": 20, "seconds": 0.05, "checkpoint_every": 0})
    with Beside(run, 3, lambda found: transitions.request_pause(found, by="alice")):
        carry_out(run)
    assert run.state == State.PAUSED
    assert run.checkpoint == run.step == steps(run)[-1] >= 3
    assert run.error_code == ""
    transitions.resume(run, by="alice")
    again(run)
    carry_out(run)
    assert run.state == State.SUCCEEDED
    assert steps(run) == list(range(1, 21))
    check_history(run)


def test_a_cancel_overtakes_a_pause(claimed, monkeypatch):
    monkeypatch.setattr(supervise, "PATIENCE", 1)
    run = claimed({"steps": 1000, "seconds": 0.05, "ignore_sigterm": True})

    def change_mind(found):
        transitions.request_pause(found, by="alice")
        transitions.cancel(found, by="alice")

    with Beside(run, 3, change_mind):
        carry_out(run)
    assert run.state == State.CANCELLED


def test_a_hand_over_loses_no_step_and_counts_no_attempt(claimed):
    run = claimed({"steps": 20, "seconds": 0.05, "checkpoint_every": 0})
    with Beside(run, 3, lambda _: transitions.ask_to_hand_over(OWNER)):
        carry_out(run)
    assert (run.state, run.attempt) == (State.QUEUED, 0)
    reached = run.step
    again(run)
    carry_out(run)
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    assert run.checkpoint >= reached
    assert steps(run) == list(range(1, 21))


def test_when_a_cancel_races_the_end_there_is_one_terminal_state(claimed):
    for round_ in range(6):
        run = claimed({"steps": 3, "seconds": 0.05})
        answer = []

        def cancel(found, answer=answer):
            try:
                transitions.cancel(found, by="alice")
                answer.append("accepted")
            except transitions.RefusedError:
                answer.append("refused")

        with Beside(run, 1 + round_ % 3, cancel):
            carry_out(run)
        run.refresh_from_db()
        assert run.state == (State.CANCELLED if answer == ["accepted"] else State.SUCCEEDED)
        assert sum(to in (State.CANCELLED, State.SUCCEEDED) for _, to in history(run)) == 1
        check_history(run)


# Takeover


def test_after_a_takeover_the_former_worker_stops_and_each_step_is_there_once(claimed):
    run = claimed({"steps": 30, "seconds": 0.05})
    former = Run.objects.get(pk=run.pk)

    def take_over(found):
        expire(found)
        assert transitions.claim(["light"], OTHER) == found
        found.refresh_from_db()
        carry_out(found)

    with Beside(run, 5, take_over):
        carry_out(former)  # returns as soon as it sees that the run is no longer its own
    run.refresh_from_db()
    assert (run.state, run.token, run.owner) == (State.SUCCEEDED, 2, "")
    assert steps(run) == list(range(1, 31))
    check_history(run)


def test_a_former_program_that_sleeps_is_killed_before_the_next_starts(claimed):
    run = claimed({"steps": 8})
    path = run.directory.path
    path.mkdir(parents=True)
    sleeper = subprocess.Popen(["sleep", "300"], process_group=0)
    os.kill(sleeper.pid, signal.SIGSTOP)
    identity = {"pid": sleeper.pid, "start": host.process_start(sleeper.pid), "boot_id": host.boot_id()}
    (path / "child.json").write_text(json.dumps(identity))
    carry_out(run)
    assert sleeper.wait(5) == -signal.SIGKILL
    assert run.state == State.SUCCEEDED


def test_a_process_that_only_has_the_number_of_a_former_program_is_left_alone(claimed):
    run = claimed({"steps": 3})
    path = run.directory.path
    path.mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "300"], process_group=0)
    (path / "child.json").write_text(
        json.dumps({"pid": stranger.pid, "start": "1", "boot_id": host.boot_id()})
    )
    carry_out(run)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_a_supervisor_that_slept_through_a_takeover_starts_nothing(claimed):
    run = claimed({"steps": 3})
    expire(run)
    assert transitions.claim(["light"], OTHER) == run
    carry_out(run)  # with the token of before
    assert not (run.directory.path / "child.json").exists()
    run.refresh_from_db()
    assert (run.state, run.token) == (State.RUNNING, 2)


def test_a_directory_that_a_later_attempt_owns_is_left_alone(claimed):
    run = claimed({"steps": 3})
    run.directory.path.mkdir(parents=True)
    (run.directory.path / "token").write_text("7")
    carry_out(run)
    assert not (run.directory.path / "child.json").exists()
    assert (run.directory.path / "token").read_text() == "7"


def test_the_program_ends_when_its_supervisor_is_killed(tmp_path):
    program = (
        "import os, subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-m', 'runs.launch', str(os.getpid()), '--', 'sleep', '300'],"
        " process_group=0); print(child.pid, flush=True); time.sleep(300)"
    )
    parent = subprocess.Popen(["python3", "-c", program], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    facts = Path(f"/proc/{pid}")
    wait_until(lambda: (facts / "cmdline").read_bytes().startswith(b"sleep"))
    assert os.getpriority(os.PRIO_PROCESS, pid) == 10
    assert (facts / "oom_score_adj").read_text() == "500\n"
    assert "Max core file size        0                    0" in (facts / "limits").read_text()
    parent.kill()
    parent.wait()
    wait_until(lambda: not alive(pid), seconds=5)


# The database away


def disturb_database(_):
    """Drop every connection, or keep everybody from writing for two seconds."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        else:
            cursor.execute("BEGIN IMMEDIATE")
            time.sleep(2)
            cursor.execute("COMMIT")


def test_a_database_that_drops_connections_or_is_locked_for_a_moment_costs_no_attempt(claimed, clocks):
    clocks.RUN_LEASE = timedelta(seconds=60)
    run = claimed({"steps": 40, "seconds": 0.05})
    with Beside(run, 3, disturb_database):
        carry_out(run)
    assert (run.state, run.attempt, run.step) == (State.SUCCEEDED, 1, 40)
    check_history(run)


def test_a_short_outage_of_the_database_costs_nothing(claimed, monkeypatch):
    run = claimed({"steps": 20, "seconds": 0.05})
    fail_between(monkeypatch, "beat", 3, 8)
    fail_between(monkeypatch, "advance", 3, 8)
    carry_out(run)
    assert (run.state, run.attempt) == (State.SUCCEEDED, 1)
    assert steps(run) == list(range(1, 21))


def test_the_last_step_is_written_although_the_database_was_away_when_it_came(claimed, monkeypatch):
    run = claimed({"steps": 3, "seconds": 0.3})
    fail_between(monkeypatch, "advance", 1, 3)
    carry_out(run)
    assert (run.state, run.step) == (State.SUCCEEDED, 3)


def test_a_long_outage_stops_the_program_after_a_checkpoint(claimed, monkeypatch):
    run = claimed({"steps": 1000, "seconds": 0.05, "checkpoint_every": 0})
    monkeypatch.setattr(supervise, "OUTAGE", 1)
    fail_between(monkeypatch, "beat", 3, 10**6)
    fail_between(monkeypatch, "advance", 3, 10**6)
    with pytest.raises(OperationalError):
        carry_out(run)
    assert not alive(child(run))
    assert run.directory.checkpoint_steps()[-1] == steps(run)[-1]
    run.refresh_from_db()
    assert run.state == State.RUNNING  # another worker takes it over when its lease has ended


def fail_between(monkeypatch, name, first, last):
    real, calls = getattr(transitions, name), iter(range(10**9))

    def act(*words, **options):
        if first <= next(calls) < last:
            raise OperationalError("the server closed the connection")
        return real(*words, **options)

    monkeypatch.setattr(transitions, name, act)


# Parts


def test_a_program_gets_no_secret_and_no_address_of_the_database(monkeypatch):
    for name in ("RANKLOOP_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    given = environment()
    assert "canary" not in given.values()
    assert given["LC_ALL"] == "C.UTF-8"
    assert given["HF_HUB_OFFLINE"] == "1"


def test_the_follower_reads_only_what_is_new_and_whole(tmp_path):
    path = tmp_path / "metrics.jsonl"
    follower = Follower(path)
    assert follower.news() is None
    path.write_text('{"step": 1, "total": 9}\n{"step": 2, "total": 9, "phase": "a\\u001bb"}\n{"step": 3')
    assert follower.news() == Progress(2, 9, "ab")
    assert follower.news() is None
    with path.open("a") as file:
        file.write(', "total": 9}\nnonsense\n{"step": -1, "total": 9}\n{"step": true, "total": 9}\n')
    assert follower.news() == Progress(3, 9, "")
    with path.open("a") as file:
        file.write("x" * 200_000 + "\n" + '{"step": 4, "total": 9}\n')
    assert follower.news() == Progress(4, 9, "")


def test_the_follower_notices_a_file_that_was_replaced(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "total": 9}\n{"step": 2, "total": 9}\n')
    follower = Follower(path)
    follower.news()
    (tmp_path / "new").write_text('{"step": 1, "total": 9}\n')
    (tmp_path / "new").rename(path)
    assert follower.news() == Progress(1, 9, "")


def test_a_run_whose_disk_is_really_full_pauses_and_goes_on_with_room(claimed, clocks, small_disk):
    clocks.RUNS_DIR = small_disk
    filler = small_disk / "filler"
    run = claimed({"steps": 40, "seconds": 0.02})

    def fill(_):
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * 10_000_000)

    with Beside(run, 5, fill):
        carry_out(run)
    assert (run.state, run.error_code) == (State.PAUSED, "disk_full")
    filler.unlink()
    transitions.resume(run, by="alice")
    again(run)
    carry_out(run)
    assert run.state == State.SUCCEEDED
    assert steps(run) == list(range(1, 41))
    assert RunDirectory(run.directory.path).latest_checkpoint().step == 40
