"""What people say about themselves, apart from what they judge; shown only as counts of ten people or more.

An answer is stored under a pseudonym that only the project's secret can make. Nothing here goes from an
answer to a person; the panel alone goes from its members to their answers, and keeps to `ENOUGH`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from django.db import transaction
from django.db.models import Count, Q, QuerySet
from django.utils import timezone

from annotate.models import (
    LABELING,
    AuditEvent,
    BackgroundAnswer,
    BackgroundQuestion,
    Judgment,
    Membership,
    Preference,
    Project,
    User,
)
from annotate.progress import wilson

ENOUGH = 10  # people in a cell and outside it, below which nothing is shown
UNSAID = "-"  # how "prefer not to say" stands in a posted form


def open_questions(project: Project) -> QuerySet[BackgroundQuestion]:
    """Those that are asked now, in order."""
    return BackgroundQuestion.objects.filter(project=project, retired_at=None)


def answers_of(project: Project, user: User) -> dict[int, list[str]]:
    """A person's own answers, for their own page: question to options."""
    rows = BackgroundAnswer.objects.filter(question__project=project, person=_person(project, user.pk))
    return dict(rows.values_list("question", "options"))


@transaction.atomic
def answer(project: Project, user: User, options: Mapping[BackgroundQuestion, Sequence[str]]) -> None:
    """Store a person's answers, with their consent, in place of earlier ones."""
    now = timezone.now()
    for question, chosen in options.items():
        BackgroundAnswer.objects.update_or_create(
            question=question,
            person=_person(project, user.pk),
            defaults={"options": list(chosen), "consented_at": now},
        )


def forget(project: Project, user: User) -> int:
    """Delete a person's answers; they take their consent back."""
    rows = BackgroundAnswer.objects.filter(question__project=project, person=_person(project, user.pk))
    return rows.delete()[0]


def _person(project: Project, user_id: int) -> str:
    return project.keyed("background", user_id)


# Questions


@transaction.atomic
def save_question(question: BackgroundQuestion, by: User) -> None:
    """Store a question, at the end where it is new."""
    if question._state.adding:
        question.position = BackgroundQuestion.objects.filter(project=question.project).count()
    question.save()
    AuditEvent.record("question-saved", by, question.project, question=question.name)


def retire(question: BackgroundQuestion, by: User, *, back: bool = False) -> None:
    """Ask a question no more, or again; its answers stay."""
    question.retired_at = None if back else timezone.now()
    question.save(update_fields=["retired_at"])
    AuditEvent.record(
        "question-asked" if back else "question-retired", by, question.project, question=question.name
    )


# The panel


@dataclass(frozen=True, slots=True)
class Cell:
    """One option: how many chose it, beside what the project says of its users."""

    option: str
    people: int | None  # None: fewer than `ENOUGH` inside or outside, or told by the rest
    share: float | None
    low: float | None
    high: float | None
    declared: float | None
    measures: tuple[Measure, ...] = ()

    @property
    def apart(self) -> bool:
        """Whether the declared share lies outside the interval of the panel's."""
        if self.declared is None or self.low is None or self.high is None:
            return False
        return self.declared < self.low or self.declared > self.high


@dataclass(frozen=True, slots=True)
class Measure:
    """How a group judges: the mean over its people, and its 95 % interval over them."""

    name: str
    people: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Answered:
    """One question's cells, and of how many people they are."""

    question: BackgroundQuestion
    said: int | None  # people who answered with an option; None where too few
    cells: tuple[Cell, ...]

    @property
    def hidden(self) -> int:
        """Cells that are kept back."""
        return sum(cell.people is None for cell in self.cells)


def panel(project: Project) -> list[Answered]:
    """The people who label, beside the declared users; robots are nobody."""
    members = Membership.objects.filter(project=project, role__in=LABELING, user__simulated=False)
    user_of = {_person(project, user): user for user in members.values_list("user", flat=True)}
    behaviour = _behaviour(project, user_of.values())
    chosen: dict[int, dict[int, list[str]]] = defaultdict(dict)  # question: user: options
    rows = BackgroundAnswer.objects.filter(question__project=project)
    for question, person, options in rows.values_list("question", "person", "options"):
        if person in user_of:
            chosen[question][user_of[person]] = options
    questions = BackgroundQuestion.objects.filter(project=project)
    return [_answered(question, chosen[question.pk], behaviour) for question in questions]


def _answered(
    question: BackgroundQuestion,
    chosen: Mapping[int, Sequence[str]],
    behaviour: Mapping[int, Mapping[str, float]],
) -> Answered:
    groups: dict[str, set[int]] = {option: set() for option in question.options}
    unsaid = set()
    for user, options in chosen.items():
        for option in options:
            groups.setdefault(option, set()).add(user)
        if not options:
            unsaid.add(user)
    said = len(chosen) - len(unsaid)
    counts = {option: len(people) for option, people in groups.items()}
    shown = visible(counts, said, several=question.several)
    everybody = set().union(*groups.values())
    cells = tuple(
        _cell(
            option,
            len(people) if option in shown else None,
            said,
            question.declared.get(option),
            _measures(people, everybody - people, behaviour) if option in shown else (),
        )
        for option, people in groups.items()
    )
    return Answered(question, said if said >= ENOUGH and shown else None, cells)


def visible(counts: Mapping[str, int], said: int, *, several: bool) -> set[str]:
    """The options whose counts may be shown.

    A cell needs ten people, and ten who are not in it. Where each person is in one cell alone, what is
    kept back must not follow from the sum of the rest: it is at least two cells of ten people together.
    """
    shown = {option for option, count in counts.items() if count >= ENOUGH and said - count >= ENOUGH}
    if several:
        return shown
    hidden = [option for option in counts if option not in shown]
    while shown and hidden and (len(hidden) < 2 or sum(counts[one] for one in hidden) < ENOUGH):
        least = min(shown, key=lambda option: counts[option])
        shown.remove(least)
        hidden.append(least)
    return shown


def _cell(
    option: str, people: int | None, said: int, declared: float | None, measures: tuple[Measure, ...]
) -> Cell:
    if people is None:
        return Cell(option, None, None, None, None, declared)
    low, high = wilson(people, said)
    return Cell(option, people, people / said, low, high, declared, measures)


MEASURES = (("tie", "Ties"), ("bad", "All bad"))


def _measures(
    group: set[int], others: set[int], behaviour: Mapping[int, Mapping[str, float]]
) -> tuple[Measure, ...]:
    """How a group judges, for what at least ten people of it and ten others have judged."""
    found = []
    for key, name in MEASURES:
        values = [behaviour[user][key] for user in group if key in behaviour.get(user, {})]
        if len(values) < ENOUGH or sum(key in behaviour.get(user, {}) for user in others) < ENOUGH:
            continue
        middle, half = mean(values), 1.96 * stdev(values) / sqrt(len(values))
        found.append(Measure(name, len(values), middle, max(0.0, middle - half), min(1.0, middle + half)))
    return tuple(found)


def _behaviour(project: Project, users: Iterable[int]) -> dict[int, dict[str, float]]:
    """For each person, the shares of what they do, from sums that the database makes."""
    known = set(users)
    counted = Judgment.objects.standing().filter(counted=True, assignment__comparison__project=project)
    rows = counted.order_by().values("assignment__rater")
    totals = {
        row["assignment__rater"]: row
        for row in rows.annotate(all=Count("pk"), bad=Count("pk", filter=Q(all_bad=True)))
    }
    pairs = Preference.objects.filter(judgment__in=counted).order_by().values("judgment__assignment__rater")
    tied = Counter(
        {
            row["judgment__assignment__rater"]: row["ties"]
            for row in pairs.filter(tie=True, judgment__all_bad=False).annotate(
                ties=Count("judgment", distinct=True)
            )
        }
    )
    found: dict[int, dict[str, float]] = {}
    for user in known & totals.keys():
        row = totals[user]
        found[user] = {"bad": row["bad"] / row["all"], "tie": tied[user] / row["all"]}
    return found
