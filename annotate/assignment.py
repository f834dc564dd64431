"""Who sees which comparison: places, leases, the order of sides.

A comparison has as many places as it wants judgments. A place is taken by one conditional UPDATE,
so fifty raters at once can't take more than there are; it comes back when its lease runs out.
Known answers and swapped repeats take no place: they are mixed in by chance, in place of the queue's next.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from django.core.cache import cache
from django.db import transaction
from django.db.models import BooleanField, Count, F, Func, Model, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate import prepared
from annotate.demonstrations import own_words
from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Guideline,
    Membership,
    Project,
    Purpose,
    Response,
    Rule,
    User,
)
from annotate.prepared import Prepared
from annotate.retries import retried

Row = TypeVar("Row", bound=Model)
BREAK = timedelta(minutes=10)  # a longer pause begins a new sitting
TAKE_PLACE = "UPDATE annotate_comparison SET places_left = places_left - 1 WHERE id = %s AND places_left > 0"
ROUTES_FRESH = 10  # seconds for which the routes of a project may be old
_chance = secrets.SystemRandom()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What is known of a rater when something is leased to them."""

    rater_id: int
    project: Project
    guideline: Guideline | None
    tags: Collection[str] = ()
    since_break: int = 0
    sitting_at: datetime | None = None
    now: datetime = field(default_factory=timezone.now)

    @property
    def lease(self) -> dict[str, Any]:
        """What every fresh lease has."""
        return {
            "state": AssignmentState.OPEN,
            "leased_at": self.now,
            "leased_until": self.now + timedelta(minutes=self.project.rules.lease_minutes),
            "closed_at": None,
            "guideline": self.guideline,
            "since_break": self.since_break,
            "sitting_at": self.sitting_at or self.now,
        }


@retried
def next_for(rater: User, project: Project, *, held: Collection[UUID] = ()) -> Assignment | None:
    """The rater's open assignment, else a fresh one, else None: nothing is left for them now.

    Those held are in the rater's hands already, so another one is meant.
    """
    with transaction.atomic():
        assignment = _open(rater, project, held)
        if assignment is None:
            desk = _desk(rater, project)
            assignment = lease(desk)
            if assignment is None and expire_leases(project):
                assignment = lease(desk)
        return assignment


def lease(desk: Desk) -> Assignment | None:
    """Lease the first comparison in the queue that has a place and that this rater has not met.

    While the queue holds one, chance may put a known answer or a swapped repeat in its place.
    """
    while (comparison := _first(desk)) is not None:
        if known_answer := getattr(comparison, "known_answer", None):
            return _assign_known_answer(desk, known_answer)
        if repeated := getattr(comparison, "repeated", None):
            return _assign_repeat(desk, repeated)
        if take_place(comparison.pk):
            return _assign(desk, comparison)
    return None


def lease_known(rater: User, comparison: Comparison, rule: Rule) -> Assignment:
    """Lease a comparison outside the queue: an example, a question that qualifies, a disagreement."""
    return _write(_desk(rater, comparison.project), comparison, rule, 1)


def open_assignments(rater: User, project: Project) -> QuerySet[Assignment]:
    """Those leased to the rater, the one to be judged first: one taken back comes before what was in hand."""
    mine = Assignment.objects.filter(
        rater=rater, comparison__project=project, comparison__closed_at=None, state=AssignmentState.OPEN
    )
    working = mine.exclude(rule=Rule.ADJUDICATION)
    return working.select_related("comparison__prompt", "guideline").order_by("offered_at", "pk")


def of_rater(rater_id: int, project: int | OuterRef) -> QuerySet[Assignment]:
    """A rater's assignments in a project, the project of each looked up by its comparison.

    Not by a join: a database that takes a project for small then goes through all of it each time.
    """
    its_project = Comparison.objects.filter(pk=OuterRef("comparison")).values("project")
    return Assignment.objects.alias(of_project=Subquery(its_project)).filter(
        rater=rater_id, of_project=project
    )


def renew(rater: User, project: Project) -> int:
    """Let all that the rater has open run from now; returns how many that are."""
    now = timezone.now()
    mine = Assignment.objects.filter(rater=rater, comparison__project=project, state=AssignmentState.OPEN)
    return mine.update(leased_until=now + timedelta(minutes=project.rules.lease_minutes))


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
    return prepared.execute(TAKE_PLACE, comparison_id) == 1


def shown_responses(assignment: Assignment) -> list[Response]:
    """The responses in the order in which this rater sees them."""
    named = {f"response_{place}": pk for place, pk in enumerate(assignment.shown)}
    found = {response.pk: response for response in _responses.rows(**named)}
    return [found[pk] for pk in assignment.shown]


def _open(rater: User, project: Project, held: Collection[UUID]) -> Assignment | None:
    """The assignment the rater has, its lease renewed: a reload or a second tab gets the same one."""
    assignment = open_assignments(rater, project).exclude(key__in=held).first()
    if assignment is None:
        return None
    now = timezone.now()
    assignment.leased_until = now + timedelta(minutes=project.rules.lease_minutes)
    renewed = Assignment.objects.filter(pk=assignment.pk, state=AssignmentState.OPEN)
    return assignment if renewed.update(leased_until=assignment.leased_until) else None


def _desk(rater: User, project: Project) -> Desk:
    """Look everything up."""
    now = timezone.now()
    mine = Assignment.objects.filter(rater=rater, comparison__project=project)
    last = mine.exclude(state=AssignmentState.EXPIRED).order_by("-leased_at").first()
    rested = last is None or now - (last.closed_at or last.leased_at) > BREAK
    routed = project.rules.routes
    membership = Membership.objects.filter(user=rater, project=project).first() if routed else None
    return Desk(
        rater_id=rater.pk,
        project=project,
        guideline=project.guideline,
        tags=membership.tags if membership else (),
        since_break=0 if last is None or rested else last.since_break + 1,
        sitting_at=None if last is None or rested else last.sitting_at,
        now=now,
    )


def _candidates(project_id: int, rater_id: int) -> QuerySet[Comparison]:
    """What the queue may give this rater."""
    rows = Comparison.objects.filter(project=project_id, places_left__gt=0, closed_at=None)
    return _lacking(rows, _met(rater_id), _own_words(rater_id))


def _lacking(rows: QuerySet[Row], *others: QuerySet[Any]) -> QuerySet[Row]:
    """The rows to which none of the others belong."""
    return rows.filter(*(_Missing(found) for found in others))


class _Missing(Func):
    """Whether there is no such row, asked row by row.

    Not by EXISTS: PostgreSQL makes a join of it and may go through a whole queue for its first row. Nor by
    IS NULL, of which it thinks that hardly a row fits.
    """

    template = "(%(expressions)s IS NOT TRUE)"
    output_field = BooleanField()

    def __init__(self, rows: QuerySet[Any]) -> None:
        super().__init__(Subquery(rows.order_by().values(there=Value(value=True))[:1]))


def _within_limits(desk: Desk, candidates: QuerySet[Comparison]) -> QuerySet[Comparison]:
    """Of these, what the rater's tags and the project's limits leave."""
    rules = desk.project.rules
    judged = Assignment.objects.filter(rater=desk.rater_id, comparison__project=desk.project, state="judged")
    if rules.routes:
        candidates = candidates.filter(route__in=_open_routes(desk.project, desk.tags))
    if rules.hourly_limit:
        recent = judged.filter(closed_at__gt=desk.now - timedelta(hours=1))
        candidates = candidates.alias(recent=_count(recent)).filter(recent__lt=rules.hourly_limit)
    if rules.round_limit:
        of_batch = judged.filter(comparison__batch=OuterRef("batch"), rule=Rule.QUEUE)
        candidates = candidates.alias(of_batch=_count(of_batch)).filter(of_batch__lt=rules.round_limit)
    return candidates


def _met(rater_id: int) -> QuerySet[Assignment]:
    """What the rater has seen of a comparison; an expired lease leaves it as unseen."""
    mine = Assignment.objects.filter(comparison=OuterRef("pk"), rater=rater_id)
    return mine.exclude(state=AssignmentState.EXPIRED)


def _own_words(rater_id: int) -> QuerySet[Response]:
    """Responses of a comparison that the rater wrote."""
    return own_words(rater_id).filter(comparisons=OuterRef("pk"))


def _count(rows: QuerySet[Any]) -> Coalesce:
    """So many rows, as an expression."""
    return Coalesce(
        Subquery(rows.order_by().annotate(one=Value(1)).values("one").annotate(n=Count("pk")).values("n")), 0
    )


def _open_routes(project: Project, tags: Collection[str]) -> list[str]:
    """The routes of the project's comparisons that a rater with these tags may take."""

    def distinct() -> list[str]:
        rows = Comparison.objects.filter(project=project, closed_at=None, places_left__gt=0)
        return list(rows.order_by().values_list("route", flat=True).distinct())

    routes = cache.get_or_set(f"routes-{project.pk}", distinct, ROUTES_FRESH) or []
    return [route for route in routes if set(route.splitlines()) <= set(tags)]


def _first(desk: Desk) -> Comparison | None:
    """The first in the queue that no other rater is taking at this moment; if all are being taken, wait."""
    rules, (instead, back) = desk.project.rules, _instead(desk)
    about: dict[str, Any] = {"project_id": desk.project.pk, "rater_id": desk.rater_id, **back}
    if not (rules.routes or rules.hourly_limit or rules.round_limit):
        return _head.first(True, instead, **about) or _head.first(False, instead, **about)
    for skip_locked in (True, False):
        rows = _within_limits(desk, _head_of_the_queue(skip_locked, instead, **about))
        if (found := rows.first()) is not None:
            return found
    return None


def _instead(desk: Desk) -> tuple[str, dict[str, int]]:
    """What chance puts before the queue's next: a known answer, a repeat from so far back, or nothing."""
    rules, draw = desk.project.rules, _chance.random()
    if draw < rules.gold_share:
        return "known answer", {}
    if draw < rules.gold_share + rules.repeat_share:
        return "repeat", {"back": rules.repeat_gap + _chance.randrange(rules.repeat_gap + 1)}
    return "", {}


def _head_of_the_queue(
    skip_locked: bool, instead: str, *, project_id: int, rater_id: int, back: int = 0
) -> QuerySet[Comparison]:
    """The queue in order, with what is to be shown instead, how often the rater met the prompt before, and
    their expired lease of it.
    """  # noqa: D205
    rows = _candidates(project_id, rater_id).order_by("place").select_related("prompt")
    theirs = Assignment.objects.filter(comparison=OuterRef("pk"), rater=rater_id)
    of_prompt = Comparison.objects.filter(prompt=OuterRef("prompt"))
    expired = theirs.filter(rule=Rule.QUEUE, state=AssignmentState.EXPIRED).values("pk")[:1]
    rows = rows.annotate(exposure=_count(of_prompt.exclude(_Missing(theirs))), expired=Subquery(expired))
    if instead == "known answer":
        met = Assignment.objects.filter(comparison__prompt=OuterRef("prompt"), rater=rater_id)
        routed = Q(route="") | Q(route=OuterRef("route"))  # tags that the rater has: the next asks them too
        golds = Comparison.objects.filter(
            routed,
            project=project_id,
            purpose=Purpose.GOLD,
            purpose__in=[Purpose.GOLD, Purpose.TRAINING, Purpose.QUALIFICATION],  # as their index says
            closed_at=None,
        )
        golds = _lacking(golds.exclude(gold_by=rater_id), met, _own_words(rater_id))
        rows = rows.annotate(known_answer=Subquery(golds.order_by("place").values("pk")[:1]))
    if instead == "repeat":
        again = Assignment.objects.filter(comparison=OuterRef("comparison"), rater=rater_id, rule=Rule.REPEAT)
        past = of_rater(rater_id, project_id).filter(
            comparison__closed_at=None, rule=Rule.QUEUE, state=AssignmentState.JUDGED
        )
        past = _lacking(past, again)
        rows = rows.annotate(repeated=Subquery(past.order_by("-leased_at").values("pk")[back : back + 1]))
    return rows.select_for_update(skip_locked=skip_locked, of=("self",))


_head = Prepared(_head_of_the_queue)
_responses = Prepared(lambda **named: Response.objects.filter(pk__in=named.values()), most=9)


def _assign_known_answer(desk: Desk, comparison_id: int) -> Assignment:
    """Lease a comparison whose answer is known; it looks like any other."""
    comparison = Comparison.objects.select_related("prompt").get(pk=comparison_id)
    return _write(desk, comparison, Rule.GOLD, desk.project.rules.gold_share)


def _assign_repeat(desk: Desk, assignment_id: int) -> Assignment:
    """Lease a comparison again to the rater who judged it, in the opposite order."""
    past = Assignment.objects.select_related("comparison__prompt").get(pk=assignment_id)
    share = desk.project.rules.repeat_share
    seen = past.exposure + 1
    return _write(desk, past.comparison, Rule.REPEAT, share, exposure=seen, shown=past.shown[::-1])


def _assign(desk: Desk, comparison: Comparison) -> Assignment:
    """Write the lease of a place; an expired one of the same rater comes back as it was shown."""
    found = vars(comparison)  # of `_head_of_the_queue`
    if found["expired"]:
        mine = Assignment.objects.filter(pk=found["expired"])
        if mine.filter(state=AssignmentState.EXPIRED).update(**desk.lease, holds_place=True):
            return mine.select_related("comparison__prompt", "guideline").get()
    return _write(desk, comparison, Rule.QUEUE, 1, exposure=found["exposure"])


def _write(
    desk: Desk,
    comparison: Comparison,
    rule: Rule,
    probability: float,
    *,
    exposure: int = 0,
    shown: list[int] | None = None,
) -> Assignment:
    if shown is None:
        shown = list(comparison.response_ids)
        _chance.shuffle(shown)
    assignment = Assignment(
        comparison=comparison,
        rater_id=desk.rater_id,
        shown=shown,
        rule=rule,
        probability=probability,
        exposure=exposure,
        holds_place=rule == Rule.QUEUE,
        offered_at=desk.now,
        **desk.lease,
    )
    prepared.insert(assignment)
    return assignment
