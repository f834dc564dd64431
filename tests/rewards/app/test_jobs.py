"""What is stored of a reward model, and what its run reads."""

import json
from uuid import uuid4

import pytest

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.comparisons import add_comparison
from annotate.exchange import add_prompt
from annotate.judging import judge
from annotate.models import Membership, Project, Response, Role, User
from lm import records
from rewards.app import jobs
from rewards.app.models import RewardModel
from runs import host, transitions
from runs.models import Run

RESULT = {"eval_accuracy": 0.7, "eval_accuracy_low": 0.6, "eval_accuracy_high": 0.8, "judgments": 1}
RESULT |= {"pairs": 1, "trunk": "a" * 64, "brier": 0.2}


@pytest.fixture
def project(db, settings, tmp_path) -> Project:
    """A project with one judgment."""
    settings.RUNS_DIR = tmp_path / "runs"
    project = Project.objects.create(slug="shop", name="Shop")
    message = records.Message(role="user", content="Why?")
    prompt, _ = add_prompt(project, records.Prompt(prompt_id="p", messages=(message,)))
    texts = [Response.objects.create(prompt=prompt, text=text, content_hash=text) for text in ("a", "b")]
    add_comparison(project, prompt, texts, probability=1, place=0)
    alice = User.objects.create_user("alice")
    Membership.objects.create(user=alice, project=project, role=Role.RATER)
    judge(next_for(alice, project), Answer(client_key=uuid4(), positions=[[2], [1]]))
    return project


@pytest.fixture
def run(project) -> Run:
    """A run by hand, of no round."""
    config = {"model": "input/base", "pairs": "input/pairs.jsonl"}
    run = Run.objects.start("reward-model", config=config, scope=project.scope)
    assert transitions.claim(["train"], host.owner(1)) == run
    run.refresh_from_db()
    return run


def finish(run: Run) -> None:
    run.directory.path.mkdir(parents=True, exist_ok=True)
    (run.directory.path / "result.json").write_text(json.dumps(RESULT))
    transitions.succeed(run, lambda: jobs.RewardModelTraining().finish(run, run.directory))


def test_the_figures_of_a_run_become_a_reward_model(project, run):
    finish(run)

    found = RewardModel.objects.get()
    assert (found.project, found.run, found.trunk) == (project, run, "a" * 64)
    assert (found.accuracy, found.accuracy_low, found.accuracy_high) == (0.7, 0.6, 0.8)
    assert (found.judgments, found.pairs, found.figures["brier"]) == (1, 1, 0.2)
    assert found.folder == run.directory.path / "model"


def test_the_judgments_are_written_once(project, run):
    jobs.RewardModelTraining().prepare(run, run.directory)
    file = run.directory.path / "input" / "pairs.jsonl"
    (pair,) = records.read(file, records.Pair)
    file.write_text("")

    jobs.RewardModelTraining().prepare(run, run.directory)

    assert pair.judgment_id is not None
    assert file.read_text() == ""


@pytest.mark.parametrize(("raters", "weight"), [(True, 1.0), (False, 0.25)])
def test_how_far_raters_are_relied_on_counts_once(project, run, raters, weight):
    """Either in the file or in the trainer, which finds it out itself."""
    Membership.objects.filter(project=project).update(weight=0.25)
    run.config["raters"] = raters
    jobs.RewardModelTraining().prepare(run, run.directory)
    (pair,) = records.read(run.directory.path / "input" / "pairs.jsonl", records.Pair)
    assert pair.weight == weight


def test_what_goes_on_after_it_is_stored_with_it_or_not_at_all(project, run, monkeypatch):
    def breaks(run, reward_model):
        raise RuntimeError("the next step can't be queued")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "_after", [breaks])
        with pytest.raises(RuntimeError):
            finish(run)
    assert not RewardModel.objects.exists()

    run.refresh_from_db()
    finish(run)
    assert RewardModel.objects.count() == 1
