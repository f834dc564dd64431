"""What files bring into a project, a line each: prompts, comparisons, judgments.

No model is named here. `prompt_id` may be left out, then the prompt is named by its words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from lm.records import Message, Pair, Record

NAME_LIMIT = 200  # characters of a prompt_id
TAG_LIMIT = 20
RATER = "import"  # whose judgments they are where a file doesn't say
Order = list[list[int]]  # positions, best first; equals share a list
_ORDER = re.compile(r"[1-9](?:[>=][1-9])*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLine(Record):
    """A prompt to ask."""

    prompt_id: str = ""
    messages: tuple[Message, ...]
    system: str | None = None  # stands before the messages
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.prompt_id) > NAME_LIMIT:
            raise self._refuse("prompt_id", f"must have at most {NAME_LIMIT} characters")
        if not self.messages:
            raise self._refuse("messages", "must hold at least one message")
        if not any(message.content.strip() for message in self.messages):
            raise self._refuse("messages", "must not be blank")
        if self.messages[-1].role != "user":
            raise self._refuse("messages", "must end with a person's turn")
        if self.system is not None and self.messages[0].role == "system":
            raise self._refuse("system", "stands beside a system message; give one of the two")
        if len(self.tags) > TAG_LIMIT or any(not tag.strip() or len(tag) > 60 for tag in self.tags):
            raise self._refuse("tags", f"must be at most {TAG_LIMIT} texts of 1 to 60 characters")

    @property
    def conversation(self) -> tuple[Message, ...]:
        """All messages, the system's included."""
        if self.system is None:
            return self.messages
        return (Message(role="system", content=self.system), *self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonLine(PromptLine):
    """Responses to put side by side."""

    responses: tuple[str, ...]
    purpose: Literal["uniform", "active", "gold", "training", "qualification"] | None = None
    gold: str | None = None  # the known answer, such as 2>1
    explanation: str = ""  # why it is right, for those who begin
    judgments: int | None = None  # wanted, where the project's rule doesn't hold
    score: float | None = None  # what asking it is worth
    stratum: Literal["uniform", "active", "sampled"] | None = None  # how it was chosen; else by the purpose
    probability: float | None = None  # of being chosen, given the pool; left out, all of the pool is here

    def __post_init__(self) -> None:
        PromptLine.__post_init__(self)
        _check_responses(self)
        if self.gold is not None:
            _check_order(self, "gold", self.gold)
        if self.purpose in ("gold", "training", "qualification") and self.gold is None:
            raise self._refuse("gold", f"is needed where the purpose is {self.purpose}: an order such as 2>1")
        if self.gold is not None and self.purpose in ("uniform", "active"):
            raise self._refuse("purpose", "must be gold, training or qualification where the answer is known")
        if self.purpose == "active" and self.score is None:
            raise self._refuse("score", "is needed where the purpose is active")
        self._check_chance()
        if self.judgments is not None and not 1 <= self.judgments <= 50:
            raise self._refuse("judgments", "must be 1 to 50")

    def _check_chance(self) -> None:
        """Refuse a stratum or a probability that says something else than the purpose."""
        if self.gold is not None and (self.stratum is not None or self.probability is not None):
            field = "stratum" if self.stratum is not None else "probability"
            raise self._refuse(field, "can't be given where the answer is known, as that is asked by rule")
        if self.stratum is not None and (self.stratum == "uniform") == (self.purpose == "active"):
            told = "active or sampled" if self.purpose == "active" else "uniform"
            raise self._refuse("stratum", f"must be {told} where the purpose is {self.purpose or 'uniform'}")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise self._refuse("probability", "must be above 0 and at most 1")
        if self.stratum == "sampled" and self.probability is None:
            raise self._refuse("probability", "is needed where the stratum is sampled")
        if self.purpose == "active" and self.stratum != "sampled" and self.probability not in (None, 1):
            raise self._refuse("probability", "must be 1 or left out in the stratum active, which is no draw")


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgmentLine(PromptLine):
    """An answer that somebody gave elsewhere; the responses stand in the order shown, where that is known."""

    responses: tuple[str, ...]
    order: str | None = None  # best first, such as 2>1 or 1=2
    all_bad: bool = False
    strength: int | None = None
    rater: str = RATER
    at: str | None = None  # ISO 8601
    rationale: str = ""
    confidence: int | None = None
    scores: tuple[int, ...] | None = None  # one for each response
    active_ms: int | None = None
    judgment_id: str | None = None
    order_shown: bool = True  # false: which response was shown first is not known
    simulated: bool = False

    def __post_init__(self) -> None:
        PromptLine.__post_init__(self)
        _check_responses(self)
        if self.order is None and not self.all_bad:
            raise self._refuse("order", "is needed, such as 2>1, or all_bad")
        if self.order is not None:
            _check_order(self, "order", self.order)
            if self.all_bad and ">" in self.order:
                raise self._refuse("order", "must be a tie of all where all are bad")
        if self.strength is not None and not 0 <= self.strength <= 3:
            raise self._refuse("strength", "must be 0 (as good) to 3 (much better)")
        if not self.rater.strip() or len(self.rater) > 100:
            raise self._refuse("rater", "must have 1 to 100 characters")
        if self.confidence is not None and not 1 <= self.confidence <= 5:
            raise self._refuse("confidence", "must be 1 to 5")
        if self.scores is not None and len(self.scores) != len(self.responses):
            raise self._refuse("scores", f"must hold {len(self.responses)} numbers, one for each response")
        if self.scores is not None and not all(1 <= score <= 10 for score in self.scores):
            raise self._refuse("scores", "must be 1 to 10")
        if self.active_ms is not None and not 0 <= self.active_ms < 2**31:
            raise self._refuse("active_ms", f"must be 0 to {2**31 - 1}")
        if self.at is not None:
            _check_time(self, self.at)

    @property
    def positions(self) -> Order:
        """The order as lists of positions; all in one where all are bad."""
        return parse_order(self.order) if self.order else [list(range(1, len(self.responses) + 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLine(Pair):
    """A line of pairs.jsonl, ours or another's: only prompt, chosen and rejected must be there."""

    prompt_id: str = ""

    def __post_init__(self) -> None:
        if self.criterion is not None:
            raise self._refuse("criterion", "tells of one criterion, not of which response is better;")
        if not self.messages:
            raise self._refuse("messages", "must hold at least one message")
        if not 2 <= self.size <= 9:
            raise self._refuse("size", "must be 2 to 9")
        if self.all_bad and not self.tie:
            raise self._refuse("all_bad", "is a tie, so tie must be true")


def judgment_of(pairs: Sequence[PairLine]) -> JudgmentLine:
    """The judgment that implied these preferences, all of one: the more a response won, the better it was."""
    one = pairs[0]
    several = one.judgment_id is not None and one.size > 2
    wins, before = Counter[str](), Counter[str]()
    for pair in pairs:
        first, second = pair.chosen, pair.rejected
        if pair.first == "rejected":
            first, second = second, first
        before.update({first: 1, second: 0})
        wins.update({pair.chosen: 0 if pair.tie else 1, pair.rejected: 0})
    if several and (len(pairs) != math.comb(one.size, 2) or len(wins) != one.size):
        raise one._refuse("size", f"needs {math.comb(one.size, 2)} pairs of its judgment side by side")
    texts = tuple(sorted(before, key=lambda text: -before[text]))
    groups: dict[int, list[str]] = {}
    for position, text in enumerate(texts, start=1):
        groups.setdefault(wins[text], []).append(str(position))
    return JudgmentLine(
        prompt_id=one.prompt_id,
        messages=one.messages,
        responses=texts,
        order=">".join("=".join(groups[count]) for count in sorted(groups, reverse=True)),
        all_bad=one.all_bad,
        strength=None if one.strength is None else min(one.strength, 3),
        rater=one.rater or RATER,
        judgment_id=one.judgment_id,
        order_shown=all(pair.first is not None for pair in pairs),
        simulated=one.simulated,
    )


def parse_order(text: str) -> Order:
    """The positions of an order such as 2>1=3."""
    return [[int(position) for position in group.split("=")] for group in text.split(">")]


def _check_responses(line: ComparisonLine | JudgmentLine) -> None:
    if not 2 <= len(line.responses) <= 9:
        raise line._refuse("responses", "must hold two to nine texts")
    if any(not text.strip() for text in line.responses):
        raise line._refuse("responses", "must not hold a blank text")


def _check_order(line: ComparisonLine | JudgmentLine, field: str, order: str) -> None:
    size = len(line.responses)
    known = _ORDER.fullmatch(order) is not None
    if not known or sorted(map(int, re.split("[>=]", order))) != list(range(1, size + 1)):
        raise line._refuse(field, f"must be an order of the responses 1 to {size}, such as 2>1")


def _check_time(line: JudgmentLine, at: str) -> None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or not 1970 <= moment.year <= 9998:
        raise line._refuse("at", "must be a time with its zone, such as 2026-03-01T12:30:00+00:00")
