"""How far to trust each rater, from known answers, swapped repeats, sides and overlap, without any model.

Care c is the share of comparisons that a rater looks at. It is estimated by Bayes' rule on a grid, from

    golds     P(known answer) = chance + c (0.92 - chance)     chance = 1 / number of responses
    repeats   P(same again)   = 1/2 + (c / k)^2 (S - 1/2)      S, A: what all raters together reach,
    overlap   P(as another)   = 1/2 + (c / k) (A - 1/2)        whose mean care is k
    sides     P(first)        = c q + (1 - c) h                q ~ N(.5, .08), position bias;
                                                               h half like q, half anywhere in 0..1
    prior     .9 Beta(5, 1) + .1 Beta(1, 5)                    with nothing known a weight of .77

k comes from golds and sides alone, so that a careless crowd doesn't vouch for its members. The weight is the
mean of c. **Overlap speaks for a rater, never against**: the weight is the larger one of those with and
without it, so whoever has a taste of their own keeps the weight that golds and repeats give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from annotate.quality.figures import Figure, Numbers, share_of

CAREFUL, GUESSING = 0.92, 0.60  # golds that the one and the other gets right
ALPHA, BETA = 0.01, 0.05  # careful ones called guessing; guessing ones called careful
CERTAIN = 0.98  # nobody answers the same more often than this
NOTHING = np.empty(0)
ENOUGH = 20  # judgments in overlap, to read something from without golds
EVIDENCE = math.log(10)  # repeats say good or poor from here on
HALF_READ = 0.75  # known answers; who is beyond doubt below it reads at most half of the time
MOST_SIDES = 200  # more would only say precisely how large a position bias is
ONE_SIDED = 0.2  # a share of firsts this far from a half, beyond doubt, is no position bias any more

GRID = np.linspace(0, 1, 101)
PRIOR = np.log(0.9 * 5 * GRID**4 + 0.1 * 5 * (1 - GRID) ** 4)
SIDES = np.linspace(0.02, 0.98, 25)
BIAS = np.exp(-0.5 * ((SIDES - 0.5) / 0.08) ** 2)
BIAS /= BIAS.sum()
HABIT = 0.5 * BIAS + 0.5 / len(SIDES)
FIRST = GRID[:, None, None] * SIDES[None, :, None] + (1 - GRID[:, None, None]) * SIDES
LOG_FIRST, LOG_SECOND = np.log(FIRST), np.log1p(-FIRST)

State = Literal["good", "poor", "unknown"]
Reading = Literal[
    "careful",
    "different taste",
    "guessing on hard items",
    "not reading",
    "reversed scale",
    "not enough data",
]
ACTIONS: dict[Reading, str] = {  # what a person may want to do; nothing happens by itself
    "careful": "none",
    "different taste": "none",
    "guessing on hard items": "retrain",
    "not reading": "pause",
    "reversed scale": "message",
    "not enough data": "none",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is known of one rater's care; columns in the order of time."""

    golds: Numbers  # 1 or 0
    gold_chance: float  # of hitting one blindly
    repeats: Numbers  # 1, 0 or a half
    firsts: Numbers  # 1 where the first of two won
    agreement: Numbers  # with the others of the same comparison
    too_fast: Figure


@dataclass(frozen=True, slots=True)
class Common:
    """What all raters of the project reach together, and how careful they are."""

    repeats: float
    agreement: float
    care: float

    @classmethod
    def of(cls, raters: Sequence[Evidence]) -> Common:
        """From all repeats and all judgments in overlap, kept where they can tell care from chance."""
        repeats = np.concatenate([NOTHING, *(rater.repeats for rater in raters)])
        agreement = np.concatenate([NOTHING, *(rater.agreement for rater in raters)])
        weights = np.array([len(rater.firsts) + len(rater.agreement) for rater in raters])
        cares = np.array([_posterior(_apart(rater), 0).value for rater in raters], dtype=np.float64)
        same = float(repeats.mean()) if len(repeats) >= ENOUGH else 0.8
        agreed = float(agreement.mean()) if len(agreement) >= ENOUGH else 0.7
        known = weights.sum() > 0
        return cls(
            min(max(same, 0.52), 0.9),
            min(max(agreed, 0.51), 0.95),
            float(cares @ weights / weights.sum()) if known else _posterior(PRIOR, 0).value or 0.0,
        )

    def again(self, care: Numbers | float) -> Numbers:
        """How often the same answer comes again from raters of this care."""
        return np.minimum(0.5 + (np.asarray(care) / self.care) ** 2 * (self.repeats - 0.5), CERTAIN)

    def alike(self, care: Numbers | float) -> Numbers:
        """How often raters of this care answer as another one does."""
        return np.minimum(0.5 + np.asarray(care) / self.care * (self.agreement - 0.5), CERTAIN)


@dataclass(frozen=True, slots=True)
class Trust:
    """What the evidence comes to."""

    care: Figure  # its value is the weight
    golds: State
    golds_needed: int | None  # after how many the test on golds was decided
    repeats: State
    reading: Reading
    action: str


def trust(evidence: Evidence, common: Common) -> Trust:
    """Weight, reading and suggested action for one rater."""
    state, needed = sequential_test(evidence.golds)
    repeats = _repeats_state(evidence.repeats, common)
    reading = _reading(evidence, common, golds=state, repeats=repeats)
    action = "watch" if reading == "not enough data" and state == "poor" else ACTIONS[reading]
    return Trust(care(evidence, common), state, needed, repeats, reading, action)


def care(evidence: Evidence, common: Common) -> Figure:
    """The share of comparisons that the rater looks at, with the posterior's interval."""
    known = len(evidence.golds) + len(evidence.repeats)
    own = _apart(evidence) + _binomial(evidence.repeats, common.again(GRID))
    overlap = _binomial(evidence.agreement, common.alike(GRID))
    n = known + len(evidence.firsts) + len(evidence.agreement)
    return max((_posterior(own, n), _posterior(own + overlap, n)), key=lambda figure: figure.value or 0)


def _apart(evidence: Evidence) -> Numbers:
    """The log-posterior of each care from what needs no other rater: golds and sides."""
    return (
        PRIOR
        + _binomial(evidence.golds, evidence.gold_chance + GRID * (CAREFUL - evidence.gold_chance))
        + _sides(evidence.firsts)
    )


def sequential_test(golds: Numbers) -> tuple[State, int | None]:
    """Wald's test of careful against guessing, and how many golds it took; the first decision stands."""
    right, wrong = math.log(GUESSING / CAREFUL), math.log((1 - GUESSING) / (1 - CAREFUL))
    sums = np.cumsum(np.where(golds > 0, right, wrong))
    poor, good = math.log((1 - BETA) / ALPHA), math.log(BETA / (1 - ALPHA))
    decided = np.flatnonzero((sums >= poor) | (sums <= good))
    if not len(decided):
        return "unknown", None
    return "poor" if sums[decided[0]] >= poor else "good", int(decided[0]) + 1


def _repeats_state(repeats: Numbers, common: Common) -> State:
    """Whether the same answers come again as from a careful rater, or as from one who tosses a coin."""
    expected, same = max(common.repeats, 0.6), float(repeats.sum())
    evidence = same * math.log(expected / 0.5) + (len(repeats) - same) * math.log((1 - expected) / 0.5)
    return "good" if evidence >= EVIDENCE else "poor" if evidence <= -EVIDENCE else "unknown"


def _reading(evidence: Evidence, common: Common, *, golds: State, repeats: State) -> Reading:
    """Good or poor by golds and repeats; agreement only tells kinds of good and kinds of poor apart."""
    agreement, passed = share_of(evidence.agreement), share_of(evidence.golds)
    low = agreement.below(common.agreement)
    careless = repeats == "poor" or _one_sided(evidence.firsts) or evidence.too_fast.above(0.5)
    if golds == "poor":
        if passed.below(0.5) and not careless:
            return "reversed scale"
        if passed.below(HALF_READ) or (careless and _mostly_missed(passed)):
            return "not reading"
        return "not enough data"
    if golds == "good":
        if repeats == "poor":
            return "guessing on hard items"
        if not low:
            return "careful"
        return "different taste" if repeats == "good" else "not enough data"
    if repeats == "poor" and (_one_sided(evidence.firsts) or evidence.too_fast.above(0.5)):
        return "not reading"
    if repeats == "good" and agreement.n >= ENOUGH:
        return "reversed scale" if agreement.below(0.5) else "different taste" if low else "careful"
    return "not enough data"


def _mostly_missed(passed: Figure) -> bool:
    """Whether all golds together still say what the test said before it ended."""
    return passed.value is not None and passed.value < (CAREFUL + GUESSING) / 2


def _one_sided(firsts: Numbers) -> bool:
    found = share_of(firsts)
    return found.above(0.5 + ONE_SIDED) or found.below(0.5 - ONE_SIDED)


def _binomial(hits: Numbers, chance: Numbers) -> Numbers:
    """The log-likelihood of so many hits for each chance."""
    chance, right = np.clip(chance, 1e-3, 1 - 1e-3), float(hits.sum())
    found: Numbers = right * np.log(chance) + (len(hits) - right) * np.log1p(-chance)
    return found


def _sides(firsts: Numbers) -> Numbers:
    """The log-likelihood of so many wins of the response shown first, for each care."""
    n = min(len(firsts), MOST_SIDES)
    if n == 0:
        return np.zeros_like(GRID)
    hits = float(firsts.mean()) * n
    logs = hits * LOG_FIRST + (n - hits) * LOG_SECOND  # (care, position bias, habit)
    top = logs.max()
    found: Numbers = top + np.log(np.einsum("cqh,q,h->c", np.exp(logs - top), BIAS, HABIT) + 1e-300)
    return found


def _posterior(logs: Numbers, n: int) -> Figure:
    weights = np.exp(logs - logs.max())
    below = np.cumsum(weights) / weights.sum()
    low, high = (float(GRID[min(int(np.searchsorted(below, edge)), 100)]) for edge in (0.025, 0.975))
    value = float(GRID @ weights / weights.sum())
    return Figure(value, min(low, value), max(high, value), n)
