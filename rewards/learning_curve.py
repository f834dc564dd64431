"""What more judgments would bring: the accuracy on unseen prompts by the number of judgments learned from.

Each draw holds a fold of the prompts out and learns from growing shares of the others, by prompt; the smaller
shares lie within the larger. Per draw a line is fitted, accuracy = a + b log2(judgments), so b is what
doubling brings; its interval is Student's over the draws.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rewards.batches import FOLDS, Preferences
from rewards.bradley_terry import Ties, fit_heads
from rewards.intervals import LEVEL, student
from rewards.subsets import ordered

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
LEAST = 10  # judgments that the smallest share has, or there is no curve
Fit = Callable[[Tensor], Tensor]  # which pairs to learn from, (fits, pairs) -> log-odds, (fits, pairs)


def curve(pairs: Preferences, folds: Tensor, fit: Fit, *, seed: int) -> dict[str, Any]:
    """The points, and the gain of doubling with its 95 % interval; {"reason": …} where it can't be known."""
    draws = [fold for fold in range(FOLDS) if (folds == fold).any()]
    masks = [_masks(pairs, folds != fold, seed * FOLDS + fold) for fold in draws]
    judgments = torch.tensor([[len(pairs.judgment[mask].unique()) for mask in each] for each in masks])
    decided = torch.tensor([[bool(pairs.decided[mask].any()) for mask in each] for each in masks])
    if len(draws) < 2 or int(judgments.min()) < LEAST or not bool(decided.all()):
        return {"reason": f"needs {LEAST} judgments in an eighth of the prompts, and two folds of them"}
    logits = fit(torch.stack([mask for each in masks for mask in each]))
    right = ordered(logits.double()).reshape(len(draws), len(SHARES), -1)
    accuracy = torch.stack([_accuracy(right[n], pairs, folds == fold) for n, fold in enumerate(draws)])
    x = judgments.double().log2()
    x = x - x.mean(1, keepdim=True)
    slopes = ((x * accuracy).sum(1) / x.square().sum(1)).nan_to_num(0)
    slopes = slopes[accuracy.isfinite().all(1)]
    if len(slopes) < 2:
        return {"reason": "held-out prompts with a decided pair are needed in two folds"}
    gain = float(slopes.mean())
    half = student(LEVEL, len(slopes) - 1) * float(slopes.std()) / len(slopes) ** 0.5
    known = accuracy.isfinite().all(1)
    points = [
        {
            "share": share,
            "judgments": float(judgments[known, place].double().mean()),
            "accuracy": float(accuracy[known, place].mean()),
            "deviation": float(accuracy[known, place].std()),
        }
        for place, share in enumerate(SHARES)
    ]
    return {
        "points": points,
        "draws": len(slopes),
        "doubling_gain": gain,
        "doubling_gain_low": gain - half,
        "doubling_gain_high": gain + half,
        "reason": None,
    }


def of_head(features: Tensor, pairs: Preferences, *, penalty: float, ties: Ties) -> Fit:
    """How a linear head on these features (responses, D) learns: all fits of a curve at once."""
    scale = features.double().std(0, correction=0) + 1e-4
    differences = (features[pairs.chosen] - features[pairs.rejected]).double() / scale

    def fit(masks: Tensor) -> Tensor:
        heads, _ = fit_heads(
            differences, pairs.outcomes, pairs.weight * masks, penalty, ties=ties, margins=pairs.margin
        )
        return heads @ differences.T

    return fit


def _masks(pairs: Preferences, allowed: Tensor, seed: int) -> list[Tensor]:
    """For each of SHARES the pairs of so many of the allowed prompts; each holds those before."""
    prompts = pairs.prompt[allowed].unique()
    order = prompts[torch.randperm(len(prompts), generator=torch.Generator().manual_seed(seed))]
    counts = [round(share * len(order)) for share in SHARES]
    return [allowed & torch.isin(pairs.prompt, order[:count]) for count in counts]


def _accuracy(right: Tensor, pairs: Preferences, held_out: Tensor) -> Tensor:
    """(shares,): on the decided held-out pairs; not a number where there is none."""
    which = held_out & pairs.decided
    weight = pairs.weight[which].double()
    return right[:, which] @ weight / weight.sum()
