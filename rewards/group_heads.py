"""Heads for declared groups of raters, whose taste may differ: r_g = r_0 + delta_g, delta_g kept small.

A group's head is more columns of the same fit: the differences of features once for all raters and once
more, penalised by a ridge of their own, for the group's. That ridge is chosen by held-out likelihood.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rewards.batches import Preferences
from rewards.joint import fit_jointly
from rewards.raters import Observed, Raters

LEAST_RATERS, LEAST_JUDGMENTS = 5, 300  # of a group, to have a head
FACTORS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of the features' ridge


def large_enough(preferences: Preferences) -> list[int]:
    """The numbers of the groups that get a head."""
    found = []
    for number in range(len(preferences.groups)):
        of_group = preferences.group == number
        raters = preferences.rater[of_group]
        judgments = len(preferences.judgment[of_group].unique())
        if len(raters[raters >= 0].unique()) >= LEAST_RATERS and judgments >= LEAST_JUDGMENTS:
            found.append(number)
    return found


def expanded(differences: Tensor, group: Tensor, numbers: Sequence[int]) -> Tensor:
    """Features (N, D) with as many columns again for each group, zero for others: (N, (1 + G) D)."""
    return torch.cat([differences, *(differences * (group == number)[:, None] for number in numbers)], dim=1)


def penalties(ridge: Tensor, factor: float, *, groups: int) -> Tensor:
    """The ridge of these columns ((1 + G) D,)."""
    return torch.cat([ridge, (factor * ridge).repeat(groups)])


def best_factor(
    differences: Tensor,  # expanded
    observed: Observed,
    new_raters: Callable[[], Raters],
    ridge: Tensor,  # (D,)
    *,
    groups: int,
    held_out: Tensor,  # (N,) bool
) -> float:
    """The factor of FACTORS that makes the held-out judgments likeliest, the others being fitted."""
    seen = replace(observed, weight=observed.weight * ~held_out)

    def loss(factor: float) -> float:
        raters = new_raters()
        head = fit_jointly(differences, seen, raters, penalties(ridge, factor, groups=groups))
        with torch.no_grad():
            losses = raters.losses(differences @ head, observed)
        return float((observed.weight * held_out) @ losses)

    return min(FACTORS, key=loss)


def table(
    preferences: Preferences,
    numbers: Sequence[int],
    unseen: Tensor,  # (N,): log-odds by the head of all
    by_group: Tensor,  # (N,): by the group's own
    factor: float | None,
) -> list[dict[str, Any]]:
    """Held-out accuracy by group, of the overall head and of the group's own; None where all is seen."""
    found = []
    for number in numbers:
        of_group = preferences.group == number
        kept = of_group & preferences.decided & unseen.isfinite()
        weight = preferences.weight[kept]
        accuracies = [
            float(weight @ ((logits[kept].sign() + 1) / 2).double() / weight.sum()) if kept.any() else None
            for logits in (unseen, by_group)
        ]
        found.append(
            {
                "group": preferences.groups[number],
                "raters": len(preferences.rater[of_group].unique()),
                "judgments": len(preferences.judgment[of_group].unique()),
                "overall_accuracy": accuracies[0],
                "accuracy": accuracies[1],
                "penalty_factor": factor,
            }
        )
    return found
