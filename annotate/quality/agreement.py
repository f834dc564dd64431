"""How far raters agree: raw, beyond chance, and what it leaves for a reward model to reach.

Answers are coded by response, never by side. A table has a row for each comparison and a column for each
answer; it counts the raters who gave that answer, so who they were and how many are missing plays no part.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from evalica import alpha as krippendorff
from numpy.random import Generator
from numpy.typing import NDArray

from annotate.quality.figures import Figure, Numbers, Whole, mean, share

ENOUGH = 10  # comparisons; with fewer, a bootstrap draws the same few again and again
PREVALENT = 0.7  # above this share of one answer, alpha tells little


def raw_agreement(table: Whole, *, tie: int | None) -> Figure:
    """The share of pairs of raters who gave the same answer; a tie and a winner agree by half.

    Each comparison counts once, as the mean over its pairs of raters.
    """
    raters = table.sum(axis=1)
    table, raters = table[raters > 1], raters[raters > 1]
    same = (table * (table - 1)).sum(axis=1) / 2.0
    if tie is not None:
        same += table[:, tie] * (raters - table[:, tie]) / 2
    return share(float((same / (raters * (raters - 1) / 2)).sum()), len(table))


def agreement_between(one: Whole, other: Whole, *, tie: int) -> Figure:
    """The same between the raters of two tables, over the comparisons that both have."""
    both = (one.sum(axis=1) > 0) & (other.sum(axis=1) > 0)
    one, other = one[both], other[both]
    ties, others_ties, all_one, all_other = one[:, tie], other[:, tie], one.sum(axis=1), other.sum(axis=1)
    half = ties * (all_other - others_ties) + (all_one - ties) * others_ties
    agreed = ((one * other).sum(axis=1) + half / 2) / (all_one * all_other)
    return share(float(agreed.sum()), len(one))


def agreement_with_others(
    answers: Whole, units: Whole, table: Whole, *, own: NDArray[np.bool_], tie: int
) -> Numbers:
    """For each judgment, how far the raters in the table gave the same; nan where there is none.

    Own says whether the table counts the judgment itself.
    """
    rows, tied = table[units], table[units, tie]
    others = rows.sum(axis=1) - own
    same = rows[np.arange(len(answers)), answers] - own
    half = np.where(answers == tie, rows.sum(axis=1) - tied, tied)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Numbers = np.where(others > 0, (same + half / 2) / others, np.nan)
    return found


def ceiling(agreement: Figure) -> Figure:
    """The most that a perfect reward model can agree with one fresh rater: (1 + sqrt(2A - 1)) / 2."""
    return agreement.map(lambda value: (1 + math.sqrt(max(2 * value - 1, 0))) / 2)


def alpha(table: Whole, level: Literal["nominal", "ordinal"], *, resamples: int, chance: Generator) -> Figure:
    """Krippendorff's alpha, with an interval from drawing comparisons anew."""
    table = table[table.sum(axis=1) > 1]
    if len(table) < ENOUGH or (table.sum(axis=0) > 0).sum() < 2:
        return Figure.none(len(table))
    value = krippendorff(pd.DataFrame(ratings(table)), level).alpha
    patterns, weights = _redrawn(table, resamples, chance)
    return _with_quantiles(value, alphas(patterns, weights, level), len(table))


def ratings(table: Whole) -> Numbers:
    """The table as the library wants it: a column for each comparison, a row for each of its raters."""
    raters = table.sum(axis=1)
    found = np.full((int(raters.max(initial=0)), len(table)), np.nan)
    columns = np.repeat(np.arange(len(table)), raters)
    rows = np.arange(len(columns)) - np.repeat(np.cumsum(raters) - raters, raters)
    found[rows, columns] = np.repeat(np.tile(np.arange(table.shape[1]), len(table)), table.ravel())
    return found


def alphas(patterns: Whole, weights: Whole, level: Literal["nominal", "ordinal"]) -> Numbers:
    """Alpha of many tables at once; each row of weights says how often each row of patterns is there.

    K. Krippendorff, Content Analysis (2018), chapter 12: 1 - observed / expected disagreement.
    """
    raters, size = patterns.sum(axis=1), patterns.shape[1]
    together = patterns[:, :, None] * patterns[:, None, :] - np.eye(size) * patterns[:, :, None]
    together = together / np.maximum(raters - 1, 1)[:, None, None]
    found = (weights @ together.reshape(len(patterns), -1)).reshape(-1, size, size)
    totals = found.sum(axis=2)  # (draws, answers)
    if level == "nominal":
        distance = np.broadcast_to(1 - np.eye(size), found.shape)
    else:
        middle = np.cumsum(totals, axis=1) - totals / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (found * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Numbers = 1 - (totals.sum(axis=1) - 1) * observed / expected
    return values


def gwet(table: Whole, *, resamples: int, chance: Generator) -> Figure:
    """Gwet's AC1, which stays meaningful where nearly all give one answer; else left out."""
    table = table[table.sum(axis=1) > 1]
    if len(table) < ENOUGH or table.sum(axis=0).max() <= PREVALENT * table.sum():
        return Figure.none(len(table))
    value = float(first_order_agreement(table, np.ones((1, len(table)), dtype=np.int64))[0])
    patterns, weights = _redrawn(table, resamples, chance)
    return _with_quantiles(value, first_order_agreement(patterns, weights), len(table))


def first_order_agreement(patterns: Whole, weights: Whole) -> Numbers:
    """AC1 of many tables at once (K. L. Gwet, Br. J. Math. Stat. Psychol. 61, 2008)."""
    raters, size = patterns.sum(axis=1), patterns.shape[1]
    several = raters > 1
    pairs = np.maximum(raters * (raters - 1), 1)
    agreed = (patterns * (patterns - 1)).sum(axis=1) / pairs
    observed = weights[:, several] @ agreed[several] / weights[:, several].sum(axis=1)
    common = weights @ (patterns / raters[:, None]) / weights.sum(axis=1)[:, None]
    expected = (common * (1 - common)).sum(axis=1) / (size - 1)
    values: Numbers = (observed - expected) / (1 - expected)
    return values


def rank_agreement(signs: NDArray[np.int8], units: Whole) -> Figure:
    """Kendall's tau-b between two raters of the same comparison, averaged as raw agreement is.

    Signs: a row for each judgment, a column for each two responses: 1 or -1 for the better one, 0 for a tie,
    2 where the rater left one of them out. Only what both have ordered is compared.
    """
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(units[order]) != 0]) if len(order) else order
    found = []
    for members in np.split(order, starts[1:]):
        if len(members) < 2:
            continue
        rows = signs[members].astype(np.float64)
        given = rows != 2
        rows = np.where(given, rows, 0)
        decided = np.abs(rows)
        scale = np.sqrt((decided @ given.T) * (given @ decided.T))  # what both have, less each one's ties
        upper = np.triu_indices(len(members), 1)
        agreed, scale = (rows @ rows.T)[upper], scale[upper]
        if (scale > 0).any():
            found.append(float((agreed[scale > 0] / scale[scale > 0]).mean()))
    return mean(np.array(found), low=-1, high=1)


def _redrawn(table: Whole, resamples: int, chance: Generator) -> tuple[Whole, Whole]:
    """The different rows of a table, and how often each is there when comparisons are drawn anew."""
    patterns, times = np.unique(table, axis=0, return_counts=True)
    return patterns, chance.multinomial(len(table), times / len(table), size=resamples)


def _with_quantiles(value: float, draws: Numbers, n: int) -> Figure:
    draws = draws[np.isfinite(draws)]
    if not math.isfinite(value) or not len(draws):
        return Figure.none(n)
    low, high = np.quantile(draws, (0.025, 0.975))
    return Figure(value, min(value, float(low)), max(value, float(high)), n)
