"""Counts over time as bars: where each lies; a template writes the SVG, classes only."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotate.pace import Pace

WIDE, NARROW = 848, 358
HEIGHT, TOP, BOTTOM = 168, 12, 140
LEFT_OF_LETTER = 6.8  # width of a digit in axis labels, 12 px type
GAP = 2


@dataclass(frozen=True, slots=True)
class Bar:
    """One unit: all of it in the accent, what robots said over it in ink."""

    x: float
    y: float
    width: float
    height: float
    robots_y: float
    robots_height: float
    now: bool  # the unit is not over


@dataclass(frozen=True, slots=True)
class Mark:
    """A word on an axis."""

    text: str
    at: float
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class BarChart:
    """Bars in one picture of a fixed size."""

    size: str  # "wide" or "narrow"
    width: int
    height: int
    left: float
    bars: Sequence[Bar]
    grid: Sequence[Mark]
    marks: Sequence[Mark]  # below the bars
    finding: str  # what the picture shows, in words


def bars_of(pace: Pace) -> list[BarChart]:
    """The pace as a wide and as a narrow picture; none where nothing came."""
    if not pace.counts:
        return []
    return [_chart(pace, "wide", WIDE), _chart(pace, "narrow", NARROW)]


def finding(pace: Pace) -> str:
    """What the picture shows."""
    unit = "day" if pace.by_day else "hour"
    most = max(pace.counts, key=lambda count: count.judgments)
    moment = most.since.strftime("%-d %B" if pace.by_day else "%-d %B, %H:%M")
    spans = f"{len(pace.counts)} {unit}s" if len(pace.counts) > 1 else f"one {unit}"
    return f"{pace.total:,} judgments in {spans}; most in one {unit}: {most.judgments:,}, {moment} UTC"


def _chart(pace: Pace, size: str, width: int) -> BarChart:
    top = _round_up(max(count.judgments for count in pace.counts))
    texts = [f"{value:,}" for value in (0, top // 2, top)] if top > 1 else ["0", "1"]
    left = round(12 + LEFT_OF_LETTER * max(map(len, texts)), 1)
    step = (width - left) / len(pace.counts)
    bars = []
    for number, count in enumerate(pace.counts):
        height = _tall(count.judgments, top)
        robots = _tall(count.simulated, top)
        bars.append(
            Bar(
                x=round(left + number * step, 1),
                y=round(BOTTOM - height, 1),
                width=round(max(1.0, min(step - GAP, 40)), 1),
                height=height,
                robots_y=round(BOTTOM - robots, 1),
                robots_height=robots,
                now=number == len(pace.counts) - 1,
            )
        )
    return BarChart(
        size=size,
        width=width,
        height=HEIGHT,
        left=left,
        bars=bars,
        grid=[Mark(text, round(BOTTOM - _tall(int(text.replace(",", "")), top), 1)) for text in texts],
        marks=_marks(pace, bars, enough=width // 120),
        finding=finding(pace),
    )


def _marks(pace: Pace, bars: Sequence[Bar], enough: int) -> list[Mark]:
    """Some moments below the bars, evenly spread; the last one is now."""
    last = len(bars) - 1
    every = max(1, -(-len(bars) // enough))
    texts = ["%-d %b" if pace.by_day else "%H:%M"] * len(bars)
    if not pace.by_day:  # the first hour of a day names the day
        for number, count in enumerate(pace.counts):
            if number == 0 or count.since.hour < every:
                texts[number] = "%-d %b %H:%M"
    found = [
        Mark(pace.counts[number].since.strftime(texts[number]), bars[number].x)
        for number in range(0, last + 1 - every // 2, every)
        if number < last
    ]
    end = bars[last].x + bars[last].width
    far = [mark for mark in found if mark.at < end - 90]
    return [*far, Mark("now", round(end, 1), "end")]


def _tall(value: int, top: int) -> float:
    return round((BOTTOM - TOP) * value / top, 1)


def _round_up(value: int) -> int:
    """The next number that halves well and reads well."""
    size = 1
    while True:
        for factor in (1, 2, 4, 6, 8):
            if value <= factor * size:
                return factor * size
        size *= 10
