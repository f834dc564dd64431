"""Once around the loop: start, go on from step to step, stop, decide.

A round's steps are runs. The transaction that marks a run as succeeded also stores what it found and queues
the run of the next step, so that each step is taken exactly once, whatever is killed in between.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from annotate.models import AuditEvent, Judgment, Preference, Project, Prompt, User
from annotate.retries import retried
from lm import records
from lm.config import to_json
from policy.app.models import Policy, Round, RoundState, RoundStep, Sample, StepName
from policy.app.settings import RoundSettings
from policy.app.winrate import Score, WinRate, estimate
from policy.config import PpoConfig, SampleConfig, SftConfig
from rewards.config import RewardConfig
from runs import transitions
from runs.models import RefusedError, Run, State, Want, sha256

OFFERED = 100  # judgments from which on a round is worth its while
INPUT = Path("input")
PROMPTS = INPUT / "prompts.jsonl"
SAMPLES = INPUT / "samples"
REWARD_MODEL = INPUT / "reward-model"
FRESH_SAMPLES = 2  # of each policy for each prompt, so that the new one can be compared with itself

KINDS = {
    StepName.SAMPLES: "base-samples",
    StepName.REWARD_MODEL: "reward-model",
    StepName.BEST_OF_N: "best-of-n",
    StepName.PPO: "ppo",
    StepName.COMPARISONS: "round-samples",
}
ORDER = list(KINDS)
StepState = Literal["waiting", "queued", "running", "done", "failed", "cancelled", "paused"]
STATES: dict[State, StepState] = {
    State.QUEUED: "queued",
    State.RETRY_WAIT: "queued",
    State.RUNNING: "running",
    State.SUCCEEDED: "done",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
    State.PAUSED: "paused",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a round can start, and what it would start from."""

    judgments: int  # that count
    fewest: int
    offered: int
    base: Policy | None
    active: Round | None  # running
    undecided: Round | None  # waits for a decision
    reason: str  # why none can start; "" where one can


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a round as a page shows it."""

    name: str
    title: str
    run: Run | None
    state: StepState


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """What the base and the round's policy answer to a prompt that neither was trained on."""

    prompt: Prompt
    before: str
    after: str


# What a person does


def readiness(project: Project, settings: RoundSettings | None = None) -> Readiness:
    """Whether a round can start; else the first reason against it."""
    fewest = (settings or RoundSettings()).fewest_judgments
    base = Policy.objects.base_of(project)
    judgments = Judgment.objects.used().filter(assignment__comparison__project=project).count()
    undecided = project.rounds.undecided().first()
    active = undecided if undecided and undecided.state == RoundState.RUNNING else None
    waiting = undecided if undecided and undecided.state == RoundState.LABELING else None
    return Readiness(
        judgments=judgments,
        fewest=fewest,
        offered=OFFERED,
        base=base,
        active=active,
        undecided=waiting,
        reason=_reason_against(project, base, undecided, judgments=judgments, fewest=fewest),
    )


def _reason_against(
    project: Project, base: Policy | None, undecided: Round | None, *, judgments: int, fewest: int
) -> str:
    if base is None:
        return "This project has no base policy with model files; add one with manage.py policy add."
    if undecided is not None and undecided.state == RoundState.RUNNING:
        return f"Round {undecided.number} is running."
    if undecided is not None:
        return f"Round {undecided.number} waits to be promoted or rejected."
    if ending := Run.objects.active().filter(slot=_slot(project)).first():
        return f"Run {ending.pk} of an earlier round has not ended."
    if judgments < fewest:
        return f"A round needs {fewest} judgments; there are {judgments}."
    of_project = Preference.objects.filter(judgment__assignment__comparison__project=project)
    decided = of_project.filter(tie=False).used()
    if not decided.exists():
        return "All judgments are ties; a reward model needs some with a winner."
    for split, purpose in (("train", "to learn from"), ("policy_eval", "set aside for evaluation")):
        if not project.prompts.filter(split=split).exists():
            return f"No prompt is {purpose}; import more prompts."
    return ""


@retried
@transaction.atomic
def start(project: Project, *, by: str, settings: RoundSettings) -> Round:
    """Start a round with all judgments so far; its first run is queued with it, or neither is."""
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    ready = readiness(project, settings)
    if ready.reason or ready.base is None:
        raise RefusedError(ready.reason)
    number = (project.rounds.aggregate(last=Max("number"))["last"] or 0) + 1
    round = Round.objects.create(
        project=project,
        number=number,
        base=ready.base,
        opponent=_opponent(project),
        settings=to_json(settings),
        started_by=by,
    )
    _take_step(round, StepName.SAMPLES, by=by)
    _note("round started", by, round)
    return round


@retried
@transaction.atomic
def retry(round: Round, by: str) -> None:
    """Take the step again whose run failed or was cancelled, or let a paused run go on."""
    round = _locked(round)
    run = round.current.run
    if round.state != RoundState.RUNNING:
        raise RefusedError(f"Round {round.number} is {_label(round)}; only a running one can go on.")
    if run.state == State.PAUSED:
        transitions.resume(run, by=by)
    elif run.state in (State.FAILED, State.CANCELLED):
        _take_step(round, StepName(round.current.name), by=by)
    else:
        raise RefusedError(f"Nothing of round {round.number} has failed; run {run.pk} is under way.")
    _note("round retried", by, round, step=round.current.name)


@retried
@transaction.atomic
def stop(round: Round, by: str) -> None:
    """End a round that is running, and its run; what it has made so far stays."""
    round = _locked(round)
    if round.state != RoundState.RUNNING:
        raise RefusedError(f"Round {round.number} is {_label(round)}; only a running one can be stopped.")
    run = round.current.run
    if run.is_active:
        transitions.cancel(run, by=by)
    round.state, round.decided_by, round.decided_at = RoundState.STOPPED, by, timezone.now()
    round.save(update_fields=["state", "decided_by", "decided_at"])
    _note("round stopped", by, round)


@retried
@transaction.atomic
def decide(round: Round, *, promote: bool, by: str, note: str = "") -> None:
    """Promote the round's policy, so that the next round's is compared with it, or reject it."""
    round = _locked(round)
    if round.state != RoundState.LABELING:
        raise RefusedError(f"Round {round.number} is {_label(round)}; there is nothing to decide.")
    round.state = RoundState.PROMOTED if promote else RoundState.REJECTED
    round.decided_by, round.decided_at, round.note = by, timezone.now(), note
    round.save(update_fields=["state", "decided_by", "decided_at", "note"])
    _note(f"round {round.state}", by, round, note=note)


# What a page shows


def steps(round: Round) -> list[Step]:
    """The steps in order, each with its latest run; samples that were there before the round are left out."""
    latest = {step.name: step.run for step in round.steps.select_related("run").order_by("pk")}
    samples = latest.get(StepName.SAMPLES)
    before = (
        samples is not None and samples.finished_at is not None and samples.finished_at < round.created_at
    )
    names = ORDER[1:] if before else ORDER
    return [
        Step(name.value, title(round, name), latest.get(name), _state(latest.get(name))) for name in names
    ]


def title(round: Round, name: str) -> str:
    """What a page calls a step of this round."""
    return f"Best of {round.plan.best_of}" if name == StepName.BEST_OF_N else StepName(name).label


def _state(run: Run | None) -> StepState:
    return STATES[State(run.state)] if run else "waiting"


def win_rates(round: Round) -> list[tuple[Policy, WinRate | None]]:
    """How often the round's policy is preferred, to the base and to the policy promoted before it."""
    opponents = [policy for policy in (round.base, round.opponent) if policy is not None]
    return [(opponent, estimate(scores(round, opponent))) for opponent in opponents]


def scores(round: Round, opponent: Policy) -> list[Score]:
    """What each counted judgment says of the round's policy; the same words from both are a tie."""
    own = dict(round.evaluations.filter(opponent=opponent).values_list("comparison", "response"))
    judgments = (
        Judgment.objects.used()
        .filter(assignment__comparison__in=own)
        .values_list("order", "assignment__comparison", "assignment__rater", "assignment__comparison__prompt")
    )
    found = [
        Score(_value(order, own[comparison]), str(rater), str(prompt))
        for order, comparison, rater, prompt in judgments
    ]
    same = round.identical.get(str(opponent.pk), 0)
    return found + [Score(0.5, "", f"identical {number}") for number in range(same)]


def _value(order: list[list[int]], response: int) -> float:
    """1 where the response is alone at the top of a pair, 0 where the other is, a half in a tie."""
    if len(order) == 1:
        return 0.5
    return 1.0 if response in order[0] else 0.0


def before_after(round: Round, count: int = 20) -> list[BeforeAfter]:
    """What base and policy wrote for this round to the same held-out prompts."""
    if round.policy is None:
        return []
    wrote: dict[int, dict[int, str]] = {}
    drawn = Sample.objects.filter(
        policy__in=(round.base, round.policy),
        settings__round=round.number,
        response__prompt__split="policy_eval",
    )
    for policy, prompt, text in drawn.order_by("pk").values_list(
        "policy", "response__prompt", "response__text"
    ):
        wrote.setdefault(prompt, {}).setdefault(policy, text)
    both = [prompt for prompt, texts in wrote.items() if len(texts) == 2][:count]
    prompts = Prompt.objects.in_bulk(both)
    return [BeforeAfter(prompts[pk], wrote[pk][round.base_id], wrote[pk][round.policy.pk]) for pk in both]


# What the kinds of jobs call


def waiting_for(run: Run) -> Round | None:
    """The running round whose present step this run is, locked; None where nothing waits for it any more."""
    rounds = Round.objects.select_for_update(of=("self",), no_key=True).filter(state=RoundState.RUNNING)
    for round in rounds.filter(steps__run=run):
        if round.current.run_id == run.pk:
            return round
    return None


def go_on(round: Round) -> None:
    """Queue the run of the next step."""
    done = StepName(round.current.name)
    _take_step(round, ORDER[ORDER.index(done) + 1], by=round.started_by)


@transaction.atomic
def sample_base(base: Policy, *, by: str, settings: RoundSettings | None = None) -> Run:
    """The run that samples the base as the settings ask: one that succeeded or is under way, or a new one.

    Prompts always come in the same order, so samples of more prompts serve as well.
    """
    settings = settings or RoundSettings()
    scope = base.project.scope
    config = to_json(_base_samples(base, settings))
    earlier = Run.objects.filter(kind="base-samples", scope=scope, config_sha256=sha256(config))
    wanted = b"".join(as_record(one).to_line() + b"\n" for one in prompts_to_learn(base.project, settings))
    for run in earlier.select_for_update(no_key=True).order_by("-pk"):
        if run.want == Want.CANCEL:
            raise RefusedError(f"Run {run.pk} is being cancelled; start the round when it has ended.")
        if run.is_active or (run.state == State.SUCCEEDED and _prompts_of(run).startswith(wanted)):
            return run
    slot = f"base-samples:{base.project.slug}"
    if other := Run.objects.active().filter(slot=slot).first():
        raise RefusedError(
            f"Run {other.pk} samples the base with other settings; start the round when it has ended."
        )
    return Run.objects.start("base-samples", config=config, scope=scope, slot=slot, started_by=by)


def prompts_to_learn(project: Project, settings: RoundSettings) -> list[Prompt]:
    """The prompts of the split train that the base is sampled on, always the same ones."""
    return list(project.prompts.filter(split="train").order_by("content_hash")[: settings.warm_prompts])


def as_record(prompt: Prompt) -> records.Prompt:
    """A prompt as a line of prompts.jsonl."""
    messages = tuple(records.Message(**message) for message in prompt.messages)
    return records.Prompt(prompt_id=prompt.name, messages=messages, tags=tuple(prompt.tags))


# How it is done


def _take_step(round: Round, name: StepName, *, by: str) -> None:
    """Queue the step's run; samples of the base that are there already let the round go on at once."""
    if name == StepName.SAMPLES:
        run = sample_base(round.base, by=by, settings=round.plan)
    else:
        number = round.steps.filter(name=name).count() + 1
        run = Run.objects.start(
            KINDS[name],
            config=CONFIGS[name](round),
            scope=round.project.scope,
            slot=_slot(round.project),
            started_by=by,
            idempotency_key=f"round:{round.pk}:{name.value}:{number}",
        )
    RoundStep.objects.create(round=round, name=name, run=run)
    if run.state == State.SUCCEEDED:
        go_on(round)


def _base_samples(base: Policy, settings: RoundSettings) -> SampleConfig:
    return SampleConfig(
        policies=(policy_input(base),),
        names=(str(base.pk),),
        prompts=PROMPTS,
        samples=settings.best_of,
        features=True,
        seed=0,  # whatever the round's: all rounds of a project share these samples
    )


def _reward_model(round: Round) -> RewardConfig:
    return RewardConfig(
        model=policy_input(round.base),
        pairs=INPUT / "pairs.jsonl",
        samples=SAMPLES,
        seed=_seed(round),
    )


def _best_of_n(round: Round) -> SftConfig:
    return SftConfig(
        model=policy_input(round.base),
        samples=SAMPLES,
        reward_model=REWARD_MODEL,
        best_of=round.plan.best_of,
        max_prompts=round.plan.warm_prompts,
        seed=_seed(round),
    )


def _ppo(round: Round) -> PpoConfig:
    plan = round.plan
    return PpoConfig(
        policy=policy_input(_made(round.warm)),
        reference=policy_input(round.base),
        reward_model=REWARD_MODEL,
        prompts=PROMPTS,
        baseline="group",
        kl_in="loss",
        kl_budget=plan.kl_budget,
        iterations=plan.iterations,
        prompts_per_iteration=plan.prompts_per_iteration,
        samples_per_prompt=plan.samples_per_prompt,
        seed=_seed(round),
    )


def _comparisons(round: Round) -> SampleConfig:
    policies = [_made(round.policy), round.base, *([round.opponent] if round.opponent else [])]
    return SampleConfig(
        policies=tuple(policy_input(policy) for policy in policies),
        names=tuple(str(policy.pk) for policy in policies),
        prompts=PROMPTS,
        samples=FRESH_SAMPLES,
        reward_model=REWARD_MODEL,
        reference=policy_input(round.base),
        seed=_seed(round),
    )


CONFIGS: dict[StepName, Callable[[Round], Any]] = {
    StepName.REWARD_MODEL: _reward_model,
    StepName.BEST_OF_N: _best_of_n,
    StepName.PPO: _ppo,
    StepName.COMPARISONS: _comparisons,
}


def policy_input(policy: Policy) -> Path:
    """Where a run that needs the policy finds its model files."""
    return INPUT / f"policy-{policy.pk}"


def _made(policy: Policy | None) -> Policy:
    assert policy is not None, "an earlier step makes it"  # noqa: S101
    return policy


def _seed(round: Round) -> int:
    """Another one for each round, so that no two draw alike."""
    return round.plan.seed + 1000 * round.number


def _prompts_of(run: Run) -> bytes:
    """The prompts.jsonl of a run; nothing where its files are gone."""
    file = run.directory.path / PROMPTS
    return file.read_bytes() if file.is_file() else b""


def _opponent(project: Project) -> Policy | None:
    promoted = project.rounds.filter(state=RoundState.PROMOTED).order_by("-number").first()
    return promoted.policy if promoted else None


def _slot(project: Project) -> str:
    return f"round:{project.slug}"


def _locked(round: Round) -> Round:
    return (
        Round.objects.select_for_update(of=("self",), no_key=True).select_related("project").get(pk=round.pk)
    )


def _label(round: Round) -> str:
    return RoundState(round.state).label.lower()


def _note(action: str, by: str, round: Round, **detail: Any) -> None:
    actor = User.objects.filter(username=by).first()
    AuditEvent.record(action, actor, round.project, round=round.number, **detail)
