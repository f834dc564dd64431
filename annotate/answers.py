"""What a rater posted, read by the rules of the project: positions as shown, never response ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _

from annotate.settings import ProjectSettings

Positions = list[list[int]]  # 1 is the response shown first; best first, equals share a list
STEPS = re.compile(">+|=")


class JudgingError(Exception):
    """An answer that can't be taken; the message says why, to the rater."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a rater says of a comparison."""

    client_key: UUID
    positions: Sequence[Sequence[int]]
    all_bad: bool = False
    top: int = 0  # only so many were put in order
    strength: int | None = None  # 1 to 3, 0 for equal; none where the project doesn't ask
    criteria: Mapping[str, Positions] | None = None
    scores: Sequence[int] | None = None  # by position
    labels: Sequence[Sequence[str]] | None = None  # by position
    confidence: int | None = None
    rationale: str = ""
    normal: bool = True  # every response stood on the screen
    client: Mapping[str, Any] | None = None
    shown_at: datetime | None = None
    first_input_at: datetime | None = None
    submitted_at: datetime | None = None
    active_ms: int | None = None
    supersedes: UUID | None = None  # the client key of the judgment that this one corrects


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """A rater's form before it is known what was asked."""

    client_key: UUID
    order: str = ""
    all_bad: bool = False
    ranks: Mapping[int, int] = field(default_factory=dict)
    scores: Mapping[int, int] = field(default_factory=dict)
    criteria: Mapping[int, str] = field(default_factory=dict)
    labels: Mapping[int, Sequence[str]] = field(default_factory=dict)
    confidence: int | None = None
    rationale: str = ""
    opened: frozenset[int] | None = None  # none: nothing was hidden at any time
    client: Mapping[str, Any] | None = None
    shown_at: datetime | None = None
    first_input_at: datetime | None = None
    submitted_at: datetime | None = None
    active_ms: int | None = None
    supersedes: UUID | None = None

    def read(self, rules: ProjectSettings, size: int) -> Answer:
        """The answer, of a comparison of so many responses; what the rules don't offer is refused."""
        positions, strength, scores = self._judgment(rules, size)
        _refuse_unless(
            rules.tie or self.all_bad or not _ties(positions, rules), _("This project has no ties.")
        )
        rationale = self.rationale.strip()
        needed = rules.rationale == "always" or (rules.rationale == "strong" and strength in (2, 3))
        _refuse_unless(bool(rationale) or not needed, _("rationale: say in a few words why."))
        _refuse_unless(not rationale or rules.rationale != "off", _("rationale: this project asks for none."))
        if self.confidence is not None:
            _refuse_unless(rules.confidence, _("confidence: this project does not ask for it."))
            _refuse_unless(
                1 <= self.confidence <= 5,
                _("confidence: %(given)s is not from 1 to 5."),
                given=self.confidence,
            )
        return Answer(
            client_key=self.client_key,
            positions=positions,
            all_bad=self.all_bad,
            top=rules.top if rules.scheme == "ranking" and not self.all_bad else 0,
            strength=strength,
            scores=scores,
            criteria=self._criteria(rules, size),
            labels=self._labels(rules, size),
            confidence=self.confidence,
            rationale=rationale,
            normal=self.opened is None or set(range(1, size + 1)) <= self.opened,
            client=self.client,
            shown_at=self.shown_at,
            first_input_at=self.first_input_at,
            submitted_at=self.submitted_at,
            active_ms=self.active_ms,
            supersedes=self.supersedes,
        )

    def _judgment(self, rules: ProjectSettings, size: int) -> tuple[Positions, int | None, list[int] | None]:
        """Order, strength and scores, as the project's scheme has them."""
        if rules.scheme == "scores" and not (self.all_bad and not self.scores):
            scores = [self._score(position, rules) for position in range(1, size + 1)]
            return by_scores(scores), None, scores
        if self.all_bad:
            _refuse_unless(rules.all_bad, _("This project does not offer “all bad”."))
            return [list(range(1, size + 1))], 0 if rules.scheme == "strength" else None, None
        if self.ranks:
            _refuse_unless(rules.scheme == "ranking", _("This project does not ask for ranks."))
            return by_ranks(self.ranks, size, top=rules.top), None, None
        positions, strength = parse_judgment(self.order, size)
        if rules.scheme == "strength":
            return positions, strength, None
        _refuse_unless(
            strength < 2,
            _("order: %(given)r says how much better; this project doesn’t ask."),
            given=self.order,
        )
        if rules.scheme == "ranking":
            return cut(positions, rules.top), None, None
        return positions, None, None

    def _score(self, position: int, rules: ProjectSettings) -> int:
        score = self.scores.get(position)
        _refuse_unless(score is not None, _("score_%(number)s: is missing."), number=position)
        _refuse_unless(
            1 <= (score or 0) <= rules.score_steps,
            _("score_%(number)s: %(given)s is not from 1 to %(most)s."),
            number=position,
            given=score,
            most=rules.score_steps,
        )
        return score or 0

    def _criteria(self, rules: ProjectSettings, size: int) -> dict[str, Positions] | None:
        """For each criterion answered, the order by it; with more than two responses, the best of them."""
        found = {}
        for number, text in self.criteria.items():
            _refuse_unless(
                1 <= number <= len(rules.criteria),
                _("criterion_%(number)s: this project has no such criterion."),
                number=number,
            )
            if not text:
                continue
            name = rules.criteria[number - 1]
            if size > 2 and text.isdigit() and 1 <= int(text) <= size:
                found[name] = [[int(text)], [one for one in range(1, size + 1) if one != int(text)]]
            else:
                found[name] = parse_order(text, size)
        missing = [name for name in rules.criteria if name not in found]
        _refuse_unless(
            not (rules.criteria_required and missing),
            _("%(criteria)s: not answered yet."),
            criteria=", ".join(missing),
        )
        return found or None

    def _labels(self, rules: ProjectSettings, size: int) -> list[list[str]] | None:
        for position, names in self.labels.items():
            _refuse_unless(
                1 <= position <= size, _("label_%(number)s: there is no such response."), number=position
            )
            unknown = [name for name in names if name not in rules.labels]
            _refuse_unless(
                not unknown,
                _("label_%(number)s: %(given)s is no label of this project."),
                number=position,
                given=unknown,
            )
        if not rules.labels:
            return None
        return [list(self.labels.get(position, [])) for position in range(1, size + 1)]


def parse_order(text: str, size: int) -> Positions:
    """Read an order such as `2>1` or `1=2`; every position must be there once."""
    return parse_judgment(text, size)[0]


def parse_judgment(text: str, size: int) -> tuple[Positions, int]:
    """Read an order and how much better the first of two is: `1>>>2` is much better, `1=2` equal."""
    signs, groups = STEPS.findall(text), []
    try:
        places = [int(place) for place in STEPS.split(text)]
    except ValueError:
        places = []
    known = sorted(places) == list(range(1, size + 1))
    longest = max((len(sign) for sign in signs), default=0)
    if not known or longest > (3 if size == 2 else 1) or not text.isascii() or " " in text:
        words = _("order: %(given)r is no order of the responses 1 to %(size)s")
        raise JudgingError(words % {"given": text, "size": size})
    groups.append([places[0]])
    for sign, place in zip(signs, places[1:], strict=True):
        if sign == "=":
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups, 0 if signs[0] == "=" else longest


def by_ranks(ranks: Mapping[int, int], size: int, *, top: int = 0) -> Positions:
    """The order that numbers on responses give; equal numbers tie, and those without share the last place."""
    for position, rank in ranks.items():
        _refuse_unless(
            1 <= position <= size, _("rank_%(number)s: there is no such response."), number=position
        )
        _refuse_unless(
            1 <= rank <= size,
            _("rank_%(number)s: %(given)s is not from 1 to %(most)s."),
            number=position,
            given=rank,
            most=size,
        )
    rest = [position for position in range(1, size + 1) if position not in ranks]
    _refuse_unless(
        not rest or 0 < top <= len(ranks),
        _("rank_%(number)s: give every response a place."),
        number=rest[0] if rest else 1,
    )
    ranked = sorted(ranks, key=lambda position: (ranks[position], position))
    groups = [list(group) for _, group in groupby(ranked, key=lambda position: ranks[position])]
    return cut(groups + ([rest] if rest else []), top)


def by_scores(scores: Sequence[int]) -> Positions:
    """The order that scores give, the highest first; equal scores tie."""
    positions = sorted(range(1, len(scores) + 1), key=lambda position: (-scores[position - 1], position))
    return [list(group) for _, group in groupby(positions, key=lambda position: scores[position - 1])]


def cut(positions: Positions, top: int) -> Positions:
    """An order with only the best so many told apart: all below share the last place."""
    if not top:
        return positions
    kept: Positions = []
    for group in positions:
        if sum(map(len, kept)) >= top:
            break
        kept.append(group)
    rest = sorted(position for group in positions[len(kept) :] for position in group)
    return kept + ([rest] if rest else [])


def _ties(positions: Positions, rules: ProjectSettings) -> bool:
    """Whether responses tie that the rules don't leave untold."""
    told = positions[:-1] if rules.top and len(positions) > 1 else positions
    return rules.scheme != "scores" and any(len(group) > 1 for group in told)


def _refuse_unless(fine: bool, reason: str, **named: object) -> None:
    if not fine:
        raise JudgingError(reason % named)
