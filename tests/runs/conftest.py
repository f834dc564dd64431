"""Short clocks, a place for run directories, and toy runs."""

import time
from datetime import timedelta

import pytest

from runs import host, transitions
from runs.models import Run
from tests.lm.conftest import small_disk

__all__ = ["small_disk"]

OWNER = host.owner(1)
OTHER = host.owner(2)


@pytest.fixture
def clocks(settings, tmp_path):
    """A lease of a second, and run directories of this test alone."""
    settings.RUN_LEASE = timedelta(seconds=1)
    settings.RUN_HEARTBEAT = timedelta(seconds=0.2)
    settings.RUN_RECONCILE = timedelta(seconds=0.2)
    settings.RUNS_DIR = tmp_path / "runs"
    return settings


@pytest.fixture
def start(db, settings, tmp_path):
    """Queue a toy run."""
    settings.RUNS_DIR = tmp_path / "runs"

    def start(config=None, **options):
        return Run.objects.start("toy", config=config or {}, started_by="alice", **options)

    return start


@pytest.fixture
def claimed(start):
    """Queue a toy run and claim it."""

    def claimed(config=None, **options):
        run = start(config, **options)
        assert transitions.claim(["light"], OWNER) == run
        run.refresh_from_db()
        return run

    return claimed


def expire(run):
    """Let the run's lease end, as if its worker had been silent for long."""
    Run.objects.filter(pk=run.pk).update(lease_until="2020-01-01T00:00:00Z")


def wait_until(condition, seconds=20):
    """Wait for a condition, but not for ever."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)


def history(run):
    """A run's changes of state."""
    return [(event.from_state, event.to_state) for event in run.events.order_by("seq")]


def check_history(run):
    """The events are numbered without a gap, join one to the next, and end in the present state."""
    events = list(run.events.order_by("seq"))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    state = ""
    for event in events:
        assert event.from_state == state
        state = event.to_state
    assert state == run.state
    tokens = [event.token for event in events]
    assert tokens == sorted(tokens)
    assert tokens[-1] == run.token
