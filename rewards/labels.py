"""Soft labels: what raters said of each pair, for trainers that know nothing of raters.

A judgment's evidence is the logarithm of P(answer | the chosen is better) : P(answer | it is worse), both by
the fitted `rewards.raters`, averaged over how much the rewards of this file's pairs differ. So the reward
model's opinion of the pair itself plays no part. The evidence of all judgments of a pair is added up to
the log-odds of q; the label is q, and the weight |2 q - 1| says how much it tells.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lm import records
from lm.records import Pair
from rewards.batches import Preferences
from rewards.raters import Observed, Raters

FILE = "labels.jsonl"
LEVELS = 20  # quantiles of the differences that evidence is averaged over


@dataclass(frozen=True, slots=True)
class Labels:
    """One row for each two responses that were compared."""

    better: Tensor  # places of responses
    worse: Tensor
    soft_label: Tensor  # .5 to 1
    weight: Tensor


@torch.no_grad()
def evidence(raters: Raters, observed: Observed, differences: Tensor) -> Tensor:
    """The log-odds (pairs,) that each judgment alone gives its chosen response of being better."""
    levels = differences.abs().quantile((torch.arange(LEVELS, dtype=differences.dtype) + 0.5) / LEVELS)
    ones = torch.ones_like(differences)

    def chance(sign: int) -> Tensor:
        losses = torch.stack([raters.losses(sign * level * ones, observed) for level in levels])
        return torch.logsumexp(-losses, dim=0)

    return chance(1) - chance(-1)


def soft_labels(raters: Raters, observed: Observed, differences: Tensor, preferences: Preferences) -> Labels:
    """All judgments of the same two responses made into one; the order is that of their first judgment."""
    found = evidence(raters, observed, differences)
    low = torch.minimum(preferences.chosen, preferences.rejected)
    high = torch.maximum(preferences.chosen, preferences.rejected)
    size = int(high.max()) + 1
    keys = ((preferences.criterion + 1) * size + low) * size + high
    _, place = keys.unique(return_inverse=True)
    count = int(place.max()) + 1
    total = torch.zeros(count, dtype=found.dtype)
    total = total.index_add(0, place, torch.where(preferences.chosen == low, found, -found))
    given = torch.zeros(count, dtype=torch.float64).index_add(0, place, preferences.weight)
    given = given / torch.bincount(place, minlength=count)
    first = torch.full((count,), len(place)).scatter_reduce(0, place, torch.arange(len(place)), "amin")
    order = first.argsort()
    low, high, total, given = low[first][order], high[first][order], total[order], given[order]
    chance = torch.sigmoid(total.abs())
    return Labels(
        better=torch.where(total >= 0, low, high),
        worse=torch.where(total >= 0, high, low),
        soft_label=chance,
        weight=given * (2 * chance - 1),
    )


def write(file: Path, labels: Labels, preferences: Preferences) -> int:
    """Write the labels as pairs.jsonl with `soft_label` and `weight`, and say how many."""
    prompt = torch.full((len(preferences.responses),), -1)
    prompt[preferences.chosen] = preferences.prompt
    prompt[preferences.rejected] = preferences.prompt
    rows = zip(
        labels.better.tolist(),
        labels.worse.tolist(),
        labels.soft_label.tolist(),
        labels.weight.tolist(),
        strict=True,
    )
    return records.write(
        file,
        (
            Pair(
                prompt_id=preferences.prompt_ids[int(prompt[better])],
                messages=preferences.asked[better],
                chosen=preferences.texts[better],
                rejected=preferences.texts[worse],
                soft_label=label,
                weight=weight,
            )
            for better, worse, label, weight in rows
        ),
    )
