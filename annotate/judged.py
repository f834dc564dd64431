"""A judgment as the figures of quality read it: a line of judged.jsonl, without names of people or models."""

from __future__ import annotations

from dataclasses import dataclass

from lm.records import Record

GOLD, REPEAT, EXCLUDED = "gold", "repeat", "excluded"  # reasons that the figures know


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Record):
    """One judgment with all that is known of how it came about."""

    rater: str  # a pseudonym
    comparison: int
    prompt: int
    purpose: str
    shown: tuple[int, ...]  # response ids, first to last as shown
    order: tuple[tuple[int, ...], ...]  # response ids, best first; equals share a list
    at: str  # ISO 8601; later judgments sort after earlier ones
    all_bad: bool = False
    strength: int | None = None  # how much better the best is, 0 (equal) to 3
    counted: bool = True  # false: the figures of the project leave it out
    reason: str = ""  # why nothing is learned from it, one word such as "late"; "" where it is used
    late: bool = False
    simulated: bool = False
    active_ms: int | None = None
    length: tuple[int, ...] = ()  # characters of each response, in the order shown
    since_break: int = 0  # comparisons of this sitting before it
    minutes_since_break: float | None = None
    gold: tuple[tuple[int, ...], ...] | None = None  # the known answer
    repeats: int | None = None  # the comparison that is shown again here
    group: str | None = None  # as the rater declared
    rationale_length: int = 0  # characters
    opened_all: bool = True

    def __post_init__(self) -> None:
        """Refuse what no page could have sent."""
        known = set(self.shown)
        if not 2 <= len(known) <= 9 or len(known) < len(self.shown):
            raise self._refuse("shown", "must hold two to nine different responses")
        for name, order in (("order", self.order), ("gold", self.gold)):
            ranked = [response for group in order or () for response in group]
            if order is not None and (not all(order) or not ranked):
                raise self._refuse(name, "must hold lists of responses, best first")
            if len(set(ranked)) < len(ranked) or not known.issuperset(ranked):
                raise self._refuse(name, "must name responses that are shown, each once")
        if self.length and len(self.length) != len(self.shown):
            raise self._refuse("length", f"must hold {len(self.shown)} numbers, one for each response")
        if any(number < 0 for number in (*self.length, self.active_ms or 0, self.since_break)):
            raise self._refuse("length" if self.length else "active_ms", "must not be below 0")
        if self.strength is not None and not 0 <= self.strength <= 3:
            raise self._refuse("strength", "must be 0 to 3")
        if self.counted and self.reason == EXCLUDED:
            raise self._refuse("counted", "must be false where the rater is excluded")
