"""Metrics as line charts: where each point lies; a template writes the SVG, classes only."""

import math
from dataclasses import dataclass

from runs.metrics import Row, is_number, names

TOP, BOTTOM, RIGHT = 12, 144, 354  # of the plot, in a picture of 358 by 168
LETTER = 6.8  # width of a digit in axis labels, 12 px type
MOST = 12  # charts on a page
WORDS = {"kl": "KL", "lr": "Learning rate"}


@dataclass(frozen=True, slots=True)
class Label:
    """A word on an axis."""

    text: str
    at: float
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """One metric over the steps."""

    title: str
    value: str  # the latest
    gain: str  # since the start
    left: float
    grid: list[Label]  # horizontal lines, their label and height
    steps: list[Label]
    path: str
    x: float  # of the latest point
    y: float


def charts(rows: list[Row], total: int) -> list[Chart]:
    """A chart for each metric, the first dozen."""
    drawn = (chart(name, rows, total) for name in names(rows)[:MOST])
    return [one for one in drawn if one]


def chart(name: str, rows: list[Row], total: int) -> Chart | None:
    """One metric's chart; gaps stay where its value is missing."""
    points = [(int(row["step"]), row[name] if is_number(row.get(name)) else None) for row in rows]
    values = [value for _, value in points if value is not None]
    if not values:
        return None
    marks = ticks(min(values), max(values))
    texts = [number(mark) for mark in marks]
    left = max(36.0, round(14 + LETTER * max(map(len, texts)), 1))
    end = max(total, points[-1][0], 1)
    path, pen, x, y = [], "M", left, 0.0
    for step, value in points:
        if value is not None:
            x, y = _across(step, end, left), _up(value, marks)
            path.append(f"{pen}{x:g} {y:g}")
        pen = "M" if value is None else "L"
    thirds = [end // 3, end * 2 // 3] if end >= 3 else []
    return Chart(
        title=title(name),
        value=number(values[-1]),
        gain=("+" if values[-1] >= values[0] else "") + number(values[-1] - values[0]),
        left=left,
        grid=[Label(text, _up(mark, marks)) for text, mark in zip(texts, marks, strict=True)],
        steps=[
            Label("0", left),
            *(Label(f"{step:,}", _across(step, end, left), "middle") for step in thirds),
            Label(f"step {end:,}", RIGHT, "end"),
        ],
        path="".join(path),
        x=x,
        y=y,
    )


def _across(step: int, end: int, left: float) -> float:
    return round(left + (RIGHT - left) * step / end, 1)


def _up(value: float, marks: list[float]) -> float:
    return round(BOTTOM - (BOTTOM - TOP) * (value - marks[0]) / (marks[-1] - marks[0]), 1)


def ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers around all values; from zero where that is not far off."""
    if 0 < low < high * 0.7:
        low = 0.0
    elif high < 0 and high > low * 0.7:
        high = 0.0
    span = max(high - low, 0.02 * max(abs(low), abs(high)))  # less would give marks with the same name
    span = span if span > 1e-30 else 1.0
    power = 10.0 ** math.floor(math.log10(span / 2))
    size = next(factor * power for factor in (1, 2, 2.5, 5, 10) if span / (factor * power) <= 3)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    if first == last:
        first, last = first - 1, last + 1
    return [mark * size for mark in range(first, last + 1)]


def number(value: float) -> str:
    """Three digits that matter, short enough for an axis."""
    size = abs(value)
    if size and (size < 1e-3 or size >= 1e6):
        return f"{value:.2e}".replace("e-0", "e-").replace("e+0", "e").replace(".00e", "e")
    if size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if size < 100 or value == round(value) else f"{value:.0f}"


def title(name: str) -> str:
    """A metric's name as people read it: "policy/approx_kl" is "Policy: approx KL"."""
    words = name.replace("_", " ").replace("/", ": ").split()
    text = " ".join(WORDS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]
