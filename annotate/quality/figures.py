"""A number with its 95 % interval and what it rests on, and the ways to come by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binom, norm, t

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]
Z = float(norm.ppf(0.975))
FEW_CLUSTERS = 10  # with fewer, a spread between clusters says nothing
WIDE = 10.0  # standard deviation of the prior that keeps a slope finite where one side always wins


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate; value and interval are None where the data say nothing."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def none(cls, n: int = 0) -> Figure:
        """No estimate from so many."""
        return cls(None, None, None, n)

    def map(self, change: Callable[[float], float]) -> Figure:
        """The figure on another scale; the change must be increasing."""
        if self.value is None or self.low is None or self.high is None:
            return self
        return Figure(change(self.value), change(self.low), change(self.high), self.n)

    def above(self, level: float) -> bool:
        """Whether the whole interval is."""
        return self.low is not None and self.low > level

    def below(self, level: float) -> bool:
        """Whether the whole interval is."""
        return self.high is not None and self.high < level

    def to_json(self) -> dict[str, Any]:
        """As a result file holds it."""
        return {
            name: round(value, 6) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def share(hits: float, n: int) -> Figure:
    """Hits of n with Wilson's interval; with halves among the hits it is rather too wide than too narrow."""
    if n == 0:
        return Figure.none()
    value, spread = hits / n, Z * Z / n
    middle = (value + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (value * (1 - value) + spread / 4)) / (1 + spread)
    return Figure(value, max(0.0, min(value, middle - half)), min(1.0, max(value, middle + half)), n)


def share_of(hits: NDArray[Any]) -> Figure:
    """The share that a column of zeros, ones and halves has on average."""
    return share(float(hits.sum()), len(hits))


def mean(values: Numbers, *, low: float = -math.inf, high: float = math.inf) -> Figure:
    """A mean with Student's interval, kept within the bounds."""
    n = len(values)
    if n < 2:
        return Figure.none(n)
    value = float(values.mean())
    half = float(t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Figure(value, max(low, value - half), min(high, value + half), n)


def median(values: Numbers) -> Figure:
    """A median between the order statistics that hold it in 95 of 100 cases."""
    n = len(values)
    if n == 0:
        return Figure.none()
    ordered = np.sort(values)
    below = max(int(binom.ppf(0.025, n, 0.5)) - 1, 0)
    return Figure(float(np.median(ordered)), float(ordered[below]), float(ordered[n - 1 - below]), n)


def difference(one: Numbers, other: Numbers) -> Figure:
    """How much higher the mean of one set of people is than the other's, with Welch's interval."""
    n = len(one) + len(other)
    if min(len(one), len(other)) < 2:
        return Figure.none(n)
    spreads = np.array([values.var(ddof=1) / len(values) for values in (one, other)])
    value, spread = float(one.mean() - other.mean()), float(spreads.sum())
    if spread == 0:
        return Figure(value, value, value, n)
    freedom = spread**2 / float((spreads**2 / np.array([len(one) - 1, len(other) - 1])).sum())
    half = float(t.ppf(0.975, freedom)) * math.sqrt(spread)
    return Figure(value, value - half, value + half, n)


def slope_within(x: Numbers, y: Numbers, *, cells: Whole, clusters: Whole) -> Figure:
    """By how much y grows with x within the same cell; the interval is robust to likeness within clusters."""
    several = (np.bincount(cells)[cells] if len(cells) else cells) > 1
    x, y, cells, clusters = x[several], y[several], cells[several], clusters[several]
    n = len(x)
    if n < 20:
        return Figure.none(n)
    x, y = (column - _means(column, cells)[cells] for column in (x, y))
    information = float(x @ x)
    if information < 1e-9 * n:
        return Figure.none(n)
    value = float(x @ y) / information
    error, freedom = _error(x * (y - value * x), information, clusters, parameters=len(np.unique(cells)) + 1)
    half = float(t.ppf(0.975, freedom)) * error
    return Figure(value, value - half, value + half, n)


def log_odds_slope(x: Numbers, won: Numbers, *, clusters: Whole) -> Figure:
    """By how much the log-odds of winning grow with x, in a logistic regression with an intercept."""
    n = len(x)
    if n < 20 or x.std() < 1e-9 or not 0 < won.mean() < 1:
        return Figure.none(n)
    design = np.stack([np.ones(n), x], axis=1)
    penalty = np.eye(2) / WIDE**2
    beta = np.zeros(2)
    for _ in range(50):
        chance = expit(design @ beta)
        information = (design * (chance * (1 - chance))[:, None]).T @ design + penalty
        step = np.linalg.solve(information, design.T @ (won - chance) - penalty @ beta)
        beta += np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    # What an observation says of the slope alone, once the intercept has taken its part.
    inverse = np.linalg.inv(information)
    influence = (design * (won - chance)[:, None]) @ inverse[:, 1]
    groups = len(np.unique(clusters))
    if groups < FEW_CLUSTERS:
        error, freedom = math.sqrt(float(inverse[1, 1])), n - 2
    else:
        sums = np.bincount(np.unique(clusters, return_inverse=True)[1], influence)
        error, freedom = math.sqrt(float((sums**2).sum()) * groups / (groups - 1)), groups - 1
    half = float(t.ppf(0.975, freedom)) * error
    return Figure(float(beta[1]), float(beta[1]) - half, float(beta[1]) + half, n)


def _error(scores: Numbers, information: float, clusters: Whole, *, parameters: int) -> tuple[float, int]:
    """The standard error of a slope and its degrees of freedom, by clusters where there are enough."""
    groups = len(np.unique(clusters))
    if groups < FEW_CLUSTERS:
        freedom = max(len(scores) - parameters, 1)
        return math.sqrt(float(scores @ scores) * len(scores) / freedom) / information, freedom
    sums = np.bincount(np.unique(clusters, return_inverse=True)[1], scores)
    return math.sqrt(float(sums @ sums) * groups / (groups - 1)) / information, groups - 1


def _means(values: Numbers, cells: Whole) -> Numbers:
    sums: Numbers = np.bincount(cells, values) / np.maximum(np.bincount(cells), 1)
    return sums
