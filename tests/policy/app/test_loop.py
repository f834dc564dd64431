"""The whole loop with real processes: robots judge over HTTP, rounds run by themselves, the true reward rises.

In the tests' SQLite pass on the embedded default; in the PostgreSQL pass with Redis, and with the worker of
each step killed once.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import psycopg
import pytest
from django.db import connection

from lm import records
from tests.config.environments import clean
from tests.up import ROOT, Up, until
from worlds.loop import command, mean, wins
from worlds.taste import REASONABLE

# Of the database only its kind is used.
pytestmark = [pytest.mark.workers, pytest.mark.django_db]
SMALL = ("--warm-prompts", "240", "--iterations", "5", "--comparisons", "80")
JUDGMENTS, HELD_OUT = 150, 96
STEP_LIMIT = 300  # seconds; machines are shared
KEPT = {  # what a step's program writes that matters
    "reward-model": ("model/reward_head.safetensors", "model/reward_model.json"),
    "best-of-n": ("model/model.safetensors",),
    "ppo": ("model/model.safetensors",),
    "round-samples": ("responses.jsonl",),
}
ROUND = """
from policy.app import rounds
from policy.app.models import Round
round = Round.objects.get(project__slug="demo", number={number})
"""


class Place:
    """A whole installation that only this test knows."""

    def __init__(self, path, environment):
        self.up = Up(path / "data", **environment)
        self.path = path
        self.up.wait_for_banner()

    def ask(self, code):
        """What a piece of Python in the installation's own process sets as `answer`."""
        whole = f"import django, json; django.setup()\n{code}\nprint(json.dumps(answer))"
        done = subprocess.run(
            [sys.executable, "-c", whole],
            cwd=ROOT,
            env={**self.up.environment, "DJANGO_SETTINGS_MODULE": "config.settings"},
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    def steps(self, number):
        """Name, run and state of each step of a round."""
        return self.ask(
            ROUND.format(number=number)
            + "answer = [(s.name, s.run and s.run.pk, s.state) for s in rounds.steps(round)]"
        )

    def run_directory(self, pk):
        return self.up.data / "runs" / str(pk)

    def judge(self, count=0):
        """Let robots judge so many comparisons, or all that are open."""
        self.up.manage(
            *("simulate_raters", "--project", "demo", "--raters", "6", "--population", "clean"),
            *("--judgments", str(count), "--seed", "1", "--url", self.up.url),
        )

    def play_round(self, number, *, kill=False):
        """Start a round and wait until its comparisons are out, the worker of each step killed once or not."""
        self.up.manage("start_round", "--project", "demo", *SMALL)
        killed = set()
        state = "running"
        end = time.monotonic() + 6 * STEP_LIMIT
        while state == "running":
            assert time.monotonic() < end, self.steps(number)
            found = self.ask(
                ROUND.format(number=number)
                + "run = round.current.run\n"
                + "answer = [round.state, run.kind, run.state, run.step, run.owner, run.error_text]"
            )
            state, kind, run_state, step, owner, error = found
            assert run_state not in ("failed", "paused", "cancelled"), (kind, error)
            if kill and run_state == "running" and kind not in killed and owner:
                time.sleep(0.5 if step else 1.0)
                os.kill(int(owner.split(":")[1]), signal.SIGKILL)
                killed.add(kind)
            time.sleep(1)
        assert state == "labeling"
        return killed

    def policy(self, number):
        """The folder of a round's policy, and what the product says of it."""
        return self.ask(
            ROUND.format(number=number)
            + "found = {p.name: w and [w.rate, w.low, w.high, w.judgments] for p, w in rounds.win_rates(round)}\n"
            + "answer = [str(round.policy.folder), str(round.base.folder), round.policy.kl_from_base, found]"
        )


@pytest.fixture
def place(tmp_path):
    """An installation on the kind of database that this pass is about."""
    environment = {
        "RANKLOOP_LEASE_SECONDS": 6,
        "RANKLOOP_HEARTBEAT_SECONDS": 1,
        "RANKLOOP_RECONCILE_SECONDS": 1,
    }
    name = f"loop_{os.getpid()}_{time.monotonic_ns()}"
    server = os.environ.get("DATABASE_URL", "")
    on_server = connection.vendor == "postgresql"
    if on_server:
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name}")
        environment["DATABASE_URL"] = f"{server.rpartition('/')[0]}/{name}"
        if redis := os.environ.get("REDIS_URL"):
            environment["REDIS_URL"] = f"{redis.rpartition('/')[0]}/6"
    place = None
    try:
        place = Place(tmp_path, environment)
        yield place
    finally:
        if place is not None and place.up.process.poll() is None:
            place.up.process.send_signal(signal.SIGTERM)
            place.up.process.wait(60)
        if on_server:
            with psycopg.connect(server, autocommit=True) as session:
                session.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_loop_turns_twice_and_what_it_learns_is_the_raters_taste(place):
    place.up.wait_for_banner()
    answer = place.ask("from runs.models import Run; answer = [r.pk for r in Run.objects.active()]")
    for pk in answer:  # the demo's own samples of the base: here fewer prompts do
        place.up.manage("runs", "cancel", str(pk))
    until(
        lambda: place.ask("from runs.models import Run; answer = not Run.objects.active().exists()"),
        "the demo's samples are cancelled",
    )
    place.judge(JUDGMENTS)

    killed = place.play_round(1, kill=connection.vendor == "postgresql")
    if connection.vendor == "postgresql":
        assert set(KEPT) <= killed
        check_that_each_step_by_hand_writes_the_same(place)
    check_lineage(place, number=1, judgments=JUDGMENTS)
    check_that_raters_are_asked(place, number=1)
    place.judge()
    policy, base, kl, win_rates = place.policy(1)
    assert 0.2 < kl < 2.5
    rate, low, high, judged = win_rates["starter"]
    assert judged > 20
    assert low < rate < high
    check_that_the_true_reward_rises(place, policy, base)

    place.ask(ROUND.format(number=1) + "answer = rounds.decide(round, promote=True, by='alice')")
    judgments = place.ask(
        "from annotate.models import Judgment\n"
        "answer = Judgment.objects.standing().filter(counted=True).count()"
    )
    assert judgments > JUDGMENTS + 40
    place.play_round(2)
    check_lineage(place, number=2, judgments=judgments)
    second = place.policy(2)
    assert second[1] == base
    assert set(second[3]) == {"starter", "round 1"}


def check_that_each_step_by_hand_writes_the_same(place):
    """A step's config and input, run again without a kill, give the same files to the byte."""
    for name, pk, state in place.steps(1):
        directory = place.run_directory(pk)
        kind = {"best_of_n": "best-of-n", "comparisons": "round-samples"}.get(name, name.replace("_", "-"))
        if kind not in KEPT:
            continue
        assert state == "done"
        again = place.path / f"again-{kind}"
        again.mkdir()
        shutil.copytree(directory / "input", again / "input")
        module = {
            "reward-model": "rewards.train",
            "best-of-n": "policy.sft",
            "ppo": "policy.ppo",
            "round-samples": "policy.sample",
        }[kind]
        subprocess.run(
            [sys.executable, "-m", module, "--config", directory / "config.json", "--output", again],
            cwd=ROOT,
            env={**clean(), "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 2) - 1))},
            check=True,
            capture_output=True,
        )
        for file in KEPT[kind]:
            assert digest(again / file) == digest(directory / file), f"{kind}: {file}"


def check_lineage(place, *, number, judgments):
    """From the policy back to the very judgments it learned from."""
    found = place.ask(
        ROUND.format(number=number)
        + "from policy.app.lineage import lineage\n"
        + "from annotate.models import Judgment\n"
        + "line = lineage(round.policy)\n"
        + "standing = Judgment.objects.standing()\n"
        + "repeats = standing.filter(assignment__rule='repeat').count()\n"
        + "known = set(Judgment.objects.used().values_list('pk', flat=True))\n"
        + "answer = [[p.name for p in line.policies], [r.kind for r in line.runs], len(line.judgments),"
        + " line.judgments <= known, len(known), standing.count() - repeats, repeats]"
    )
    policies, runs, in_file, all_known, known, counted, repeats = found
    assert policies[0] == f"round {number}"
    assert policies[-1] == "starter"
    assert runs[-3:] == ["reward-model", "best-of-n", "ppo"]
    assert all_known
    assert in_file == known == counted == judgments - repeats


def check_that_raters_are_asked(place, *, number):
    """The fresh comparisons are open, some of them to learn from and some to evaluate."""
    found = place.ask(
        ROUND.format(number=number)
        + "from django.db.models import Count\n"
        + "asked = round.project.comparisons.filter(batch=round.batch, places_left__gt=0)\n"
        + "answer = dict(asked.values_list('purpose').annotate(Count('pk')))"
    )
    assert set(found) - {"overlap"} == {"evaluation", "uniform"}
    assert sum(found.values()) > 50


def check_that_the_true_reward_rises(place, policy, base):
    """Nobody in the loop has seen these prompts, nor the taste itself."""
    prompts = place.path / "held-out.jsonl"
    command("starter.prompts", count=HELD_OUT, seed=77, held_out=True, output=prompts)
    worth = {}
    for name, folder in (("base", base), ("policy", policy)):
        output = place.path / f"held-out-{name}"
        command("policy.sample", policies=folder, prompts=prompts, samples=2, seed=5, output=output)
        drawn = list(records.read(output / "responses.jsonl", records.Response))
        worth[name] = [REASONABLE.reward(one.messages, one.response) for one in drawn]
    assert mean(worth["policy"]) > mean(worth["base"]) + 0.2
    assert wins(worth["policy"], worth["base"]) > 0.55


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()
