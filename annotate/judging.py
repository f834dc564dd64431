"""Judging a comparison, taking it back, skipping it: each one transaction, safe to repeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from uuid import UUID, uuid4

from django.db import transaction
from django.utils import timezone

from annotate import assignment as leases
from annotate.models import Assignment, AssignmentState, Judgment, Preference
from annotate.retries import retried

Order = list[list[int]]  # response ids, best first; equals share a list


class JudgingError(Exception):
    """An answer that can't be taken; the message says why, to the rater."""


class AlreadyJudgedError(JudgingError):
    """Another answer stands on this comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a rater posted: positions as shown, never response ids."""

    client_key: UUID
    positions: Sequence[Sequence[int]]  # 1 is the response shown first; best first, equals share a list
    all_bad: bool = False
    shown_at: datetime | None = None
    first_input_at: datetime | None = None
    submitted_at: datetime | None = None
    active_ms: int | None = None
    supersedes: int | None = None  # the judgment that this one corrects


def parse_order(text: str, size: int) -> list[list[int]]:
    """Read an order such as `2>1` or `1=2`; every position must be there once."""
    try:
        groups = [[int(position) for position in group.split("=")] for group in text.split(">")]
    except ValueError:
        groups = []
    if sorted(position for group in groups for position in group) != list(range(1, size + 1)):
        raise JudgingError(f"{text!r} is no order of the responses 1 to {size}")
    return groups


@retried
def judge(assignment: Assignment, answer: Answer) -> tuple[Judgment, bool]:
    """Store the answer and what it implies; returns the judgment, and whether it is new.

    The same client key again gives the stored judgment. A lease that ran out does not refuse the answer:
    it counts where the place is still free, and is kept uncounted where another rater has it.
    """
    with transaction.atomic():
        assignment = _locked(assignment)
        stored = assignment.judgments.filter(client_key=answer.client_key).first()
        if stored is not None:
            return stored, False
        standing = assignment.judgment
        _refuse_unless_open(assignment, standing, answer)
        late = assignment.state == AssignmentState.EXPIRED or assignment.lapsed
        holds_place = assignment.holds_place or leases.take_place(assignment.comparison_id)
        judgment = Judgment.objects.create(
            assignment=assignment,
            client_key=answer.client_key,
            order=_by_response(assignment, answer),
            all_bad=answer.all_bad,
            late=late,
            counted=holds_place,
            simulated=assignment.rater.simulated,
            guideline_id=assignment.guideline_id,
            shown_at=answer.shown_at,
            first_input_at=answer.first_input_at,
            submitted_at=answer.submitted_at,
            active_ms=answer.active_ms,
            supersedes=standing,
        )
        if standing is not None:
            standing.preferences.all().delete()
        if judgment.counted:
            Preference.objects.bulk_create(_preferences(judgment, assignment.shown))
        _save(assignment, AssignmentState.JUDGED, holds_place=holds_place, closed_at=timezone.now())
        return judgment, True


@retried
def withdraw(assignment: Assignment) -> bool:
    """Take the standing judgment back and open the assignment again; False if there is none to take back."""
    with transaction.atomic():
        assignment = _locked(assignment)
        standing = assignment.judgment
        if assignment.state != AssignmentState.JUDGED or standing is None:
            return False
        Judgment.objects.create(
            assignment=assignment,
            client_key=uuid4(),
            order=standing.order,
            all_bad=standing.all_bad,
            withdrawn=True,
            counted=False,
            simulated=standing.simulated,
            guideline_id=assignment.guideline_id,
            supersedes=standing,
        )
        standing.preferences.all().delete()
        now = timezone.now()
        assignment.leased_at = now
        assignment.leased_until = now + timedelta(minutes=assignment.comparison.project.rules.lease_minutes)
        _save(assignment, AssignmentState.OPEN, holds_place=assignment.holds_place, closed_at=None)
        return True


def skip(assignment: Assignment, reason: str) -> bool:
    """Give the comparison back for good: it never returns to this rater."""
    return leases.release(assignment, AssignmentState.SKIPPED, reason=reason)


def _locked(assignment: Assignment) -> Assignment:
    """The assignment as it is now; nobody else changes it until this transaction ends."""
    rows = Assignment.objects.select_related("rater", "comparison__project")
    return rows.select_for_update(of=("self",)).get(pk=assignment.pk)


def _refuse_unless_open(assignment: Assignment, standing: Judgment | None, answer: Answer) -> None:
    if assignment.state == AssignmentState.SKIPPED:
        raise AlreadyJudgedError("You skipped this comparison, so it went to somebody else.")
    if assignment.state == AssignmentState.JUDGED and (standing is None or standing.pk != answer.supersedes):
        raise AlreadyJudgedError("You have judged this comparison already; your first answer is kept.")


def _by_response(assignment: Assignment, answer: Answer) -> Order:
    """Map positions to responses by the order in which they were shown."""
    positions = [range(1, len(assignment.shown) + 1)] if answer.all_bad else answer.positions
    return [[assignment.shown[position - 1] for position in group] for group in positions]


def _preferences(judgment: Judgment, shown: Sequence[int]) -> list[Preference]:
    """Every pair that the order implies; of a tie, the one shown first is written first."""
    rank = {response: place for place, group in enumerate(judgment.order) for response in group}
    weight = 1 / (len(shown) - 1)
    found = []
    for first, second in combinations(shown, 2):
        chosen, rejected = (first, second) if rank[first] <= rank[second] else (second, first)
        tie = rank[first] == rank[second]
        found.append(
            Preference(judgment=judgment, chosen_id=chosen, rejected_id=rejected, tie=tie, weight=weight)
        )
    return found


def _save(
    assignment: Assignment, state: AssignmentState, *, holds_place: bool, closed_at: datetime | None
) -> None:
    assignment.state, assignment.holds_place, assignment.closed_at = state, holds_place, closed_at
    assignment.save(update_fields=["state", "holds_place", "closed_at", "leased_at", "leased_until"])
