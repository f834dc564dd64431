"""A project with a round at any step: run directories are written as programs would leave them."""

import json
import random
from uuid import uuid4

from django.conf import settings
from django.utils import timezone

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.comparisons import draw_pairs
from annotate.exchange import import_prompts
from annotate.judging import judge
from annotate.models import Membership, Project, Prompt, Role, User
from lm import records
from policy.app.exchange import import_responses
from policy.app.models import Evaluation, Policy, PolicyKind, Round
from runs import host, kinds, transitions
from runs.models import Run, State

PROMPTS = 24
TEXTS = ("It is ${}9.", "The lamp costs **${}9**. Shall I put one aside?", "I can't say. Ask for Fern {}.")
REWARD_MODEL = {
    "eval_accuracy": 0.71,
    "eval_accuracy_low": 0.64,
    "eval_accuracy_high": 0.78,
    "judgments": 150,
    "pairs": 150,
    "trunk": "0" * 64,
}

RESULTS = {
    "samples": {},
    "reward_model": REWARD_MODEL,
    "best_of_n": {"mean_reward_chosen": 0.86, "mean_reward": 0.02},
}


def demo(judgments: int = 108, **rules: int) -> Project:
    """A project of prompts, half of them held out, with a base and some judgments by robots."""
    project = Project.objects.create(slug="demo", name="Everyday helper", settings=rules)
    asked = [
        records.Prompt(
            prompt_id=f"lamp-{number:02}",
            messages=(
                records.Message(role="system", content=f"Notes: lamp Fern {number}; price: ${number}9"),
                records.Message(role="user", content=f"How much is the lamp Fern {number}?"),
            ),
        )
        for number in range(1, PROMPTS + 1)
    ]
    import_prompts(project, asked)
    import_responses(
        project,
        [
            records.Response(prompt_id=prompt.prompt_id, response=text.format(number), policy="earlier")
            for number, prompt in enumerate(asked, start=1)
            for text in TEXTS
        ],
    )
    prompts = list(Prompt.objects.filter(project=project).order_by("pk"))
    for number, prompt in enumerate(prompts):
        prompt.split = "policy_eval" if number % 2 else "train"
    Prompt.objects.bulk_update(prompts, ["split"])
    draw_pairs(project, prompts, per_prompt=3, seed=1, batch="demo")
    folder = settings.DATA_DIR / "models" / "staged"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    Policy.objects.update_or_create(
        project=project, kind=PolicyKind.BASE, defaults={"name": "starter", "model": "models/staged"}
    )
    judge_open(project, judgments, raters=12, seed=1)
    return project


def judge_open(project: Project, count: int, *, raters: int, seed: int, new: Policy | None = None, win=0.5):
    """Let so many judgments come in; where the new policy is compared, it wins this often."""
    chance = random.Random(seed)
    people = []
    for number in range(raters):
        person, made = User.objects.get_or_create(username=f"robot-{number}", simulated=True)
        if made:
            Membership.objects.create(user=person, project=project, role=Role.RATER)
        people.append(person)
    for number in range(count):
        assignment = next_for(people[number % raters], project)
        if assignment is None:
            continue
        tie = chance.random() < 0.12
        first = chance.random() < 0.5
        if new is not None:
            by_new = set(Evaluation.objects.filter(round__policy=new).values_list("response", flat=True))
            first = (assignment.shown[0] in by_new) == (chance.random() < win)
        judge(
            assignment,
            Answer(client_key=uuid4(), positions=[[1, 2]] if tie else [[1], [2]] if first else [[2], [1]]),
        )


def ask_only_evaluations(project: Project) -> None:
    """Leave nothing open but what decides on a round's policy."""
    project.comparisons.exclude(purpose="evaluation").update(closed_at=timezone.now())


def claim() -> Run:
    """Take the run that is due, as a worker would, with its inputs prepared."""
    run = transitions.claim(["train"], host.owner(1))
    assert run is not None
    run.directory.path.mkdir(parents=True, exist_ok=True)
    kinds.get(run.kind).prepare(run, run.directory)
    return run


def finish(run: Run, result: dict, responses: list[records.Response] | None = None) -> None:
    """Leave what the program leaves, and let the kind store it."""
    path = run.directory.path
    (path / "model").mkdir(exist_ok=True)
    (path / "model" / "config.json").write_text("{}")
    if responses is not None:
        records.write(path / "responses.jsonl", responses)
    (path / "result.json").write_text(json.dumps(result))
    transitions.succeed(run, lambda: kinds.get(run.kind).finish(run, run.directory))
    assert run.state == State.SUCCEEDED


def step(result: dict) -> Run:
    """Claim and finish a run that draws nothing."""
    run = claim()
    finish(run, result, [] if run.kind == "base-samples" else None)
    return run


def to_ppo(round: Round) -> Run:
    """Finish all before PPO; PPO's run, claimed."""
    while round.current.name != "ppo":
        step(RESULTS[round.current.name])
    return claim()


def to_labeling(round: Round) -> None:
    """Finish all steps of the round; its fresh comparisons are out."""
    finish(to_ppo(round), {"kl": 1.9, "reward": 1.31})
    samples = claim()
    finish(samples, {}, drawn(samples))
    round.refresh_from_db()


def drawn(run: Run) -> list[records.Response]:
    """Responses of every policy to the run's prompts, each policy's its own."""
    chance = random.Random(3)
    lines = []
    for prompt in records.read(run.directory.path / "input" / "prompts.jsonl", records.Prompt):
        number = int(prompt.prompt_id.removeprefix("lamp-"))
        for place, name in enumerate(run.config["names"]):
            for seed in range(run.config["samples"]):
                lines.append(
                    records.Response(
                        prompt_id=prompt.prompt_id,
                        response=TEXTS[(place + seed) % len(TEXTS)].format(number),
                        policy=name,
                        seed=seed,
                        reward=chance.gauss(1.2 if place == 0 else 0, 0.5),
                        logprob=-30 + chance.gauss(1.9 if place == 0 else 0, 2),
                        reference_logprob=-30.0,
                        ended=True,
                    )
                )
    return lines


def other_policy(project: Project) -> Policy:
    """A second policy that can be asked."""
    return Policy.objects.create(project=project, name="other", kind="imported", model="models/staged")


def said(run: Run, *texts: str) -> list[records.Response]:
    """What each policy of a try answers; the last text is that of all further ones."""
    return [
        records.Response(
            prompt_id="asked", response=texts[min(place, len(texts) - 1)], policy=name, logprob=-4.2
        )
        for place, name in enumerate(run.config["names"])
    ]
