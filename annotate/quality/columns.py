"""Judgments as columns of numbers, so that a hundred thousand are measured in seconds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from annotate.judged import EXCLUDED, Judged
from annotate.quality.figures import Numbers, Whole

TIE = 9  # the answer that none is best; else an answer is a place among the response ids in order
ANSWERS = 10
PAIRS = list(combinations(range(9), 2))
NO_STRENGTH = 9
LEFT_OUT = 2  # among signs: a response that the rater did not rank
CHARACTERS_PER_SECOND = 240 / 60 * 6  # a reader takes 240 words a minute, a word and its space being six
FASTEST = 2.0  # seconds; whoever decides sooner has not read, however short the responses


@dataclass(frozen=True, slots=True)
class Columns:
    """A column for each thing that figures read; nan or -1 where it is not known."""

    rater: Whole
    unit: Whole  # the comparison
    size: Whole  # how many responses
    best: Whole  # the answer: which response, or TIE
    place: Whole  # where the best one was shown, -1 for a tie
    signs: NDArray[np.int8]  # for each two responses, in the order of ids: 1, -1, 0 or LEFT_OUT
    strength: Whole  # -3 to 3 towards the second id; NO_STRENGTH where none was asked
    all_bad: NDArray[np.bool_]
    seconds: Numbers
    too_fast: Numbers
    length_ratio: Numbers  # log of the first one's length over the second's
    since_break: Numbers
    minutes: Numbers
    gold: Numbers  # 1 for the known answer, 0 for another
    repeat: Numbers  # 1 for the same answer as the first time, 0 for another, a half with one tie
    overlap: NDArray[np.bool_]  # neither a gold nor a repeat: here raters can agree
    counted: NDArray[np.bool_]
    excluded: NDArray[np.bool_]  # with its rater; only the rater's own figures know it
    simulated: NDArray[np.bool_]
    opened_all: NDArray[np.bool_]
    rationale: Whole
    group: Whole

    def __len__(self) -> int:
        return len(self.rater)

    @property
    def pairs(self) -> NDArray[np.bool_]:
        """Where two responses were compared."""
        two: NDArray[np.bool_] = self.size == 2
        return two

    @property
    def won_by_first(self) -> Numbers:
        """1 where the response shown first is the best, 0 where another is, nan for ties."""
        return np.where(self.place >= 0, (self.place == 0).astype(float), np.nan)

    def where(self, rows: NDArray[np.bool_] | Whole) -> Columns:
        """Some of the rows."""
        return Columns(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def won_by_longer(self) -> Numbers:
        """1 where the longer one of two won, 0 where the shorter one did, nan elsewhere."""
        with np.errstate(invalid="ignore"):
            won = np.where(self.length_ratio > 0, self.won_by_first, 1 - self.won_by_first)
            return np.where(np.abs(self.length_ratio) > 0, won, np.nan)

    def renumbered(self) -> Columns:
        """The same with comparisons numbered from 0 without gaps."""
        return replace(self, unit=np.unique(self.unit, return_inverse=True)[1])

    def table(
        self, answers: Whole | None = None, *, answer_count: int = ANSWERS, comparisons: int | None = None
    ) -> Whole:
        """How many raters gave each answer, a row for each comparison number."""
        answers = self.best if answers is None else answers
        size = (int(self.unit.max(initial=-1)) + 1 if comparisons is None else comparisons) * answer_count
        return np.bincount(self.unit * answer_count + answers, minlength=size).reshape(-1, answer_count)


@dataclass(frozen=True, slots=True)
class Names:
    """Who and what the numbers in the columns stand for."""

    raters: list[str]
    groups: list[str]


def columns(rows: Sequence[Judged]) -> tuple[Columns, Names]:
    """The columns of these judgments, in the order of their time."""
    rows = sorted(rows, key=lambda row: row.at)
    raters, rater = _numbered(row.rater for row in rows)
    _, unit = _numbered(row.comparison for row in rows)
    groups, group = _numbered(row.group for row in rows if row.group is not None)
    group_of = iter(group)
    answered = [_answer(row) for row in rows]
    seconds = _column(rows, lambda row: None if row.active_ms is None else row.active_ms / 1000)
    characters = _column(rows, lambda row: sum(row.length) if row.length else None)
    limit = np.maximum(FASTEST, np.nan_to_num(characters) / CHARACTERS_PER_SECOND / 3)
    found = Columns(
        rater=rater,
        unit=unit,
        size=_whole(len(row.shown) for row in rows),
        best=_whole(best for best, _ in answered),
        place=_whole(
            row.shown.index(row.order[0][0]) if best != TIE else -1
            for row, (best, _) in zip(rows, answered, strict=True)
        ),
        signs=np.array([signs for _, signs in answered], dtype=np.int8).reshape(len(rows), len(PAIRS)),
        strength=_whole(_strength(row, best) for row, (best, _) in zip(rows, answered, strict=True)),
        all_bad=np.array([row.all_bad for row in rows], dtype=bool),
        seconds=seconds,
        too_fast=np.where(np.isnan(seconds), np.nan, seconds < limit),
        length_ratio=_column(rows, _length_ratio),
        since_break=_column(rows, lambda row: row.since_break),
        minutes=_column(rows, lambda row: row.minutes_since_break),
        gold=_column(rows, _gold),
        repeat=_repeats(rows, answered),
        overlap=np.array([row.gold is None and row.repeats is None for row in rows], dtype=bool),
        counted=np.array([row.counted for row in rows], dtype=bool),
        excluded=np.array([row.reason == EXCLUDED for row in rows], dtype=bool),
        simulated=np.array([row.simulated for row in rows], dtype=bool),
        opened_all=np.array([row.opened_all for row in rows], dtype=bool),
        rationale=_whole(row.rationale_length for row in rows),
        group=_whole(-1 if row.group is None else next(group_of) for row in rows),
    )
    return found, Names([str(name) for name in raters], [str(name) for name in groups])


def same_answer(one: int, other: int) -> float:
    """1 for the same, 0 for opposite ones, a half where one is a tie."""
    return 1.0 if one == other else 0.5 if TIE in (one, other) else 0.0


def _answer(row: Judged) -> tuple[int, list[int]]:
    """Which response is best, and the sign of every two, in the order of response ids."""
    ids = sorted(row.shown)
    level = {response: place for place, group in enumerate(row.order) for response in group}
    best = ids.index(row.order[0][0]) if len(row.order[0]) == 1 and not row.all_bad else TIE
    if len(ids) == 2:
        return best, [{0: 1, 1: -1, TIE: 0}[best]] + [LEFT_OUT] * (len(PAIRS) - 1)
    signs = [LEFT_OUT] * len(PAIRS)
    for number, (first, second) in enumerate(PAIRS):
        if second < len(ids) and ids[first] in level and ids[second] in level:
            one, other = level[ids[first]], level[ids[second]]
            signs[number] = (other > one) - (other < one)
    return best, signs


def _strength(row: Judged, best: int) -> int:
    if row.strength is None or len(row.shown) > 2:
        return NO_STRENGTH
    return 0 if best == TIE else row.strength if best else -row.strength


def _length_ratio(row: Judged) -> float | None:
    if len(row.length) != 2:
        return None
    return float(np.log(max(row.length[0], 1) / max(row.length[1], 1)))


def _gold(row: Judged) -> float | None:
    """Whether the best is the known best; an order's rest is a matter of taste more often than of care."""
    return None if row.gold is None else float(set(row.order[0]) == set(row.gold[0]))


def _repeats(rows: Sequence[Judged], answered: Sequence[tuple[int, list[int]]]) -> Numbers:
    """How the second answers to the same comparison match the first ones."""
    first = {
        (row.rater, row.comparison): best
        for row, (best, _) in zip(rows, answered, strict=True)
        if row.repeats is None
    }
    found = np.full(len(rows), np.nan)
    for number, (row, (best, _)) in enumerate(zip(rows, answered, strict=True)):
        if row.repeats is not None and (row.rater, row.repeats) in first:
            found[number] = same_answer(best, first[row.rater, row.repeats])
    return found


def _numbered(names: Iterable[Hashable]) -> tuple[list[Hashable], Whole]:
    """The different names, and for each row the number of its own."""
    numbers: dict[Hashable, int] = {}
    found = _whole(numbers.setdefault(name, len(numbers)) for name in names)
    return list(numbers), found


def _column(rows: Sequence[Judged], value: Callable[[Judged], float | None]) -> Numbers:
    return np.array([np.nan if (found := value(row)) is None else found for row in rows], dtype=np.float64)


def _whole(values: Iterable[int]) -> Whole:
    return np.fromiter(values, dtype=np.int64)
