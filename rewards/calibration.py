"""How far a reward model's log-odds may be believed: slope, side, calibration error, reliability curve.

The calibration error of a perfectly calibrated model is not 0: with ten bins and 500 pairs it is about .046,
from chance alone. So it is held against replicates whose outcomes are drawn from the model's own chances.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewards.batches import Preferences
from rewards.bradley_terry import fit_head
from rewards.intervals import LEVEL, clustered, clusters, student, wilson

BINS = 10
REPLICATES, CHUNK = 200, 20  # drawn in all, and held at once
LINE = (
    "calibration_slope", "calibration_slope_low", "calibration_slope_high",
    "side_intercept", "side_intercept_low", "side_intercept_high", "temperature",
)  # fmt: skip
WEAK = 0.01  # a ridge that shows only where the pairs are separated, when no finite slope fits best


@dataclass(frozen=True, slots=True)
class Line:
    """logit P(chosen) = slope * log-odds + side * (1 where the chosen was shown first, -1 where second)."""

    slope: float
    slope_interval: tuple[float, float]
    side: float | None  # None where nobody knows which was first
    side_interval: tuple[float, float] | None

    def figures(self) -> dict[str, Any]:
        """For a result; a slope of 1 is right, below 1 the model is too sure."""
        temperature = 1 / self.slope if self.slope > 0 else None
        by_side = self.side_interval or (None, None)
        values = (self.slope, *self.slope_interval, self.side, *by_side, temperature)
        return dict(zip(LINE, values, strict=True))


def fit_line(logits: Tensor, pairs: Preferences) -> Line:
    """The line that these decided pairs fit best, with 95 % intervals clustered by prompt and rater."""
    logits, weight, side = logits.double(), pairs.weight.double(), pairs.side.double()
    columns = torch.stack([logits, side], dim=1)
    size = columns.square().mean(0).sqrt()
    known = size > 0
    x = columns[:, known] / size[known]
    estimates, errors = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    groupings, freedom = clusters(pairs, weight)
    if known.any():
        found, _ = fit_head(x, torch.ones(len(x)), weight, penalty=WEAK)
        chance = torch.sigmoid(x @ found)
        curvature = (x * (weight * chance * (1 - chance))[:, None]).T @ x
        curvature += WEAK * torch.eye(len(found), dtype=torch.float64)
        parts = x * (weight * (1 - chance))[:, None]
        parts = parts - parts.mean(0)  # the ridge keeps their sum from being exactly 0
        spread = clustered(torch.linalg.solve(curvature, parts.T).T, groupings, weight)
        estimates[known], errors[known] = found / size[known], spread.sqrt() / size[known]
    margins = student(LEVEL, freedom) * errors
    slope, by_side = estimates.tolist()
    half, half_side = margins.tolist()
    return Line(
        slope=slope,
        slope_interval=(slope - half, slope + half),
        side=by_side if known[1] else None,
        side_interval=(by_side - half_side, by_side + half_side) if known[1] else None,
    )


def reliability(logits: Tensor, weight: Tensor, *, seed: int = 0) -> dict[str, Any]:
    """The calibration error, what chance alone would make it, and the curve of bins behind both.

    `ece` is the mean distance of confidence and share right over ten bins with equally many pairs,
    `ece_expected` its mean over replicates and `ece_expected_high` their 95th percentile.
    """
    confidence, weight = torch.sigmoid(logits.double().abs()), weight.double()
    right = (logits.sign() + 1).double() / 2
    places = torch.empty(len(logits), dtype=torch.long)
    for number, of_bin in enumerate(confidence.argsort(stable=True).tensor_split(BINS)):
        places[of_bin] = number
    member = torch.zeros(len(logits), BINS, dtype=torch.float64)
    member[torch.arange(len(logits)), places] = weight
    held = member.sum(0)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.cat(
        [
            (torch.rand(CHUNK, len(logits), generator=generator) < confidence).double() @ member
            for _ in range(REPLICATES // CHUNK)
        ]
    )  # (replicates, bins): what would be right
    claimed, found = confidence @ member, right @ member
    by_chance = (drawn - claimed).abs().sum(1) / held.sum()
    error = float((found - claimed).abs().sum() / held.sum())
    expected = float(by_chance.mean())
    return {
        "ece": error,
        "ece_expected": expected,
        "ece_expected_high": float(by_chance.quantile(0.95)),
        "ece_excess": error - expected,
        "reliability": [
            _bin(number, claimed, found, held, member, drawn) for number in range(BINS) if held[number] > 0
        ],
    }


def _bin(
    number: int, claimed: Tensor, found: Tensor, held: Tensor, member: Tensor, drawn: Tensor
) -> dict[str, Any]:
    """A point of the curve: its interval, and where nine in ten replicates lie."""
    total = float(held[number])
    share = float(found[number]) / total
    alone = total * total / float(member[:, number].square().sum())  # Kish's size
    low, high = wilson(share, alone, student(LEVEL, max(1.0, alone - 1)))
    band = (drawn[:, number] / total).quantile(torch.tensor([0.05, 0.95], dtype=torch.float64))
    return {
        "confidence": float(claimed[number]) / total,
        "right": share,
        "pairs": int((member[:, number] > 0).sum()),
        "low": low,
        "high": high,
        "chance_low": float(band[0]),
        "chance_high": float(band[1]),
    }
