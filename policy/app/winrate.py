"""How often people prefer one policy to another, with an interval that knows there were few of them.

The estimand: on a prompt and for a rater drawn from all that could have been, a win counts 1, a tie or both
bad 1/2, a loss 0. Judgments by one rater resemble each other, and so do those on one prompt; an interval that
took them for independent would be too narrow (with ten raters' 3,000 judgments it holds the truth two times
in three).
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

LEVEL = 0.95
FEWEST_RATERS = 3  # with fewer, nothing can be said about raters in general
NORMAL = 1.959964  # of the normal distribution, between -z and z lie 95 %


@dataclass(frozen=True, slots=True)
class Score:
    """What one judgment says of the new policy; without a rater, that both policies wrote the same words."""

    value: float  # 1 the new one is better, 0.5 tie or both bad, 0 the other is
    rater: str
    prompt: str


@dataclass(frozen=True, slots=True)
class WinRate:
    """The share of comparisons that the new policy wins, its 95 % interval and what both rest on."""

    rate: float
    low: float
    high: float
    judgments: int
    raters: int
    prompts: int
    ties: int  # judgments, both bad among them
    identical: int  # prompts on which both policies wrote the same words; each counts as one tie
    clustered_by: Literal["raters and prompts", "prompts"]  # prompts alone: holds for these raters only


def estimate(scores: Sequence[Score]) -> WinRate | None:
    """The win rate that these scores give; None as long as nobody has judged.

    The variance is that of Cameron, Gelbach and Miller (2011): clustered by prompts, plus clustered by
    raters, less the one of single judgments; never less than the larger of the first two.
    """
    judged = [score for score in scores if score.rater]
    if not judged:
        return None
    count, raters = len(scores), len({score.rater for score in judged})
    prompts = len({score.prompt for score in scores})
    rate = sum(score.value for score in scores) / count
    rests = [score.value - rate for score in scores]
    by_prompts = _clustered(rests, [score.prompt for score in scores], prompts)
    if raters < FEWEST_RATERS:
        clusters, variance = prompts, by_prompts
    else:
        # Same words are a tie for whoever reads them: in the sum over raters each stands for itself.
        by_raters = _clustered(rests, [score.rater or number for number, score in enumerate(scores)], raters)
        single = _clustered(rests, range(count), count)
        clusters = min(raters, prompts)
        variance = max(by_prompts + by_raters - single, by_prompts, by_raters)
    if clusters > 1 and variance > 0:
        half = t_quantile(clusters - 1) * math.sqrt(variance)
        low, high = rate - half, rate + half
    else:
        low, high = _wilson(rate, clusters)
    return WinRate(
        rate=rate,
        low=max(0.0, low),
        high=min(1.0, high),
        judgments=len(judged),
        raters=raters,
        prompts=prompts,
        ties=sum(score.value == 0.5 for score in judged),
        identical=count - len(judged),
        clustered_by="prompts" if raters < FEWEST_RATERS else "raters and prompts",
    )


def _clustered(rests: Sequence[float], keys: Iterable[Hashable], clusters: int) -> float:
    """The variance of the mean if only clusters are independent, with G / (G - 1) for few of them."""
    sums: defaultdict[Hashable, float] = defaultdict(float)
    for key, rest in zip(keys, rests, strict=True):
        sums[key] += rest
    few = clusters / (clusters - 1) if clusters > 1 else 1.0
    return few * math.fsum(part * part for part in sums.values()) / len(rests) ** 2


def _wilson(rate: float, count: int) -> tuple[float, float]:
    """Wilson's interval as if each cluster were one judgment: for when they don't differ, or there is one."""
    square = NORMAL**2
    centre = (rate + square / (2 * count)) / (1 + square / count)
    spread = rate * (1 - rate) / count + square / (4 * count * count)
    half = NORMAL / (1 + square / count) * math.sqrt(spread)
    return centre - half, centre + half


@lru_cache(maxsize=1024)
def t_quantile(freedom: int) -> float:
    """Between -t and t lie 95 % of Student's distribution with so many degrees of freedom."""
    low, high = 0.0, math.pi / 2
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < LEVEL else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _within(angle: float, freedom: int) -> float:
    """P(-t < T < t) for t = sqrt(freedom) tan(angle): the finite sums of Abramowitz and Stegun 26.7.3-4."""
    sine, cosine = math.sin(angle), math.cos(angle)
    term, total = 1.0, 0.0
    if freedom % 2 == 0:
        for k in range(0, freedom - 1, 2):
            total += term
            term *= (k + 1) / (k + 2) * cosine**2
        return sine * total
    term = cosine
    for k in range(1, freedom - 1, 2):
        total += term
        term *= (k + 1) / (k + 2) * cosine**2
    return 2 / math.pi * (angle + sine * total)
