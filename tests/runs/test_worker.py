"""The thread in each worker: it rings where there is work, settles what is left over, and never dies quietly."""

import inspect
import subprocess
import sys
import time

import pytest
from celery.worker import state
from django.conf import settings
from django.db import OperationalError
from kombu.exceptions import OperationalError as BrokerError

from runs import transitions, worker
from runs.models import Run, State, Want, Worker
from runs.worker import Reconciler, drain
from tests.runs.conftest import expire

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("clocks")]


@pytest.fixture
def rung(monkeypatch):
    """A worker of the queue `light` with an idle pool; how often its doorbell was rung."""
    calls = []
    monkeypatch.setattr(worker, "_queues", lambda: ["light"])
    monkeypatch.setattr(drain, "apply_async", lambda **options: calls.append(options))
    return calls


def test_it_rings_once_a_turn_where_a_run_is_due(rung, start):
    Reconciler().turn()
    assert rung == []
    start()
    Reconciler().turn()
    assert rung == [{"queue": "light", "expires": 15, "retry": False}]


def test_it_does_not_ring_for_another_queue_or_while_its_pool_works(rung, start, monkeypatch):
    run = start()
    monkeypatch.setattr(state, "reserved_requests", {"a request"})
    Reconciler().turn()
    monkeypatch.setattr(state, "reserved_requests", set())
    Run.objects.filter(pk=run.pk).update(queue="train")
    Reconciler().turn()
    assert rung == []


def test_the_doorbell_carries_nothing():
    assert not inspect.signature(drain.run).parameters


def test_it_keeps_one_row_for_its_worker_and_forgets_old_ones(rung):
    Worker.objects.create(host="old", pid=1, boot_id="b", seen_at="2020-01-01T00:00:00Z")
    reconciler = Reconciler()
    reconciler.turn()
    first = Worker.objects.get()
    reconciler.turn()
    row = Worker.objects.get()
    assert row.pk == first.pk
    assert row.seen_at > first.seen_at
    assert row.queues == ["light"]
    assert "CPU cores" in row.devices[-1]
    assert row.memory > 2**28
    assert row.alive


def test_a_cancel_that_no_worker_saw_is_finished(rung, claimed):
    run = claimed()
    transitions.cancel(run, by="alice")
    expire(run)
    Reconciler().turn()
    run.refresh_from_db()
    assert run.state == State.CANCELLED


def test_the_doorbell_rung_fifty_times_carries_each_run_out_once(rung, start):
    runs = [start({"steps": 2}) for _ in range(3)]
    for _ in range(50):
        drain()
    for run in runs:
        run.refresh_from_db()
        assert (run.state, run.attempt) == (State.SUCCEEDED, 1)


def test_draining_ends_when_the_worker_is_about_to_end(rung, start, monkeypatch):
    first, second = start({"steps": 1}), start({"steps": 1})

    def hand_over(run):
        Run.objects.filter(pk=run.pk).update(want=Want.HANDOFF)
        run.refresh_from_db()
        transitions.hand_over(run)

    monkeypatch.setattr(worker, "carry_out", hand_over)
    drain()
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.token) == (State.QUEUED, 1)
    assert second.token == 0


def test_a_poison_run_does_not_keep_the_others_from_being_done(rung, start):
    poison = start({"fail": "crash", "fail_at": 1}, priority=9)
    good = [start({"steps": 2}) for _ in range(3)]
    until = time.monotonic() + 60
    while Run.objects.active().exists():
        assert time.monotonic() < until
        drain()
    poison.refresh_from_db()
    assert (poison.state, poison.error_code, poison.attempt) == (State.FAILED, "crash_loop", 3)
    assert all(Run.objects.get(pk=run.pk).state == State.SUCCEEDED for run in good)


# Its own errors


@pytest.fixture
def should_stop(monkeypatch):
    """What Celery is told about ending, forgotten afterwards."""
    monkeypatch.setattr(state, "should_stop", None)


def test_it_goes_on_after_errors_and_outages_of_database_and_broker(should_stop):
    errors = [ValueError(), OperationalError(), BrokerError(), OperationalError(), ValueError(), None]
    errors += [ValueError(), ValueError()]

    class Shaky(Reconciler):
        def turn(self):
            if not errors:
                self.ending.set()
            elif error := errors.pop(0):
                raise error

    Shaky().reconcile()
    assert errors == []
    assert state.should_stop is None


def test_after_three_errors_in_a_row_the_worker_ends_with_an_error(should_stop):
    class Broken(Reconciler):
        def turn(self):
            raise ValueError

    Broken().reconcile()
    assert state.should_stop == 70


def test_a_jump_of_the_clock_is_logged(monkeypatch, caplog):
    reconciler = Reconciler()
    reconciler.watch_clock()
    assert not caplog.records
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    reconciler.watch_clock()
    assert "jumped by -3600 s" in caplog.text


@pytest.mark.workers
def test_a_worker_whose_reconciler_is_broken_leaves_with_an_exit_code(tmp_path):
    program = (
        "import sys, django; django.setup(); from runs.worker import Reconciler; Reconciler.turn = None;"
        " from celery.__main__ import main; sys.argv[0] = 'celery'; sys.exit(main())"
    )
    words = "-A config worker -P solo -Q light --without-gossip --without-mingle --without-heartbeat"
    environment = {"PATH": "/usr/bin:/bin", "DJANGO_SETTINGS_MODULE": "tests.settings"}
    environment |= {"RANKLOOP_DATA": str(tmp_path), "RANKLOOP_RECONCILE_SECONDS": "0.1"}
    options = {
        "env": environment,
        "cwd": settings.BASE_DIR,
        "timeout": 60,
        "capture_output": True,
        "text": True,
    }
    subprocess.run([sys.executable, "manage.py", "migrate"], check=True, **options)
    done = subprocess.run([sys.executable, "-c", program, *words.split()], check=False, **options)
    assert done.returncode == 70
    assert "the reconciler failed for the 3. time in a row" in done.stderr
