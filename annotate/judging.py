"""Judging a comparison, taking it back, skipping it: each one transaction, safe to repeat."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate import assignment as leases
from annotate import prepared
from annotate.answers import Answer, JudgingError, Posted
from annotate.models import (
    LABELING,
    Assignment,
    AssignmentState,
    Guideline,
    Judgment,
    Preference,
    Rule,
    User,
)
from annotate.prepared import Prepared
from annotate.retries import retried

Order = list[list[int]]  # response ids, best first; equals share a list
HANDS = 3  # comparisons that a browser may have in hand
SHOWN_LAST = 10  # judgments that a rater may still change


class AlreadyJudgedError(JudgingError):
    """Another answer stands on this comparison."""


class NoSuchAssignmentError(LookupError):
    """The rater has no assignment of this key, or may not rate there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an answer, and what the rater does next."""

    assignment: Assignment
    judgment: Judgment
    new: bool
    following: Assignment | None = None
    paused: bool = False


@retried
def judge_posted(rater: User, key: UUID, posted: Posted, *, held: Collection[UUID] = ()) -> Outcome:
    """Store the rater's answer and lease the next comparison beside those held: one transaction.

    At most ten statements with the two that sign the rater in, for this is what raters wait for.
    """
    with transaction.atomic():
        in_hand = [*held, *[key] * HANDS][:HANDS]
        named = {f"held_{place}": one for place, one in enumerate(in_hand)}
        assignment: Any = _whole.first(key=key, rater_id=rater.pk, **named)  # with what it annotates
        if assignment is None:
            raise NoSuchAssignmentError
        rules = assignment.comparison.project.rules
        judgment, new = _judge(assignment, posted.read(rules, len(assignment.shown)))
        paused = assignment.paused_at is not None or assignment.qualified_at is None
        alone = paused or assignment.rule == Rule.ADJUDICATION
        following = None if alone else _following(assignment)
        return Outcome(assignment, judgment, new, following, paused)


@retried
def judge(assignment: Assignment, answer: Answer) -> tuple[Judgment, bool]:
    """Store the answer and what it implies; returns the judgment, and whether it is new."""
    with transaction.atomic():
        return _judge(_locked(_with_parts().filter(pk=assignment.pk)), answer)


@retried
def withdraw(assignment: Assignment) -> bool:
    """Take the standing judgment back and open the assignment again; False if there is none to take back."""
    with transaction.atomic():
        assignment = _locked(_with_parts().filter(pk=assignment.pk))
        standing = assignment.judgment
        if assignment.state != AssignmentState.JUDGED or standing is None:
            return False
        Judgment.objects.create(
            assignment=assignment,
            client_key=uuid4(),
            order=standing.order,
            all_bad=standing.all_bad,
            top=standing.top,
            strength=standing.strength,
            criteria=standing.criteria,
            scores=standing.scores,
            labels=standing.labels,
            confidence=standing.confidence,
            rationale=standing.rationale,
            withdrawn=True,
            counted=False,
            simulated=standing.simulated,
            guideline_id=assignment.guideline_id,
            supersedes=standing,
        )
        standing.preferences.all().delete()
        now = timezone.now()
        assignment.leased_at = now  # later than it was offered: so it is seen that it was taken back
        assignment.leased_until = now + timedelta(minutes=assignment.comparison.project.rules.lease_minutes)
        _save(assignment, AssignmentState.OPEN, holds_place=assignment.holds_place, closed_at=None)
        return True


def skip(assignment: Assignment, reason: str) -> bool:
    """Give the comparison back for good: it never returns to this rater."""
    return leases.release(assignment, AssignmentState.SKIPPED, reason=reason)


def changeable(rater: User, project: Any) -> QuerySet[Judgment]:
    """The rater's last ten judgments that stand and may still be changed, the latest first."""
    mine = Judgment.objects.standing().filter(
        assignment__rater=rater,
        assignment__comparison__project=project,
        assignment__comparison__closed_at=None,
        assignment__rule__in=[Rule.QUEUE, Rule.GOLD, Rule.REPEAT],
    )
    return mine.select_related("assignment__comparison__prompt").order_by("-pk")[:SHOWN_LAST]


def is_right(order: Order, gold: Order) -> bool:
    """Whether a judgment puts the same responses first as the known answer."""
    return bool(gold) and set(order[0]) == set(gold[0])


def _judge(assignment: Assignment, answer: Answer) -> tuple[Judgment, bool]:
    """The same client key again gives the stored judgment. A lease that ran out does not refuse the answer:
    it counts where the place is still free, and is kept uncounted where another rater has it.
    """  # noqa: D205
    standing = _standing(assignment)
    if standing is not None:
        stored = assignment.judgments.filter(client_key=answer.client_key).first()
        if stored is not None:
            return stored, False
    _refuse_unless_open(assignment, standing, answer)
    late = assignment.state == AssignmentState.EXPIRED or assignment.lapsed
    needs_place = assignment.rule == Rule.QUEUE
    holds_place = assignment.holds_place or (needs_place and leases.take_place(assignment.comparison_id))
    all_of_them = range(1, len(assignment.shown) + 1)
    judgment = Judgment(
        assignment=assignment,
        client_key=answer.client_key,
        order=_by_response(assignment, [all_of_them] if answer.all_bad else answer.positions),
        all_bad=answer.all_bad,
        top=answer.top,
        strength=answer.strength,
        criteria={name: _by_response(assignment, order) for name, order in answer.criteria.items()}
        if answer.criteria
        else None,
        scores=answer.scores,
        labels=answer.labels,
        confidence=answer.confidence,
        rationale=answer.rationale,
        late=late,
        counted=holds_place or not needs_place,
        normal=answer.normal,
        simulated=assignment.rater.simulated,
        guideline_id=assignment.guideline_id,
        shown_at=answer.shown_at,
        first_input_at=answer.first_input_at,
        submitted_at=answer.submitted_at,
        active_ms=answer.active_ms,
        client=answer.client,
        supersedes=standing,
    )
    prepared.insert(judgment)
    if standing is not None:
        standing.preferences.all().delete()
    if judgment.counted:
        found = preferences(judgment, assignment.shown)
        if len(found) == 1:
            prepared.insert(found[0])
        else:
            Preference.objects.bulk_create(found)
    _save(assignment, AssignmentState.JUDGED, holds_place=holds_place, closed_at=judgment.received_at)
    return judgment, True


def _with_parts() -> QuerySet[Assignment]:
    """Assignments with what judging looks at, as one statement."""
    return Assignment.objects.select_related("rater", "comparison__project")


def _with_what_follows(*, key: UUID, rater_id: int, **held: UUID) -> QuerySet[Assignment]:
    """The rater's assignment, locked, with all that judging it and leasing the next one need."""
    mine = leases.of_rater(rater_id, OuterRef("comparison__project"))
    open_ones = mine.filter(state=AssignmentState.OPEN, comparison__closed_at=None).order_by(
        "offered_at", "pk"
    )
    beside = open_ones.exclude(key__in=[key, *held.values()]).exclude(rule=Rule.ADJUDICATION)
    latest = mine.exclude(state=AssignmentState.EXPIRED).order_by("-leased_at")
    guideline = Guideline.objects.filter(project=OuterRef("comparison__project")).order_by("-version")
    return (
        _with_parts()
        .select_related("guideline")
        .filter(
            key=key,
            rater=rater_id,
            rater__memberships__project=F("comparison__project"),
            rater__memberships__role__in=LABELING,
        )
        .annotate(
            paused_at=F("rater__memberships__paused_at"),
            qualified_at=F("rater__memberships__qualified_at"),
            tags=F("rater__memberships__tags"),
            role=F("rater__memberships__role"),
            open_id=Subquery(beside.values("pk")[:1]),
            latest_since_break=Subquery(latest.values("since_break")[:1]),
            guideline_now=Subquery(guideline.values("pk")[:1]),
        )
        .select_for_update(of=("self",))
    )


_whole = Prepared(_with_what_follows)


def _locked(rows: QuerySet[Assignment]) -> Assignment:
    """The assignment as it is now; nobody else changes it until this transaction ends."""
    assignment = rows.select_for_update(of=("self",)).first()
    if assignment is None:
        raise NoSuchAssignmentError
    return assignment


def _standing(assignment: Assignment) -> Judgment | None:
    """The judgment that stands; not asked of the database where there can be none yet."""
    return None if assignment.fresh else assignment.judgment


def _following(judged: Any) -> Assignment | None:
    """The comparison that the rater has open beside those in hand, else a fresh lease."""
    if judged.open_id is not None:
        rows = Assignment.objects.select_related("comparison__prompt", "comparison__project", "guideline")
        return rows.get(pk=judged.open_id)
    project = judged.comparison.project
    same = judged.guideline_id == judged.guideline_now
    desk = leases.Desk(
        rater_id=judged.rater_id,
        project=project,
        guideline=judged.guideline if same else project.guideline,
        tags=judged.tags,
        since_break=(judged.latest_since_break or 0) + 1,
        sitting_at=judged.sitting_at,
    )
    found = leases.lease(desk)
    if found is None and leases.expire_leases(project):
        found = leases.lease(desk)
    return found


def _refuse_unless_open(assignment: Assignment, standing: Judgment | None, answer: Answer) -> None:
    if assignment.comparison.project.archived_at is not None:
        raise AlreadyJudgedError(_("This project is archived; it takes no more answers."))
    if assignment.state == AssignmentState.SKIPPED:
        raise AlreadyJudgedError(_("You skipped this comparison, so it went to somebody else."))
    corrects = standing is not None and standing.client_key == answer.supersedes
    if assignment.state == AssignmentState.JUDGED and not corrects:
        raise AlreadyJudgedError(_("You have judged this comparison already; your first answer is kept."))
    if corrects and assignment.comparison.closed_at is not None:
        raise AlreadyJudgedError(_("This round is closed; your answer stays as it is."))


def _by_response(assignment: Assignment, positions: Sequence[Sequence[int]]) -> Order:
    """Map positions to responses by the order in which they were shown."""
    return [[assignment.shown[position - 1] for position in group] for group in positions]


def preferences(judgment: Judgment, shown: Sequence[int]) -> list[Preference]:
    """Every pair that the order implies; of a tie, the one shown first is written first.

    Where only the best few were put in order, nothing is said of those below among themselves.
    """
    untold = set(judgment.order[-1]) if judgment.top and len(judgment.order) > 1 else set()
    rank = {response: place for place, group in enumerate(judgment.order) for response in group}
    weight = 1 / (len(shown) - 1)
    found = []
    for first, second in combinations(shown, 2):
        if {first, second} <= untold:
            continue
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
    prepared.update(assignment, "state", "holds_place", "closed_at", "leased_at", "leased_until")
