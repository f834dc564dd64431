"""Two real workers, several runs, and faults at random: every step is done once and in order, nothing is left.

Seeds are printed; `STORM_SEED=7 pytest tests/runs/test_storm.py` repeats the order of faults.
"""

import contextlib
import itertools
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from django.db import connections

from lm.run_directory import read_lines
from runs.launch import die_with_parent
from runs.models import ENDED, Run, State
from tests.runs.conftest import check_history, wait_until

LEASE = 3.0
WORKER = "-m celery -A config worker -P solo -Q light --without-gossip --without-mingle --without-heartbeat"
START = """
import django; django.setup()
from runs.models import Run
for _ in range({runs}):
    Run.objects.start("toy", config={config}, started_by="the storm")
"""

BROKERS = [
    pytest.param("", id="memory"),
    pytest.param(os.environ.get("REDIS_URL", ""), id="redis", marks=pytest.mark.redis),
]
pytestmark = [pytest.mark.workers, pytest.mark.django_db]  # of which only the kind of database is used


@pytest.fixture
def storm(tmp_path, request, django_db_blocker):
    """A data directory and an empty database of its own, removed afterwards with all that runs on them."""
    found = Storm(tmp_path, redis=getattr(request, "param", ""))
    with django_db_blocker.unblock(), found.database():
        try:
            yield found
        finally:
            found.end()


@pytest.mark.parametrize("storm", BROKERS, indirect=True)
def test_a_short_storm_loses_and_repeats_no_step(storm):
    storm.rage(runs=4, steps=40, seconds=15, limit=120)


@pytest.mark.verify
@pytest.mark.parametrize("storm", BROKERS, indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_a_long_storm_loses_and_repeats_no_step(storm, seed):
    storm.rage(runs=8, steps=60, seconds=90, limit=400, seed=seed)


class Worker:
    """One Celery worker with its program; both may sleep."""

    def __init__(self, storm, number):
        self.storm, self.number = storm, number
        self.wakes_at = None
        self.start()

    def start(self):
        with (self.storm.path / f"worker-{self.number}.txt").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *WORKER.split(), "-n", f"storm-{self.number}@%h"],
                env=self.storm.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 (one thread)
            )

    def pids(self):
        """This worker and everything below it."""
        found = [self.process.pid]
        for pid in found:
            with contextlib.suppress(OSError):
                found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return found

    def signal(self, number, pids):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self):
        """As when the machine's memory ends: the worker is gone, and with it all below."""
        self.signal(signal.SIGKILL, [self.process.pid])
        self.process.wait(10)
        self.start()

    def kill_program(self):
        self.signal(signal.SIGKILL, self.pids()[1:])

    def sleep(self):
        """Longer than a lease; when it wakes, it does not know."""
        self.sleepers = self.pids()
        self.signal(signal.SIGSTOP, self.sleepers)
        self.wakes_at = time.monotonic() + 2 * LEASE

    def wake(self):
        self.signal(signal.SIGCONT, self.sleepers)
        self.wakes_at = None

    def deploy(self):
        """A new version: the worker hands its run over and ends by itself, if it was up at all."""
        self.signal(signal.SIGTERM, [self.process.pid])
        assert self.process.wait(40) in (0, -signal.SIGTERM)
        self.start()

    def end(self):
        if self.wakes_at:
            self.wake()
        self.signal(signal.SIGTERM, [self.process.pid])
        assert self.process.wait(40) == 0


class Storm:
    """What is raged upon, and what must have come of it."""

    def __init__(self, path, redis):
        self.path, self.workers = path, []
        self.broker = redis.rpartition("/")[0] + "/7" if redis else ""
        options = {"DJANGO_SETTINGS_MODULE": "tests.settings", "RANKLOOP_DATA": str(path)}
        options |= {"RANKLOOP_LEASE_SECONDS": str(LEASE), "RANKLOOP_HEARTBEAT_SECONDS": "0.5"}
        options |= {"RANKLOOP_RECONCILE_SECONDS": "0.5", "RANKLOOP_PROCESS": "worker"}
        options |= {"RANKLOOP_SQLITE_SYNCHRONOUS": "NORMAL", "REDIS_URL": self.broker}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
        self.environment = {**kept, **options, "PYTHONPATH": str(settings.BASE_DIR)}

    @contextlib.contextmanager
    def database(self):
        """An empty one of the kind that the tests run on; we read it under the alias `storm`."""
        default = settings.DATABASES["default"]
        if connections["default"].vendor == "sqlite":
            name = str(self.path / "storm.sqlite3")
            self.environment["DATABASE_URL"] = f"sqlite://{name}"
        else:
            name = f"storm_{os.getpid()}_{time.monotonic_ns()}"
            server = os.environ["DATABASE_URL"]
            self.environment["DATABASE_URL"] = f"{server.rpartition('/')[0]}/{name}"
            self.execute(server, f"CREATE DATABASE {name}")
        connections.databases["storm"] = {**default, "NAME": name}
        try:
            self.python("manage.py", "migrate", "--verbosity", "0")
            yield
        finally:
            connections["storm"].close()
            del connections["storm"], connections.databases["storm"]
            if default["ENGINE"].endswith("postgresql"):
                self.execute(server, f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, server, statement):
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(statement)

    def python(self, *words):
        subprocess.run([sys.executable, *words], env=self.environment, check=True, timeout=120)

    def runs(self):
        return Run.objects.using("storm").order_by("pk")

    def rage(self, *, runs, steps, seconds, limit, seed=None):
        """Start runs and workers, do harm for some seconds, then let all come to its end."""
        seed = int(os.environ.get("STORM_SEED", seed if seed is not None else random.randrange(10**6)))
        print(f"storm of seed {seed} in {self.path}")
        chance = random.Random(seed)
        config = {"steps": steps, "seconds": 0.15, "checkpoint_every": 2}
        self.python("-c", START.format(runs=runs, config=config))
        self.workers = [Worker(self, 1), Worker(self, 2)]
        wait_until(lambda: self.runs().filter(step__gt=0).exists(), 60)
        faults = self.do_harm(chance, seconds)
        for worker in self.workers:
            if worker.wakes_at:
                worker.wake()
        wait_until(lambda: not self.runs().exclude(state__in=ENDED).exists(), limit)
        for worker in self.workers:
            worker.end()
        self.check(steps, faults)

    def do_harm(self, chance, seconds):
        """One fault after the other, but none while a run has spent two of its three attempts."""
        acts = ["kill", "kill_program", "sleep", "deploy"]
        faults, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(chance.uniform(0.3, 1.5))
            for worker in self.workers:
                if worker.wakes_at and time.monotonic() > worker.wakes_at:
                    worker.wake()
            awake = [worker for worker in self.workers if not worker.wakes_at]
            active = self.runs().exclude(state__in=ENDED)
            if awake and not active.filter(no_progress__gte=2).exists():
                faults.append(chance.choice(acts))
                getattr(chance.choice(awake), faults[-1])()
        return faults

    def check(self, steps, faults):
        """Every run is done, each step once and in order; the events say so too; nothing is left behind."""
        gaps = []
        for run in self.runs():
            told = f"{run} is {run.state}: {run.error_code} {run.error_text}"
            assert run.state == State.SUCCEEDED, told
            path = self.path / "runs" / str(run.pk)
            lines = list(read_lines(path / "metrics.jsonl"))
            assert [line["step"] for line in lines] == list(range(1, steps + 1)), told
            assert [line["sum"] for line in lines] == [n * (n + 1) // 2 for n in range(1, steps + 1)], told
            assert (run.step, run.total, run.checkpoint) == (steps, steps, steps)
            check_history(run)
            assert type(run.directory)(path).latest_checkpoint().step == steps
            assert [found.name for found in path.rglob(".*")] == []
            moments = [line["at"] for line in lines]
            gaps += [after - before for before, after in itertools.pairwise(moments)]
        assert self.left_behind() == []
        if "sqlite" in self.environment["DATABASE_URL"]:
            with contextlib.closing(sqlite3.connect(self.path / "storm.sqlite3")) as file:
                assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        waits = sorted(gap for gap in gaps if gap > 1) or [0]
        attempts = [
            event.reason for run in self.runs() for event in run.events.all() if "started" in event.reason
        ]
        print(
            f"{len(faults)} faults ({', '.join(faults)}), {len(attempts)} attempts;"
            f" interruptions: median {statistics.median(waits):.1f} s, longest {waits[-1]:.1f} s"
        )

    def left_behind(self):
        """Processes that still know of our directory."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and entry.name != str(os.getpid()):
                    known = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
                    if str(self.path).encode() in known and b"pytest" not in known:
                        found.append(known[:200])
        return found

    def end(self):
        """Whatever happened, leave no process."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.signal(signal.SIGKILL, worker.pids())
                worker.process.wait(10)
        if self.broker:
            subprocess.run(["redis-cli", "-u", self.broker, "flushdb"], check=False, capture_output=True)
