"""Who sees which comparison: places, leases, the order of sides.

A comparison has as many places as it wants judgments. A place is taken by one conditional UPDATE,
so fifty raters at once can't take more than there are; it comes back when its lease runs out.
"""

import secrets
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Prefetch, QuerySet
from django.utils import timezone

from annotate.models import Assignment, AssignmentState, ComparedResponse, Comparison, Project, Response, User
from annotate.retries import retried

BREAK = timedelta(minutes=10)  # a longer pause begins a new sitting


@retried
def next_for(rater: User, project: Project) -> Assignment | None:
    """The rater's open assignment, else a fresh one, else None: nothing is left for them now."""
    with transaction.atomic():
        assignment = _open(rater, project) or _lease(rater, project)
        if assignment is None and expire_leases(project):
            assignment = _lease(rater, project)
        return assignment


def open_assignments(rater: User, project: Project) -> QuerySet[Assignment]:
    """Those leased to the rater, the latest lease first."""
    mine = Assignment.objects.filter(
        rater=rater, comparison__project=project, comparison__closed_at=None, state=AssignmentState.OPEN
    )
    return mine.select_related("comparison__prompt", "guideline").order_by("-leased_at")


def expire_leases(project: Project) -> int:
    """Free the places whose leases have run out; returns how many assignments expired."""
    overdue = Assignment.objects.filter(
        comparison__project=project, state=AssignmentState.OPEN, leased_until__lte=timezone.now()
    )
    return sum(
        release(assignment, AssignmentState.EXPIRED) for assignment in overdue.order_by("comparison_id")
    )


@retried
def release(assignment: Assignment, state: AssignmentState, *, reason: str = "") -> bool:
    """Close an open assignment without a judgment and give its place back; False if it was closed already."""
    with transaction.atomic():
        closed = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.OPEN).update(
            state=state, holds_place=False, closed_at=timezone.now(), skip_reason=reason
        )
        if closed and assignment.holds_place:
            Comparison.objects.filter(pk=assignment.comparison_id).update(places_left=F("places_left") + 1)
    return closed == 1


def take_place(comparison_id: int) -> bool:
    """Take one place of a comparison; False where none is left."""
    free = Comparison.objects.filter(pk=comparison_id, places_left__gt=0)
    return free.update(places_left=F("places_left") - 1) == 1


def shown_responses(assignment: Assignment) -> list[Response]:
    """The responses in the order in which this rater sees them."""
    found = Response.objects.in_bulk(assignment.shown)
    return [found[pk] for pk in assignment.shown]


def _open(rater: User, project: Project) -> Assignment | None:
    """The assignment the rater has, its lease renewed: a reload or a second tab gets the same one."""
    assignment = open_assignments(rater, project).first()
    if assignment is None:
        return None
    now = timezone.now()
    assignment.leased_until = now + timedelta(minutes=project.rules.lease_minutes)
    renewed = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.OPEN)
    return assignment if renewed.update(leased_until=assignment.leased_until) else None


def _lease(rater: User, project: Project) -> Assignment | None:
    """Lease the first comparison in the queue that has a place and that this rater has not met."""
    candidates = _candidates(rater, project)
    while (comparison := _first(candidates)) or candidates.exists():
        if comparison and take_place(comparison.pk):
            return _assign(rater, project, comparison)
    return None


def _candidates(rater: User, project: Project) -> QuerySet[Comparison]:
    met = Assignment.objects.filter(comparison=OuterRef("pk"), rater=rater).exclude(
        state=AssignmentState.EXPIRED
    )
    return Comparison.objects.filter(~Exists(met), project=project, places_left__gt=0, closed_at=None)


def _first(candidates: QuerySet[Comparison]) -> Comparison | None:
    """The first in the queue that no other rater is taking at this moment; if all are being taken, wait."""
    in_order = Prefetch("comparedresponse_set", ComparedResponse.objects.order_by("position"))
    rows = candidates.order_by("place").select_related("prompt").prefetch_related(in_order)
    return (
        rows.select_for_update(skip_locked=True, of=("self",)).first()
        or rows.select_for_update(of=("self",)).first()
    )


def _assign(rater: User, project: Project, comparison: Comparison) -> Assignment:
    """Write the lease; an expired one of the same rater comes back as it was shown."""
    now = timezone.now()
    last = Assignment.objects.filter(rater=rater, comparison__project=project).order_by("-leased_at").first()
    rested = last is None or now - (last.closed_at or last.leased_at) > BREAK
    shown = [compared.response_id for compared in comparison.comparedresponse_set.all()]
    secrets.SystemRandom().shuffle(shown)
    lease = {
        "state": AssignmentState.OPEN,
        "holds_place": True,
        "leased_at": now,
        "leased_until": now + timedelta(minutes=project.rules.lease_minutes),
        "closed_at": None,
        "guideline": project.guideline,
        "since_break": 0 if last is None or rested else last.since_break + 1,
    }
    mine = Assignment.objects.filter(comparison=comparison, rater=rater)
    if mine.filter(state=AssignmentState.EXPIRED).update(**lease):
        return mine.select_related("comparison__prompt", "guideline").get()
    return Assignment.objects.create(comparison=comparison, rater=rater, shown=shown, **lease)
