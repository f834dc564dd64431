"""Estimates with their intervals about a line of no change, as a picture; a template writes the SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.charts import Mark

WIDE, NARROW = 848, 358
ROW, TOP = 36, 12
NAMES = {"wide": 176, "narrow": 0}  # width that the names take; a narrow picture has them above the bars


@dataclass(frozen=True, slots=True)
class Interval:
    """One estimate."""

    name: str
    x: float
    low: float
    high: float
    y: float
    name_y: float


@dataclass(frozen=True, slots=True)
class IntervalChart:
    """Estimates below each other, in one picture of a fixed size."""

    size: str  # "wide" or "narrow"
    width: int
    height: int
    zero: float
    bottom: float
    rows: Sequence[Interval]
    unknown: Sequence[Mark]  # names of what could not be estimated
    marks: Sequence[Mark]
    finding: str


def changes(figures: Sequence[tuple[str, Mapping[str, Any]]], finding: str) -> list[IntervalChart]:
    """Changes of shares in points, about zero; none where nothing could be estimated."""
    known = [figure for _, figure in figures if figure["value"] is not None]
    if not known:
        return []
    reach = _round_up(100 * max(max(abs(figure["low"]), abs(figure["high"])) for figure in known))
    return [
        _chart(size, width, figures, reach, finding) for size, width in (("wide", WIDE), ("narrow", NARROW))
    ]


def _chart(
    size: str, width: int, figures: Sequence[tuple[str, Mapping[str, Any]]], reach: float, finding: str
) -> IntervalChart:
    left, right = NAMES[size] + 24.0, width - 24.0
    step = ROW if size == "wide" else ROW + 12
    middle = (left + right) / 2

    def at(value: float) -> float:
        return round(middle + max(-1.0, min(1.0, 100 * value / reach)) * (right - left) / 2, 1)

    rows, unknown = [], []
    for number, (name, figure) in enumerate(figures):
        base = TOP + number * step
        y, name_y = (base + 14.0, base + 18.0) if size == "wide" else (base + 28.0, base + 12.0)
        if figure["value"] is None:
            unknown.append(Mark(name, name_y))
        else:
            rows.append(Interval(name, at(figure["value"]), at(figure["low"]), at(figure["high"]), y, name_y))
    bottom = float(TOP + len(figures) * step)
    marks = [
        Mark(f"−{reach:g}", left, "middle"),
        Mark("no change", middle, "middle"),
        Mark(f"+{reach:g} points", right, "middle" if size == "wide" else "end"),
    ]
    return IntervalChart(size, width, int(bottom) + 24, middle, bottom, rows, unknown, marks, finding)


def _round_up(value: float) -> float:
    """The next number that reads well, not above a hundred points."""
    return next((step for step in (1, 2, 5, 10, 20, 50) if value <= step), 100.0)
