"""Figures of a reward model as pictures: where each part lies; a template writes the SVG, classes only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runs.charts import number, ticks

WIDTH = 358
STRIP = 326  # width of the strip beside a headline
LETTER = 6.8  # width of a digit, 12 px type
ROW = 40  # height of an estimate with its name above
TOP, BOTTOM = 12, 226  # of a plot, in a picture of 358 by 262
RIGHT = 354


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimate with its 95 % interval, where that is known, and what it rests on."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """How sure the model was of some pairs, how often it was right, and where chance alone would put that."""

    confidence: float
    right: Figure
    by_chance: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Mark:
    """A word beside an axis or a line."""

    text: str
    at: float
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One estimate of a forest."""

    name: str
    said: str  # the value in words
    note: str
    y: float
    name_y: float
    x: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Forest:
    """Estimates below each other, over one scale."""

    title: str
    finding: str
    height: int
    bottom: float
    zero: float  # where the line of no effect stands
    rows: list[Estimate]
    marks: list[Mark]
    so_what: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a plot with its interval."""

    x: float
    y: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """Points over two axes."""

    title: str
    finding: str
    left: float
    grid: list[Mark]
    marks: list[Mark]
    axis: str  # what is across
    points: list[Point]
    path: str = ""
    line: tuple[float, float, float, float] | None = None  # from and to of what would be right
    band: str = ""  # where chance alone would put the points
    so_what: str = ""


@dataclass(frozen=True, slots=True)
class Strip:
    """A share over 50 to 100 %, or over 0 to 100 % where it is below; with what to read it beside."""

    finding: str
    left: float
    width: float
    x: float
    low: float | None
    high: float | None
    limits: list[Mark] = field(default_factory=list)  # above the strip
    below: list[Mark] = field(default_factory=list)
    ends: list[Mark] = field(default_factory=list)


def percent(value: float) -> str:
    """A share in per cent, with one decimal where there is one."""
    return f"{100 * value:.1f}%".replace(".0%", "%")


def signed(value: float) -> str:
    """A coefficient with its sign."""
    return f"{'−' if value < 0 else '+'}{abs(value):.2f}"


def strip(figure: Figure, *, above: tuple[str, float] | None, below: tuple[str, float] | None) -> Strip:
    """A share with its interval, beside a ceiling above the strip and what is trivial below it."""
    marked = [one[1] for one in (above, below) if one]
    values = [figure.value, *(one for one in (figure.low, figure.high) if one is not None), *marked]
    start = 0.5 if min(values) >= 0.5 else 0.0

    def at(value: float) -> float:
        return round(4 + (STRIP - 8) * (min(1.0, max(start, value)) - start) / (1 - start), 1)

    def named(one: tuple[str, float] | None) -> list[Mark]:
        if not one:
            return []
        anchor = "end" if at(one[1]) > STRIP * 0.75 else "" if at(one[1]) < STRIP * 0.25 else "middle"
        return [Mark(f"{one[0]} {percent(one[1])}", at(one[1]), anchor)]

    return Strip(
        finding=f"{figure.name}: {percent(figure.value)}",
        left=at(start),
        width=at(1) - at(start),
        x=at(figure.value),
        low=None if figure.low is None else at(figure.low),
        high=None if figure.high is None else at(figure.high),
        limits=named(above),
        below=named(below),
        ends=[Mark(percent(start), at(start)), Mark("100%", at(1), "end")],
    )


def shares(title: str, figures: Sequence[Figure], so_what: str = "") -> Forest | None:
    """Shares such as accuracies, about one half, from what is lowest to 100 %."""
    if not figures:
        return None
    lowest = min(min(one.value, one.low if one.low is not None else one.value) for one in figures)
    start = 0.5 if lowest >= 0.5 else 0.25 if lowest >= 0.25 else 0.0
    marks = [start, 0.5, 0.75, 1.0] if start == 0.25 else [start, (start + 1) / 2, 1.0]
    return _forest(title, figures, start, 1.0, 0.5, [(one, percent(one)) for one in marks], percent, so_what)


def portions(title: str, figures: Sequence[Figure], so_what: str = "") -> Forest | None:
    """Portions of a whole, from nothing to all."""
    if not figures:
        return None
    marks = [(one, percent(one)) for one in (0.0, 0.5, 1.0)]
    return _forest(title, figures, 0.0, 1.0, 0.0, marks, percent, so_what)


def effects(title: str, figures: Sequence[Figure], so_what: str = "") -> Forest | None:
    """Coefficients about zero."""
    if not figures:
        return None
    reach = max(abs(one) for f in figures for one in (f.value, f.low, f.high) if one is not None)
    far = ticks(-max(reach, 0.1), max(reach, 0.1))
    marks = [(far[0], number(far[0]).replace("-", "−")), (0.0, "0"), (far[-1], "+" + number(far[-1]))]
    return _forest(title, figures, far[0], far[-1], 0.0, marks, signed, so_what)


def _forest(
    title: str,
    figures: Sequence[Figure],
    start: float,
    end: float,
    zero: float,
    marks: Sequence[tuple[float, str]],
    said: Callable[[float], str],
    so_what: str,
) -> Forest:
    def at(value: float) -> float:
        return round(5 + (WIDTH - 10) * (min(end, max(start, value)) - start) / (end - start), 1)

    rows = [
        Estimate(
            name=one.name,
            said=said(one.value),
            note=one.note,
            name_y=ROW * place + 14.0,
            y=ROW * place + 27.0,
            x=at(one.value),
            low=None if one.low is None else at(one.low),
            high=None if one.high is None else at(one.high),
        )
        for place, one in enumerate(figures)
    ]
    bottom = float(ROW * len(figures))
    ends = {start: "", end: "end"}
    return Forest(
        title=title,
        finding="; ".join(f"{one.name} {said(one.value)}" for one in figures),
        height=int(bottom) + 22,
        bottom=bottom,
        zero=at(zero),
        rows=rows,
        marks=[Mark(text, at(value), ends.get(value, "middle")) for value, text in marks],
        so_what=so_what,
    )


def reliability(claims: Sequence[Claim], so_what: str = "") -> Plot | None:
    """How often the model is right, where it says so often that it is; on the line it tells the truth."""
    if not claims:
        return None
    lowest = min(min(claim.confidence, claim.right.value) for claim in claims)
    start = 0.5 if lowest >= 0.5 else 0.25 if lowest >= 0.25 else 0.0
    left = 48.0

    def across(value: float) -> float:
        return round(left + (RIGHT - left) * (value - start) / (1 - start), 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (min(1.0, max(start, value)) - start) / (1 - start), 1)

    upper, lower = [], []
    for claim in claims:
        low, high = claim.by_chance
        if low is not None and high is not None:
            upper.append(f"{across(claim.confidence):g} {up(high):g}")
            lower.append(f"{across(claim.confidence):g} {up(low):g}")
    steps = [start, *(one for one in (0.5, 0.75) if one > start), 1.0]
    return Plot(
        title="Is it as sure as it should be",
        finding="; ".join(
            f"claims {percent(c.confidence)}, is right {percent(c.right.value)}" for c in claims
        ),
        left=left,
        grid=[Mark(percent(one), up(one)) for one in steps],
        marks=[Mark(percent(one), across(one), {start: "", 1.0: "end"}.get(one, "middle")) for one in steps],
        axis="claimed; upwards: right; shaded: chance alone" if upper else "claimed; upwards: right",
        points=[
            Point(across(c.confidence), up(c.right.value), _maybe(c.right.low, up), _maybe(c.right.high, up))
            for c in claims
        ],
        line=(across(start), up(start), across(1), up(1)),
        band=f"M{'L'.join([*upper, *reversed(lower)])}Z" if len(upper) > 1 else "",
        so_what=so_what,
    )


def learning_curve(figures: Sequence[tuple[float, Figure]], so_what: str = "") -> Plot | None:
    """Accuracy by the number of judgments learned from, each doubling as wide as the next."""
    figures = [(count, one) for count, one in figures if count > 0]
    if len(figures) < 2:
        return None
    counts = [count for count, _ in figures]
    ends = [one for _, f in figures for one in (f.value, f.low, f.high) if one is not None]
    base = 0.5 if min(ends) >= 0.5 else 0.0
    rungs = [base + one for one in ticks(0.0, max(0.1, min(1.0, max(ends)) - base))]
    texts = [percent(one) for one in rungs]
    left = max(40.0, round(14 + LETTER * max(map(len, texts)), 1))
    first, span = math.log(min(counts)), math.log(max(counts)) - math.log(min(counts)) or 1.0

    def across(count: float) -> float:
        return round(left + 8 + (RIGHT - left - 16) * (math.log(count) - first) / span, 1)

    def up(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (value - rungs[0]) / (rungs[-1] - rungs[0]), 1)

    points = [Point(across(c), up(f.value), _maybe(f.low, up), _maybe(f.high, up)) for c, f in figures]
    marks: list[Mark] = []
    for place, (count, point) in enumerate(zip(counts, points, strict=True)):
        last = place == len(points) - 1
        free = not marks or point.x - marks[-1].at > 48
        if free and (last or points[-1].x - point.x > 48):
            marks.append(Mark(f"{count:,.0f}", point.x, "end" if last else "middle" if place else ""))
    return Plot(
        title="What more judgments would bring",
        finding="; ".join(f"{count:,.0f} judgments {percent(f.value)}" for count, f in figures),
        left=left,
        grid=[Mark(text, up(one)) for text, one in zip(texts, rungs, strict=True)],
        marks=marks,
        axis="judgments learned from",
        points=points,
        path="M" + "L".join(f"{point.x:g} {point.y:g}" for point in points),
        so_what=so_what,
    )


def _maybe(value: float | None, place: Callable[[float], float]) -> float | None:
    return None if value is None else place(value)
