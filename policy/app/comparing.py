"""A round's fresh comparisons: which prompts are asked, and which responses are put side by side.

Half of them evaluate the new policy, on prompts that no policy is trained on: against the base and, once
a policy was promoted, every other one against that. The first sample of each stands for it. The other half is
for the next reward model, on prompts of training: every other one against the base, the rest against another
sample of the new policy itself.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from annotate.comparisons import add_comparison, drawn_for_overlap
from annotate.models import Prompt, Purpose, Response
from lm import records
from policy.app.exchange import add_samples
from policy.app.models import Evaluation, Policy, Round, RoundState

EVALUATION = "policy_eval"  # the split that no policy is trained on


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn for one prompt: each policy's responses in order."""

    prompt: Prompt
    responses: dict[int, list[Response]]  # by policy

    def first_different(self, one: int, other: int) -> tuple[Response, Response] | None:
        """The first responses of two policies, or of one and the same, that differ."""
        for left in self.responses[one]:
            for right in self.responses[other]:
                if left != right:
                    return left, right
        return None


def draw_prompts(round: Round) -> list[Prompt]:
    """The prompts of a round's comparisons, in random order: to evaluate on, then to learn from."""
    chance = _chance(round, "prompts")
    wanted = round.plan.comparisons
    held_out = _draw(round, EVALUATION, wanted // 2, chance)
    return held_out + _draw(round, "train", wanted - len(held_out), chance)


def put_out(round: Round, prompts: Sequence[records.Prompt], lines: Sequence[records.Response]) -> None:
    """Store the samples and queue the comparisons; from here on the round waits for raters."""
    assert round.policy is not None  # noqa: S101, it was sampled
    drawn = _store(round, prompts, lines)
    _put_out_evaluations(round, [one for one in drawn if one.prompt.split == EVALUATION])
    _put_out_to_learn(round, [one for one in drawn if one.prompt.split != EVALUATION])
    held_out = {one.prompt.name for one in drawn if one.prompt.split == EVALUATION}
    round.policy.kl_from_base = _kl(
        [line for line in lines if line.prompt_id in held_out and line.policy == str(round.policy.pk)]
    )
    round.policy.save(update_fields=["kl_from_base"])
    round.state, round.finished_at = RoundState.LABELING, timezone.now()
    round.save(update_fields=["state", "finished_at", "identical"])


def _put_out_evaluations(round: Round, drawn: Sequence[Drawn]) -> None:
    """One comparison for each held-out prompt; where both wrote the same words, it is counted as a tie."""
    chance = _chance(round, "evaluations")
    opponents = [policy for policy in (round.base, round.opponent) if policy is not None]
    pool = round.project.prompts.filter(split=EVALUATION).count()
    identical: Counter[str] = Counter()
    for number, one in enumerate(drawn):
        opponent = opponents[number % len(opponents)]
        ours, theirs = one.responses[_own(round).pk][0], one.responses[opponent.pk][0]
        if ours == theirs:
            identical[str(opponent.pk)] += 1
            continue
        comparison = add_comparison(
            round.project,
            one.prompt,
            (ours, theirs),
            probability=len(drawn[number % len(opponents) :: len(opponents)]) / pool,
            place=chance.random(),
            purpose=Purpose.EVALUATION,
            batch=round.batch,
        )
        Evaluation.objects.create(round=round, comparison=comparison, response=ours, opponent=opponent)
    round.identical = dict(identical)


def _put_out_to_learn(round: Round, drawn: Sequence[Drawn]) -> None:
    """One comparison for each prompt of training, unless all its responses are the same."""
    chance = _chance(round, "to learn")
    pool = round.project.prompts.filter(split="train").count()
    own, base = _own(round).pk, round.base_id
    for number, one in enumerate(drawn):
        others = (base, own) if number % 2 == 0 else (own, base)
        pairs = (one.first_different(own, other) for other in others)
        pair = next((pair for pair in pairs if pair is not None), None)
        if pair is not None:
            add_comparison(
                round.project,
                one.prompt,
                pair,
                probability=len(drawn[number % 2 :: 2]) / pool,
                place=chance.random(),
                batch=round.batch,
                overlap=drawn_for_overlap(round.project.rules, chance),
            )


def _store(round: Round, prompts: Sequence[records.Prompt], lines: Sequence[records.Response]) -> list[Drawn]:
    """Keep every response as its policy's sample; what was drawn for each prompt, in the prompts' order."""
    named = {prompt.name: prompt for prompt in round.project.prompts.all()}
    policies = {str(policy.pk): policy for policy in round.project.policies.all()}
    stored, _ = add_samples(
        [(named[line.prompt_id], policies[line.policy], line) for line in lines],
        settings={"round": round.number},
    )
    responses: dict[str, dict[int, list[Response]]] = defaultdict(lambda: defaultdict(list))
    for line, response in zip(lines, stored, strict=True):
        responses[line.prompt_id][int(line.policy)].append(response)
    return [Drawn(named[prompt.prompt_id], responses[prompt.prompt_id]) for prompt in prompts]


def _draw(round: Round, split: str, count: int, chance: random.Random) -> list[Prompt]:
    pool = list(round.project.prompts.filter(split=split).order_by("pk"))
    return chance.sample(pool, min(count, len(pool)))


def _kl(lines: Sequence[records.Response]) -> float | None:
    """Nats a response that the policy is from its reference, over its own samples."""
    ratios = [
        line.logprob - line.reference_logprob
        for line in lines
        if line.logprob is not None and line.reference_logprob is not None
    ]
    return sum(ratios) / len(ratios) if ratios else None


def _own(round: Round) -> Policy:
    assert round.policy is not None  # noqa: S101
    return round.policy


def _chance(round: Round, what: str) -> random.Random:
    seed = f"{round.project.slug} {round.number} {round.plan.seed} {what}"
    return random.Random(seed)  # noqa: S311, a draw that can be repeated
