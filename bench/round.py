"""A round of the demo on the shipped model: seconds from the last judgment to fresh comparisons, step by step.

    python -m bench.round [--judgments 200] [--repeats 3]

Each time a new installation as `make up` starts it, on its default database. Robots judge over HTTP while
nothing else runs; then a round is started from the command line. The base's samples, drawn once for all
rounds of a project, are made while people judge; they are shown on a line of their own. Medians.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.web import free_port

LIMIT = 1800  # seconds for each part
SECONDS = """
import json
import django
django.setup()
from django.db.models import Max
from annotate.models import Judgment
from policy.app import rounds
from policy.app.models import Round
from runs.models import Run, State
answer = {"samples": Run.objects.filter(kind="base-samples", state=State.SUCCEEDED).count()}
round = Round.objects.filter(project__slug="demo").first()
if round is not None:
    judged = Judgment.objects.filter(received_at__lte=round.created_at)
    last = judged.aggregate(at=Max("received_at"))["at"]
    fresh = round.project.comparisons.filter(batch=round.batch)
    out = fresh.aggregate(at=Max("created_at"))["at"]
    answer["judgments"], answer["comparisons"] = judged.count(), fresh.count()
    answer["kl"] = round.policy.kl_from_base
    answer["seconds"] = {"last judgment to fresh comparisons": (out - last).total_seconds()}
    for step in rounds.steps(round):
        took = (step.run.finished_at - step.run.created_at).total_seconds()
        answer["seconds"]["  " + step.title] = took
    samples = Run.objects.filter(kind="base-samples").first()
    answer["seconds"]["before it: samples of the base"] = samples.active_time().total_seconds()
print(json.dumps(answer))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--judgments", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    found = [play(options.judgments) for _ in range(options.repeats)]
    first = found[0]
    nats = ", ".join(f"{one['kl']:.2f}" for one in found)
    print(f"{first['judgments']} judgments, {first['comparisons']} fresh comparisons, {nats} nats")
    for name in first["seconds"]:
        seconds = [one["seconds"][name] for one in found]
        print(f"{name:36} {statistics.median(seconds):6.1f} s  ({min(seconds):.1f} to {max(seconds):.1f})")


def play(judgments: int) -> dict:
    """One new installation, judged and taken around the loop once."""
    with installation() as environment:
        wait_until(lambda: ask(environment)["samples"])
        manage(
            environment, "simulate_raters", "--project", "demo", "--judgments", judgments, "--raters", 20,
            "--population", "clean", "--seed", 1, "--url", environment["RANKLOOP_URL"],
        )  # fmt: skip
        manage(environment, "start_round", "--project", "demo", "--wait")
        return ask(environment)


@contextmanager
def installation() -> Iterator[dict[str, str]]:
    """`make up` in a folder of its own, without the rest of what the caller's environment sets."""
    folder = Path(tempfile.mkdtemp(prefix="rankloop-bench-"))
    address = f"http://127.0.0.1:{free_port()}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RANKLOOP_")}
    kept = {name: value for name, value in kept.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    environment = {
        **kept,
        "RANKLOOP_DATA": str(folder / "data"),
        "RANKLOOP_URL": address,
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    command = [sys.executable, "-m", "config.up", "--without-install"]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: "Ctrl-C ends everything." in (folder / "out").read_text(), process)
        yield environment
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        shutil.rmtree(folder)


def ask(environment: dict[str, str]) -> dict:
    """What the installation's database says so far."""
    command = [sys.executable, "-c", SECONDS]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def manage(environment: dict[str, str], *words: object) -> None:
    command = [sys.executable, "manage.py", *map(str, words)]
    subprocess.run(command, env=environment, check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    """Wait for it; looked at rarely, for what looks takes time from what is measured."""
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end or (process and process.poll() is not None):
            raise RuntimeError("what was waited for did not come")
        time.sleep(5)


if __name__ == "__main__":
    main()
