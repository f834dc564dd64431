"""How well a reward model could agree with one rater at all, and which share of that it reaches.

If two fresh raters agree on a share A of pairs, then on a pair that a share p of raters would answer one way
they agree with chance p^2 + (1-p)^2, and the best guess agrees with one rater with chance max(p, 1-p). The
mean of the latter is at most (1 + sqrt(2A - 1)) / 2, by Jensen. Only decided answers count, as in the
accuracy.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewards.batches import NOBODY, Preferences
from rewards.intervals import Estimate

OVERLAP = "overlap"  # the purpose of comparisons that several raters judge to measure their agreement
ONE_SIDED = 0.8  # the level whose lower end nine in ten lie above
ROWS = 1024  # pairs of responses compared with all others at once


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two raters agree on the same two responses; None where no two have judged the same."""

    estimate: Estimate | None
    pairs: int  # of responses, that several raters decided
    source: str | None  # "overlap", or "all" where no comparison has that purpose


def same_two(pairs: Preferences) -> tuple[Tensor, Tensor]:
    """A number for the two responses of each pair, whoever won, and whether the chosen is its first."""
    low, high = torch.minimum(pairs.chosen, pairs.rejected), torch.maximum(pairs.chosen, pairs.rejected)
    return low * len(pairs.responses) + high, pairs.chosen == low


def agreement(pairs: Preferences) -> Agreement:
    """From the pairs of comparisons asked for it, if any; else of whatever several raters judged."""
    named = pairs.where(pairs.decided & (pairs.rater != NOBODY))
    if OVERLAP in pairs.purposes:
        found = _agreement(named.where(named.purpose == pairs.purposes.index(OVERLAP)), OVERLAP)
        if found.estimate:
            return found
    return _agreement(named, "all")


def ceiling(share: float) -> float | None:
    """The most that any reward model can agree with one rater, where two raters agree so often."""
    return (1 + math.sqrt(2 * share - 1)) / 2 if share > 0.5 else None


def share_of_ceiling(accuracy: Estimate, found: Agreement) -> dict[str, Any]:
    """Agreement, ceiling and the share (accuracy - 1/2) / (ceiling - 1/2) with its lower 90 % bound."""
    figures: dict[str, Any] = dict.fromkeys(
        (
            "agreement", "agreement_low", "agreement_high", "agreement_error",
            "ceiling", "ceiling_low", "ceiling_high", "share_of_ceiling", "share_of_ceiling_low",
        )
    )  # fmt: skip
    figures |= {"agreement_pairs": found.pairs, "agreement_source": found.source, "ceiling_reason": None}
    if found.estimate is None:
        return figures | {"ceiling_reason": "no two named raters decided between the same two responses"}
    low, high = found.estimate.interval()
    figures |= {
        "agreement": found.estimate.value,
        "agreement_low": low,
        "agreement_high": high,
        "agreement_error": math.sqrt(found.estimate.variance),
        "ceiling_low": ceiling(low) or 0.5,
        "ceiling_high": ceiling(high) or 0.5,
    }
    most = ceiling(found.estimate.value)
    if most is None:
        return figures | {"ceiling_reason": "two raters agree no more often than chance"}
    return figures | {
        "ceiling": most,
        "share_of_ceiling": (accuracy.value - 0.5) / (most - 0.5),
        "share_of_ceiling_low": _lower_bound(accuracy, found.estimate, most),
    }


def _lower_bound(accuracy: Estimate, found: Estimate, most: float) -> float:
    """Of a ratio, by the intervals of its two parts: Donner and Zou (2012), the formula rationalised.

    The two are taken as independent, which is careful: raters who agree more are easier to agree with.
    """
    top, bottom = accuracy.value - 0.5, most - 0.5
    top_low = accuracy.interval(ONE_SIDED)[0] - 0.5
    bottom_high = (ceiling(found.interval(ONE_SIDED)[1]) or 0.5) - 0.5
    if top_low <= 0:
        return top_low / bottom
    gained = top_low * (2 * top - top_low)
    taken = bottom_high * (2 * bottom - bottom_high)
    return gained / (top * bottom + math.sqrt(max(0.0, (top * bottom) ** 2 - gained * taken)))


def _agreement(pairs: Preferences, source: str) -> Agreement:
    """The mean over pairs of responses of the share of two raters' answers that are the same."""
    if not len(pairs):
        return Agreement(None, 0, None)
    responses, first = same_two(pairs)
    _, unit = responses.unique(return_inverse=True)
    _, of_rater = pairs.rater.unique(return_inverse=True)
    _, answer = (unit * (int(of_rater.max()) + 1) + of_rater).unique(return_inverse=True)
    kept = _firsts(answer)  # a rater who meets the same pair again is no second rater
    unit, first, of_rater, prompt = unit[kept], first[kept], of_rater[kept], pairs.prompt[kept]
    count = int(unit.max()) + 1
    one = torch.zeros(count, dtype=torch.float64).index_add_(0, unit, first.double())
    all_of = torch.bincount(unit, minlength=count).double()
    several = all_of > 1
    if not several.any():
        return Agreement(None, 0, None)
    other = all_of - one
    share = ((one * (one - 1) + other * (other - 1)) / (all_of * (all_of - 1)))[several]
    judged = torch.zeros(count, int(of_rater.max()) + 1)
    judged[unit, of_rater] = 1
    prompts = torch.zeros(count, dtype=torch.long)
    prompts[unit] = prompt
    judged, prompts = judged[several], prompts[several]
    mean = float(share.mean())
    variance = _variance((share - mean) / len(share), judged, prompts)
    spread = mean * (1 - mean)
    size = spread / variance if variance > 0 else float(len(share))
    raters, asked = int((judged.sum(0) > 0).sum()), len(prompts.unique())
    freedom = max(1.0, min(raters, asked) - 1.0)
    estimate = Estimate(mean, spread / size, size, freedom, "prompt and rater")
    return Agreement(estimate, len(share), source)


def _firsts(labels: Tensor) -> Tensor:
    """The place of each label's first entry."""
    count = int(labels.max()) + 1
    places = torch.arange(len(labels))
    return torch.full((count,), len(labels)).scatter_reduce_(0, labels, places, "amin")


def _variance(parts: Tensor, judged: Tensor, prompts: Tensor) -> float:
    """Of the sum of parts, where two go together that share a prompt or any rater.

    Aronow, Samii and Assenova (2015), for what two people make together.
    """
    total = 0.0
    for begin in range(0, len(parts), ROWS):
        rows = slice(begin, begin + ROWS)
        together = (judged[rows] @ judged.T > 0) | (prompts[rows, None] == prompts[None])
        total += float(parts[rows] @ (together.double() @ parts))
    alone = float(parts.square().sum())
    raters = int((judged.sum(0) > 0).sum())
    return max(total, alone) * raters / max(1, raters - 1)
