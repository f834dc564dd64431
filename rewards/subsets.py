"""The accuracy again, for parts of the pairs: by strength, agreement, purpose, criterion and rater group."""

from typing import Any

import torch
from torch import Tensor

from rewards.batches import NOBODY, Preferences
from rewards.ceiling import same_two
from rewards.intervals import Estimate, share

MATCHED = 0.1  # responses whose lengths differ by at most this share count as equally long
LEAST_RATERS = 10  # in a group whose figures may be shown: fewer could be recognised
LEAST_PAIRS = 100  # of a group that the gate of the worst group looks at


def ordered(differences: Tensor) -> Tensor:
    """1 where the chosen is above, .5 where the two are equal, else 0."""
    return (differences.sign().double() + 1) / 2


def longer_wins(pairs: Preferences) -> Tensor:
    """Whether "the longer response is better" would be right: 1, .5 where both are as long, else 0."""
    lengths = pairs.lengths
    return ordered(lengths[pairs.chosen] - lengths[pairs.rejected])


def length_matched(pairs: Preferences) -> Tensor:
    """Which pairs have responses of about the same length."""
    lengths = pairs.lengths
    chosen, rejected = lengths[pairs.chosen], lengths[pairs.rejected]
    return (chosen - rejected).abs() <= MATCHED * torch.maximum(chosen, rejected)


def part(right: Tensor, pairs: Preferences, which: Tensor) -> dict[str, Any]:
    """The figures of some of the pairs; of none the accuracy is None."""
    if not which.any():
        return {"pairs": 0, "accuracy": None, "low": None, "high": None, "longer_wins": None}
    chosen = pairs.where(which)
    found = share(right[which], chosen.weight, chosen)
    low, high = found.interval()
    weight = chosen.weight.double() / chosen.weight.sum()
    return {
        "pairs": len(chosen),
        "accuracy": found.value,
        "low": low,
        "high": high,
        "longer_wins": float(weight @ longer_wins(chosen)),
    }


def by_strength(right: Tensor, pairs: Preferences) -> list[dict[str, Any]]:
    """By how sure the rater said to be; without the pairs where none was asked."""
    steps = pairs.strength[pairs.strength >= 0].unique().tolist()
    return [{"name": str(step), **part(right, pairs, pairs.strength == step)} for step in steps]


def by_agreement(right: Tensor, pairs: Preferences, everything: Preferences) -> list[dict[str, Any]]:
    """Where several raters judged the same two responses: all alike, or split.

    `everything` holds these pairs and the ties, which split a vote too. The unanimous are chosen by their
    outcome, so a model looks better there than on what one rater answers.
    """
    responses, first = same_two(everything)
    known, unit = responses.unique(return_inverse=True)
    judged = torch.stack([unit, everything.rater]).unique(dim=1)[0]
    several = torch.bincount(judged, minlength=len(known)) > 1
    answers = torch.zeros(len(known), 3, dtype=torch.bool)
    answers[unit, torch.where(everything.tie, 2, first.long())] = True
    split = answers.sum(1) > 1
    places = torch.searchsorted(known, same_two(pairs)[0])
    kinds = {"unanimous": several & ~split, "split": several & split}
    return [{"name": name, **part(right, pairs, which[places])} for name, which in kinds.items()]


def by_name(right: Tensor, pairs: Preferences, column: str, names: list[str]) -> list[dict[str, Any]]:
    """By the purpose or the criterion, whichever column and names are given."""
    labels = getattr(pairs, column)
    return [
        {"name": names[number], **part(right, pairs, labels == number)}
        for number in labels.unique().tolist()
        if number != NOBODY
    ]


def by_group(
    right: Tensor, pairs: Preferences, whole: Estimate, ceiling: float | None
) -> list[dict[str, Any]]:
    """By the raters' declared group, with its share of the ceiling, and of what the model reaches overall.

    The ceiling is that of all raters: a group's own would hang on a few overlaps. A group of fewer than ten
    raters is marked as not to be published.
    """
    found = by_name(right, pairs, "group", pairs.groups)
    for row in found:
        raters = pairs.rater[pairs.group == pairs.groups.index(row["name"])]
        above = row["accuracy"] - 0.5
        row["raters"] = len(raters[raters != NOBODY].unique())
        row["published"] = row["raters"] >= LEAST_RATERS
        row["share_of_ceiling"] = above / (ceiling - 0.5) if ceiling else None
        row["share_of_overall"] = above / (whole.value - 0.5) if whole.value > 0.5 else None
    return found


def worst_group(groups: list[dict[str, Any]]) -> float | None:
    """The least share of the overall figure among groups with enough pairs."""
    shares = [row["share_of_overall"] for row in groups if row["pairs"] >= LEAST_PAIRS]
    known = [share for share in shares if share is not None]
    return min(known) if known else None
