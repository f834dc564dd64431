"""What waits is scored by the reward model in use, and the next one asked is the most telling."""

import json
import random
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.comparisons import add_comparison
from annotate.exchange import add_prompt
from annotate.judging import judge
from annotate.models import (
    AuditEvent,
    Comparison,
    Membership,
    Project,
    Purpose,
    Response,
    Role,
    User,
    content_hash,
)
from lm import records
from rewards import train
from rewards.acquire import ACTIVE, SAMPLED, UNIFORM, Candidates, Chosen
from rewards.app import jobs, scoring
from rewards.app.models import RewardModel
from rewards.batches import Items
from runs import host, transitions
from runs.models import RefusedError, Run, State
from runs.supervise import carry_out
from tests.rewards.conftest import thanking_pairs
from tests.torch_models import save_tiny, tiny_chat

RESULT = {"judgments": 4, "pairs": 4, "trunk": "a" * 64}
OWNER = host.owner(1)


@pytest.fixture
def project(db, settings, tmp_path) -> Project:
    settings.RUNS_DIR = tmp_path / "runs"
    return Project.objects.create(
        slug="shop", name="Shop", settings={"gold_share": 0, "repeat_share": 0, "uniform_below": 1}
    )


@pytest.fixture
def alice(project) -> User:
    alice = User.objects.create_user("alice")
    Membership.objects.create(user=alice, project=project, role=Role.RATER)
    return alice


@pytest.fixture
def ask(project):
    """Queue a comparison of two texts."""

    def queue(number: int, *texts: str, purpose=Purpose.ACTIVE, place: float = 0.5) -> Comparison:
        message = records.Message(role="user", content=f"What is the price of lamp {number}?")
        prompt, _ = add_prompt(project, records.Prompt(prompt_id=f"p{number}", messages=(message,)))
        responses = [
            Response.objects.create(prompt=prompt, text=text, content_hash=content_hash(text))
            for text in texts
        ]
        return add_comparison(project, prompt, responses, probability=1, place=place, purpose=purpose)

    return queue


@pytest.fixture
def trained(project):
    """Store a reward model whose run has these files, as its job would."""

    def store(result=None) -> RewardModel:
        run = Run.objects.start(
            "reward-model",
            config={"model": "input/base", "pairs": "input/pairs.jsonl"},
            scope=project.scope,
            started_by="ada",
        )
        assert transitions.claim(["train"], OWNER) == run
        run.refresh_from_db()
        (run.directory.path / "model").mkdir(parents=True, exist_ok=True)
        (run.directory.path / "result.json").write_text(json.dumps(result or RESULT))
        transitions.succeed(run, lambda: jobs.RewardModelTraining().finish(run, run.directory))
        return RewardModel.objects.get(run=run)

    return store


def judge_next(rater: User, project: Project) -> Comparison:
    assignment = next_for(rater, project)
    judge(assignment, Answer(client_key=uuid4(), positions=[[1], [2]]))
    return assignment.comparison


def test_a_new_reward_model_scores_what_waits(project, alice, ask, trained):
    ask(0, "a", "b", purpose=Purpose.UNIFORM, place=0.0)
    ask(1, "a", "b")
    judge_next(alice, project)

    trained()

    run = Run.objects.get(kind="score-comparisons")
    assert (run.scope, run.queue, run.started_by) == (project.scope, "train", "ada")


@pytest.mark.parametrize("rules", [{"uniform_below": 2}, {"uniform_share": 1.0}])
def test_it_does_not_where_all_is_drawn_at_random(project, alice, ask, trained, rules):
    project.settings |= rules
    project.save()
    ask(0, "a", "b", purpose=Purpose.UNIFORM, place=0.0)
    ask(1, "a", "b")
    judge_next(alice, project)

    trained()

    assert not Run.objects.filter(kind="score-comparisons").exists()


def test_why_it_can_not_be_started_is_said(project, ask, trained):
    with pytest.raises(CommandError, match="has no reward model yet"):
        call_command("score_comparisons", project="shop")
    trained()
    ask(1, "a", "b", purpose=Purpose.UNIFORM)
    with pytest.raises(RefusedError, match="No comparison of the stratum “active” waits"):
        scoring.start(project, by="ada")
    ask(2, "a", "b")
    call_command("score_comparisons", project="shop")
    with pytest.raises(CommandError, match="another run"):
        call_command("score_comparisons", project="shop")


def test_its_files_hold_what_waits_and_no_more(project, alice, ask, trained):
    waiting = ask(1, "a", "b", place=0.6)
    for number, purpose in enumerate((Purpose.UNIFORM, Purpose.EVALUATION, Purpose.AA), start=2):
        ask(number, "a", "b", purpose=purpose, place=0.7)
    judged = ask(9, "a", "b", place=0.1)
    assert judge_next(alice, project) == judged
    trained()
    run = Run.objects.get(kind="score-comparisons")

    scoring.ScoreComparisons().prepare(run, run.directory)

    (line,) = records.read(run.directory.path / "input/comparisons.jsonl", records.WaitingComparison)
    assert (line.comparison_id, line.prompt_id, line.responses) == (str(waiting.pk), "p1", ("a", "b"))
    assert len(list(records.read(run.directory.path / "input/pairs.jsonl", records.Pair))) == 1


def test_what_was_leased_meanwhile_keeps_its_score(project, alice, ask, trained):
    gone, left = ask(1, "a", "b", place=0.1), ask(2, "a", "b", place=0.2)
    trained()
    run = scoring.start(project, by="ada")
    assert transitions.claim(["train"], OWNER) == run
    run.refresh_from_db()
    scoring.ScoreComparisons().prepare(run, run.directory)
    assert next_for(alice, project).comparison == gone
    lines = records.read(run.directory.path / "input/comparisons.jsonl", records.WaitingComparison)
    rows = [{**line.to_json(), "score": 0.5} for line in lines]
    (run.directory.path / "scored.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    transitions.succeed(run, lambda: scoring.ScoreComparisons().finish(run, run.directory))

    scores = dict(Comparison.objects.values_list("pk", "score"))
    assert scores == {gone.pk: None, left.pk: 0.5}
    assert AuditEvent.objects.get(action="scored what waits").detail == {"run": run.pk, "comparisons": 1}


@pytest.mark.django_db(transaction=True)
def test_a_real_run_decides_what_is_asked_next(project, alice, ask, trained, tmp_path, pairs_file):
    base = save_tiny(tmp_path / "tiny")
    given = ["--model", str(base), "--pairs", str(pairs_file(thanking_pairs(40))), "--train", "head"]
    train.main([*given, "--members", "2", "--output", str(tmp_path / "trained")])
    chance = random.Random(1)
    for number in range(4):
        ask(number, "The lamp is red.", f"The soup is warm {number}.", purpose=Purpose.UNIFORM, place=0.0)
        judge_next(alice, project)
    active = [
        ask(10 + number, "The bread is fresh.", "It costs twenty pounds " * number, place=chance.random())
        for number in range(1, 9)
    ]
    uniform = ask(30, "One.", "Two.", purpose=Purpose.UNIFORM, place=0.999)
    model = trained()
    model.folder.rmdir()
    (tmp_path / "trained" / "model").rename(model.folder)
    places = sorted(one.place for one in active)
    run = Run.objects.get(kind="score-comparisons")
    assert transitions.claim(["train"], OWNER) == run
    run.refresh_from_db()

    carry_out(run)

    run.refresh_from_db()
    assert run.state == State.SUCCEEDED, run.error_text
    found = Comparison.objects.filter(stratum="active").order_by("-score")
    assert all(one.score > 0 for one in found)
    assert len({one.score for one in found}) == 8
    assert [one.place for one in found] == places
    assert next_for(alice, project).comparison == found[0]
    uniform.refresh_from_db()
    assert (uniform.score, uniform.place) == (None, 0.999)


def test_what_acquire_chose_is_imported_as_it_was_chosen(project, tmp_path):
    items = Items(tiny_chat())
    asked = (records.Message(role="user", content="Why?"),)
    places = [items.add(asked, text) for text in ("one", "two", "three")]
    found = Candidates(items, ["p"] * 3, [places[0], places[0], places[1]], [places[1], places[2], places[2]])
    chosen = [Chosen(0, UNIFORM, 0.25, 0.1), Chosen(1, ACTIVE, 1.0, 0.3), Chosen(2, SAMPLED, 0.75, 0.2)]
    records.write(tmp_path / "comparisons.jsonl", map(found.line, chosen))
    project.settings |= {"overlap_share": 0}
    project.save()

    call_command("import_comparisons", str(tmp_path / "comparisons.jsonl"), project="shop")

    stored = project.comparisons.order_by("pk").values_list("purpose", "stratum", "probability", "score")
    assert list(stored) == [
        ("uniform", "uniform", 0.25, 0.1),
        ("active", "active", 1.0, 0.3),
        ("active", "sampled", 0.75, 0.2),
    ]
