"""What a run's metrics.jsonl and log.txt tell a page, read at a cost that does not grow with them."""

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from lm.run_directory import read_line, read_lines

SAMPLES = 400  # points of a chart 318 pixels wide
SMALL = 512 * 1024  # bytes; a longer file is sampled
RECENT = 20  # rows from which the speed is taken
OWN = ("step", "total", "at", "phase", "of")  # what says how far the run is, and of how much
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the run, named by its program."""

    name: str
    duration: timedelta


def sample(path: Path) -> list[Row]:
    """At most some hundred rows, evenly spread, the last one always among them."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return []
    rows = list(read_lines(path)) if size <= SMALL else _spread(path, size)
    stride = -(-len(rows) // SAMPLES) or 1
    return [row for index, row in enumerate(rows) if (len(rows) - 1 - index) % stride == 0]


def _spread(path: Path, size: int) -> list[Row]:
    rows: list[Row] = []
    with path.open("rb") as file:
        for place in range(SAMPLES):
            file.seek(size * place // SAMPLES)
            file.readline()  # the rest of a line
            row = read_line(file.readline())
            if row and (not rows or row["step"] > rows[-1]["step"]):
                rows.append(row)
        file.seek(size - SMALL)
        ends = [row for row in map(read_line, file.readlines()[1:]) if row]
    return rows + [row for row in ends[-1:] if not rows or row["step"] > rows[-1]["step"]]


def names(rows: list[Row]) -> list[str]:
    """The metrics that have numbers, in the order of their first appearance."""
    found = {name: None for row in rows for name, value in row.items() if is_number(value)}
    return [name for name in found if name not in OWN]


def is_number(value: Any) -> bool:
    """Whether a chart can show it: finite, and of a size that means something."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30


def phases(rows: list[Row]) -> list[Phase]:
    """The phases so far and how long each took; one that comes again is counted together."""
    found: dict[str, float] = {}
    for before, row in zip(rows[:1] + rows, rows, strict=False):  # nothing comes before the first
        name = CONTROL.sub("", str(row.get("phase") or ""))[:64]
        found[name] = found.get(name, 0) + max(_at(row) - _at(before), 0)
    return [Phase(name, timedelta(seconds=spent)) for name, spent in found.items() if name]


def time_left(rows: list[Row], *, since: float) -> timedelta | None:
    """How long the rest takes at the speed of late; None as long as there is no telling."""
    recent = [row for row in rows if _at(row) >= since][-RECENT:]
    if len(recent) < 2:
        return None
    first, last = recent[0], recent[-1]
    steps, seconds = last["step"] - first["step"], _at(last) - _at(first)
    if steps <= 0 or seconds <= 0 or last["total"] < last["step"]:
        return None
    return timedelta(seconds=(last["total"] - last["step"]) * seconds / steps)


def log_tail(path: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, without what could steer a terminal."""
    try:
        with path.open("rb") as file:
            file.seek(max(file.seek(0, os.SEEK_END) - 16 * 1024, 0))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [CONTROL.sub("", line)[:500] for line in text.splitlines()[-lines:]]


def _at(row: Row) -> float:
    return float(row["at"]) if is_number(row.get("at")) else 0.0
