"""A project with a base policy and judgments, and runs that are done without a program."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.comparisons import draw_pairs
from annotate.exchange import import_prompts
from annotate.judging import judge
from annotate.models import Membership, Project, Role, User
from lm import records
from policy.app import rounds
from policy.app.exchange import import_responses
from policy.app.models import Policy, Round
from policy.app.settings import RoundSettings
from policy.app.storage import add_policy
from runs import host, kinds, transitions
from runs.models import Run

PROMPTS = 40
FEW = RoundSettings(fewest_judgments=4, comparisons=16, warm_prompts=12)
OWNER = host.owner(1)


@pytest.fixture
def data(settings, tmp_path) -> Path:
    """Files of this test alone."""
    settings.DATA_DIR = tmp_path / "data"
    settings.RUNS_DIR = settings.DATA_DIR / "runs"
    return settings.DATA_DIR


@pytest.fixture
def model(tmp_path) -> Path:
    """What looks like a model folder."""
    return write_model(tmp_path / "a-model", "weights")


@pytest.fixture
def project(db, data) -> Project:
    """Forty prompts, of which every fifth is held out, without a base."""
    project = Project.objects.create(slug="shop", name="Shop")
    import_prompts(project, (prompt(number) for number in range(PROMPTS)))
    project.prompts.update(split="train")
    held_out = [f"p{number}" for number in range(0, PROMPTS, 5)]
    project.prompts.filter(name__in=held_out).update(split="policy_eval")
    return project


@pytest.fixture
def base(project, model) -> Policy:
    """The project's base, with two responses to each of eight prompts, in comparisons."""
    base = add_policy(project, "starter", model, base=True)
    lines = (
        records.Response(
            prompt_id=f"p{number}", response=f"answer {which} to {number}", policy="starter", seed=which
        )
        for number in range(8)
        for which in range(2)
    )
    imported = import_responses(project, lines)
    draw_pairs(project, imported.prompts, per_prompt=1, seed=1, batch="import")
    return base


@pytest.fixture
def alice(project) -> User:
    alice = User.objects.create_user("alice")
    Membership.objects.create(user=alice, project=project, role=Role.RATER)
    return alice


@pytest.fixture
def judged(project, base, alice) -> Callable[..., int]:
    """Let Alice judge so many comparisons; the one shown first wins."""

    def judged(count: int, order: str = "1>2") -> int:
        for made in range(count):
            assignment = next_for(alice, project)
            if assignment is None:
                return made
            positions = {"1>2": [[1], [2]], "2>1": [[2], [1]], "1=2": [[1, 2]]}[order]
            judge(assignment, Answer(client_key=uuid4(), positions=positions))
        return count

    return judged


@pytest.fixture
def started(project, judged) -> Round:
    """A round that waits for the samples of its base."""
    judged(6)
    return rounds.start(project, by="ada", settings=FEW)


def prompt(number: int) -> records.Prompt:
    message = records.Message(role="user", content=f"Question {number}?")
    return records.Prompt(prompt_id=f"p{number}", messages=(message,))


def write_model(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def claimed(run: Run) -> Run:
    """The run as a worker has it that claimed and prepared it."""
    assert transitions.claim(["train"], OWNER) == run
    run.refresh_from_db()
    run.directory.path.mkdir(parents=True, exist_ok=True)
    kinds.get(run.kind).prepare(run, run.directory)
    return run


def succeed(run: Run) -> None:
    """Settle the run as its worker would."""
    transitions.succeed(run, lambda: kinds.get(run.kind).finish(run, run.directory))


def write_output(run: Run, says: Callable[[str, str, int], str] | None = None) -> None:
    """What the run's program would leave behind."""
    path = run.directory.path
    found = {}
    if run.kind == "reward-model":
        pairs = list(records.read(path / "input" / "pairs.jsonl", records.Pair))
        found = {"judgments": len({pair.judgment_id for pair in pairs}), "pairs": len(pairs)}
        found |= {
            "eval_accuracy": 0.75,
            "eval_accuracy_low": 0.6,
            "eval_accuracy_high": 0.9,
            "trunk": "0" * 64,
        }
    if run.kind in ("reward-model", "best-of-n", "ppo"):
        write_model(path / "model", f"of run {run.pk}")
    if run.kind in ("base-samples", "round-samples"):
        records.write(
            path / "responses.jsonl",
            responses(run, says or (lambda policy, name, which: f"{policy} {name} {which}")),
        )
    (path / "result.json").write_text(json.dumps(found))


def responses(run: Run, says: Callable[[str, str, int], str]):
    """So many samples of each policy for each prompt."""
    for policy in run.config["names"]:
        for one in records.read(run.directory.path / "input" / "prompts.jsonl", records.Prompt):
            for which in range(run.config["samples"]):
                yield records.Response(
                    prompt_id=one.prompt_id,
                    response=says(policy, one.prompt_id, which),
                    policy=policy,
                    seed=which,
                    logprob=-10.0,
                    reference_logprob=-11.5,
                    reward=0.5,
                )


def do(run: Run, says: Callable[[str, str, int], str] | None = None) -> Run:
    """Carry a run out."""
    claimed(run)
    write_output(run, says)
    succeed(run)
    return run


def carry_through(round: Round, says: Callable[[str, str, int], str] | None = None) -> Round:
    """Carry all runs of a round out, until it waits for raters."""
    while round.state == "running":
        do(round.current.run, says)
        round.refresh_from_db()
    return round
