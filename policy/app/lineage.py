"""Where a policy comes from: back over its runs to the very judgments that its reward model learned from."""

from dataclasses import dataclass
from pathlib import Path

from lm import records
from policy.app.models import Policy, Round, RoundStep
from rewards.app.models import RewardModel
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Lineage:
    """A policy's history; of one that no round has made, only the policies."""

    policies: list[Policy]  # itself, what it started from, …, the base
    runs: list[Run]  # of the round, in order
    round: Round | None
    reward_model: RewardModel | None
    file: Path | None  # pairs.jsonl, as the reward model's run read it
    judgments: frozenset[int]  # those in the file


def lineage(policy: Policy) -> Lineage:
    """A policy's history, read from its run back; the judgments are read from the file."""
    policies = [policy]
    while parent := policies[-1].parent:
        policies.append(parent)
    step = RoundStep.objects.filter(run=policy.run).select_related("round").first() if policy.run else None
    round = step.round if step else None
    runs = _runs_before(step) if step else []
    reward_model = RewardModel.objects.filter(run__in=runs).order_by("-pk").first()
    file = reward_model.pairs_file if reward_model else None
    judgments = _judgments(file) if file and file.is_file() else frozenset()
    return Lineage(policies, runs, round, reward_model, file, judgments)


def _runs_before(step: RoundStep) -> list[Run]:
    """The runs up to this step, of a step tried again the last one."""
    earlier = RoundStep.objects.filter(round=step.round_id, pk__lte=step.pk).select_related("run")
    return list({one.name: one.run for one in earlier.order_by("pk")}.values())


def _judgments(file: Path) -> frozenset[int]:
    return frozenset(int(pair.judgment_id) for pair in records.read(file, records.Pair) if pair.judgment_id)
