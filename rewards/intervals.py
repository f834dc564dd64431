"""How far a figure may be off by chance where judgments of one prompt, or of one rater, are alike.

The variance is that of Cameron, Gelbach and Miller (2011) for two overlapping groupings: by prompt, plus by
rater, less by both together; each is the jackknife's, which leaves out one cluster at a time, so that
clusters may be of unequal size. A share gets Wilson's interval, with as many judgments as would be so
uncertain if each stood alone, and Student's quantile for the number of clusters: sensible near 0 and 1 too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from rewards.batches import NOBODY, Preferences

LEVEL = 0.95
SLICES = 2000  # of the integral that Student's quantile is solved from
MANY = 1e4  # degrees of freedom: with more, Student's quantile is the normal one to four digits


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share, its variance between clusters, and how many clusters say so."""

    value: float
    variance: float
    size: float  # judgments that would be as uncertain if each stood alone
    freedom: float  # degrees of freedom of the variance
    clustered_by: str = "prompt"

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Wilson's interval with that size."""
        return wilson(self.value, self.size, student(level, self.freedom))


def share(values: Tensor, weight: Tensor, pairs: Preferences) -> Estimate:
    """The weighted mean of values in [0, 1], an entry for each pair, clustered by prompt and rater."""
    weight = weight.double() / weight.double().sum()
    mean = float(weight @ values.double())
    groupings, freedom = clusters(pairs, weight)
    variance = float(clustered((weight * (values - mean))[:, None], groupings, weight))
    spread = mean * (1 - mean)
    alone = 1 / float(weight.square().sum())  # Kish's size: judgments of unequal weight count for fewer
    if variance > 0 and spread > 0:
        size = min(spread / variance, alone)
    else:
        size = min(alone, len(pairs.prompt.unique()))  # nothing varies: then a prompt counts once
    by = "prompt and rater" if len(groupings) > 1 else "prompt"
    return Estimate(mean, spread / size, size, freedom, by)


def clusters(pairs: Preferences, weight: Tensor) -> tuple[list[Tensor], float]:
    """The groupings of the pairs, and the degrees of freedom: by rater too where all name one of several.

    One less than the number of clusters, counted as Kish counts those of unequal weight.
    """
    groupings = [pairs.prompt]
    if len(pairs.rater.unique()) > 1 and not bool((pairs.rater == NOBODY).any()):
        groupings.append(pairs.rater)
    return groupings, max(1.0, min(_number(labels, weight) for labels in groupings) - 1)


def clustered(parts: Tensor, groupings: Sequence[Tensor], weight: Tensor) -> Tensor:
    """The variance (D,) of the sum over rows of parts (N, D) whose rows go together as these say."""
    each = [_between(parts, labels, weight) for labels in groupings]
    if len(groupings) == 1:
        return each[0]
    first, second = groupings
    both = _between(parts, first * (int(second.max()) + 1) + second, weight)
    # The difference can come out too small where there are few clusters; judgments that stand alone vary too.
    return torch.maximum(each[0] + each[1] - both, both)


def wilson(share: float, size: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval for a share of this many trials."""
    square = quantile * quantile
    middle = (share + square / (2 * size)) / (1 + square / size)
    half = quantile / (1 + square / size) * math.sqrt(share * (1 - share) / size + square / (4 * size * size))
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


@cache
def student(level: float, freedom: float) -> float:
    """The t with this much of Student's distribution between -t and t.

    With t = sqrt(freedom) tan(a) the density is a power of cos(a), which Simpson's rule adds up.
    """
    freedom = min(freedom, MANY)
    power = freedom - 1
    angles = torch.linspace(0, math.pi / 2, SLICES + 1, dtype=torch.float64)
    values = angles.cos().clamp_min(0) ** power if power else torch.ones_like(angles)
    step = math.pi / 2 / SLICES
    areas = (values[:-2:2] + 4 * values[1::2] + values[2::2]) * step / 3
    upto = torch.cat([torch.zeros(1, dtype=torch.float64), areas.cumsum(0)])  # at every second angle
    wanted = level * float(upto[-1])
    place = int(torch.searchsorted(upto, wanted)) - 1
    left, low, high = wanted - float(upto[place]), float(angles[2 * place]), float(angles[2 * place + 2])
    begin = low
    for _ in range(60):
        middle = (low + high) / 2
        if _simpson(begin, middle, power) < left:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _simpson(begin: float, end: float, power: float) -> float:
    first, middle, last = (float(math.cos(at) ** power) for at in (begin, (begin + end) / 2, end))
    return (end - begin) / 6 * (first + 4 * middle + last)


def _between(parts: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    _, places = labels.unique(return_inverse=True)
    count = int(places.max()) + 1
    sums = parts.new_zeros(count, parts.shape[1]).index_add_(0, places, parts)
    held = weight.new_zeros(count).index_add_(0, places, weight) / weight.sum()
    without = sums / (1 - held).clamp_min(1 / count)[:, None]
    return without.square().sum(0) * max(1, count - 1) / count


def _number(labels: Tensor, weight: Tensor) -> float:
    _, places = labels.unique(return_inverse=True)
    held = weight.new_zeros(int(places.max()) + 1).index_add_(0, places, weight)
    return float(held.sum().square() / held.square().sum())
