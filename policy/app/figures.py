"""What a round has measured: its steps in words, its win rates as lines that a template draws."""

from dataclasses import dataclass
from typing import Any

from django.db.models import Avg, Q, Sum

from annotate.models import Judgment
from policy.app.models import Policy, Round, Sample, StepName
from policy.app.rounds import Step
from policy.app.winrate import WinRate
from runs import metrics
from runs.models import State

LEFT, WIDTH = 8, 310  # of the line from 0 to 100 %, in a picture 326 wide


@dataclass(frozen=True, slots=True)
class Strip:
    """An interval between 0 and 100 %, in pixels."""

    low: float
    rate: float
    high: float
    left: float = LEFT
    middle: float = LEFT + WIDTH / 2
    right: float = LEFT + WIDTH
    width: float = WIDTH

    @classmethod
    def of(cls, win_rate: WinRate) -> "Strip":
        """Where a win rate and its interval lie."""
        ends = (win_rate.low, win_rate.rate, win_rate.high)
        return cls(*(round(LEFT + WIDTH * share, 1) for share in ends))


@dataclass(frozen=True, slots=True)
class Opponent:
    """What people say of a round's policy beside another one, and what the reward model promised."""

    policy: Policy
    win_rate: WinRate | None
    promise: float | None = None  # mean difference of rewards, in standard deviations of the base's
    promise_prompts: int = 0

    @property
    def strip(self) -> Strip | None:
        """The win rate as a picture."""
        return Strip.of(self.win_rate) if self.win_rate else None

    @property
    def percent(self) -> str:
        """The win rate in per cent."""
        return f"{self.win_rate.rate:.0%}" if self.win_rate else ""

    @property
    def interval(self) -> str:
        """The ends of its interval."""
        return f"{100 * self.win_rate.low:.0f} to {100 * self.win_rate.high:.0f}" if self.win_rate else ""

    @property
    def rests_on(self) -> str:
        """What the win rate was computed from."""
        if self.win_rate is None:
            return ""
        found = self.win_rate
        same = (
            f"; both wrote the same on {counted(found.identical, 'more prompt')}" if found.identical else ""
        )
        return (
            f"{counted(found.judgments, 'judgment')} by {counted(found.raters, 'rater')} on "
            f"{counted(found.prompts - found.identical, 'prompt')}, {counted(found.ties, 'tie')}{same}."
        )

    @property
    def promise_text(self) -> str:
        """What the reward model expects, in words."""
        prompts = counted(self.promise_prompts, "prompt")
        return f"{self.promise:+.2f} sd of reward, mean of {prompts}" if self.promise is not None else ""

    @property
    def better(self) -> bool:
        """Whether the whole interval lies above one half."""
        return self.win_rate is not None and self.win_rate.low > 0.5

    @property
    def worse(self) -> bool:
        """Whether the whole interval lies below one half."""
        return self.win_rate is not None and self.win_rate.high < 0.5


def counted(count: int, noun: str) -> str:
    """A number and its noun: 1 judgment, 1,200 judgments."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def opponent(round: Round, policy: Policy, win_rate: WinRate | None) -> Opponent:
    """One line of a round's win rates; the promise is given only beside what people say."""
    return Opponent(policy, win_rate, *(_promise(round, policy) if win_rate else ()))


def _promise(round: Round, policy: Policy) -> tuple[float | None, int]:
    """By how much the reward model prefers the round's policy, on held-out prompts that both answered."""
    new, other = (_rewards(round, one) for one in (round.policy, policy))
    both = new.keys() & other.keys()
    return (sum(new[prompt] - other[prompt] for prompt in both) / len(both) if both else None), len(both)


def _rewards(round: Round, policy: Policy | None) -> dict[int, float]:
    """The mean reward of the policy's samples for this round, by prompt."""
    drawn = Sample.objects.filter(
        policy=policy,
        reward__isnull=False,
        settings__round=round.number,
        response__prompt__split="policy_eval",
    )
    means = drawn.values("response__prompt").annotate(mean=Avg("reward"))
    return dict(means.values_list("response__prompt", "mean"))


def evaluation(round: Round) -> tuple[int, int]:
    """How many judgments decide on the round's policy, and how many of them are in."""
    comparisons = round.evaluations.filter(comparison__closed_at=None)
    wanted = comparisons.aggregate(wanted=Sum("comparison__wanted"))["wanted"] or 0
    of_them = Q(assignment__comparison__in=comparisons.values("comparison"))
    judged = Judgment.objects.used().filter(of_them).count()
    return wanted, judged


def kl(round: Round) -> float | None:
    """How far the round's policy is from the base, in nats a response."""
    if round.policy is None or round.policy.kl_from_base is not None or round.policy.run is None:
        return round.policy.kl_from_base if round.policy else None
    directory = round.policy.run.directory
    found = directory.result().get("kl") if directory.has_result() else None
    return found if isinstance(found, float) else None


def measured(step: Step, round: Round) -> str:
    """What a step has found so far, in words; empty before there is anything."""
    if step.run is None:
        return ""
    found = _numbers(step)
    match step.name:
        case StepName.REWARD_MODEL if step.state == "done" and round.reward_model:
            model = round.reward_model
            source = f"learned from {counted(model.judgments, 'judgment')}"
            if model.accuracy is None or model.accuracy_low is None or model.accuracy_high is None:
                return source.capitalize()
            interval = f"[{100 * model.accuracy_low:.0f}, {100 * model.accuracy_high:.0f}]"
            coin = ": so far no better than a coin" if model.accuracy_low <= 0.5 else ""
            return f"Agrees with {model.accuracy:.0%} {interval} of held-out judgments{coin}; {source}"
        case StepName.BEST_OF_N if "mean_reward_chosen" in found and "mean_reward" in found:
            chosen, all_samples = found["mean_reward_chosen"], found["mean_reward"]
            return f"Learned from responses of reward {chosen:+.2f} sd; all samples have {all_samples:+.2f}"
        case StepName.PPO if "kl" in found:
            reward = f", reward {found['reward']:+.2f} sd" if "reward" in found else ""
            return f"{found['kl']:.1f} of {round.plan.kl_budget:g} nats{reward}"
        case StepName.COMPARISONS if step.state == "done":
            return (
                f"{counted(round.project.comparisons.filter(batch=round.batch).count(), 'comparison')} queued"
            )
    return ""


def _numbers(step: Step) -> dict[str, Any]:
    """The numbers of a step's result, or of its latest metrics."""
    if step.run is None:
        return {}
    if step.run.state == State.SUCCEEDED:
        found = step.run.directory.result() if step.run.directory.has_result() else {}
    else:
        rows = metrics.sample(step.run.directory.path / "metrics.jsonl")
        found = rows[-1] if rows else {}
    return {name: value for name, value in found.items() if metrics.is_number(value)}
