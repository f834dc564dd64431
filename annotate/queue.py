"""What waits in a project's queue, who holds what of it, and what was put aside."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from annotate import assignment as leases
from annotate.models import (
    Assignment,
    AssignmentState,
    AuditEvent,
    Comparison,
    Flag,
    Membership,
    Project,
    Purpose,
    User,
)

NEXT = 20  # comparisons shown, as they will be asked
HELD = "near-identical"  # closed_reason of pairs that were never put out
NOTES = 8
SHOWN = 100  # leases and flags on the page
REASONS = {  # of skips, as the rater's screen posts them
    "": "no reason given",
    "cannot_judge": "could not judge it",
    "unsafe": "unsafe",
    "broken": "broken",
    "language": "language",
    "other": "another reason",
}


@dataclass(frozen=True, slots=True)
class Part:
    """Open places that are alike in purpose, stratum and batch."""

    purpose: str
    stratum: str
    batch: str
    comparisons: int
    wanted: int
    left: int


def parts(project: Project) -> list[Part]:
    """The queue by purpose, stratum and batch."""
    rows = (
        project.comparisons.filter(closed_at=None, wanted__gt=0)
        .values("purpose", "stratum", "batch")
        .annotate(comparisons=Count("pk"), all_wanted=Sum("wanted"), left=Sum("places_left"))
        .order_by("batch", "purpose", "stratum")
    )
    return [
        Part(
            Purpose(row["purpose"]).label,
            row["stratum"],
            row["batch"],
            row["comparisons"],
            row["all_wanted"],
            row["left"],
        )
        for row in rows
    ]


def next_ones(project: Project) -> list[Comparison]:
    """The first in the queue, as they would be asked of a rater who has met none of them."""
    rows = project.comparisons.filter(closed_at=None, places_left__gt=0)
    return list(rows.select_related("prompt").order_by("place")[:NEXT])


def open_leases(project: Project) -> QuerySet[Assignment]:
    """Who holds which comparison, the oldest lease first."""
    rows = Assignment.objects.filter(comparison__project=project, state=AssignmentState.OPEN)
    return rows.select_related("rater", "comparison__prompt").order_by("leased_at")


def closed(project: Project) -> list[tuple[str, int]]:
    """Comparisons that are not asked any more, by the reason."""
    rows = project.comparisons.filter(closed_at__isnull=False).values("closed_reason")
    counted = rows.annotate(count=Count("pk")).order_by("-count", "closed_reason")
    return [(row["closed_reason"] or "no reason given", row["count"]) for row in counted]


def skipped(project: Project) -> list[tuple[str, int]]:
    """How often raters skipped, by the reason; what they wrote beside it is in `notes`."""
    rows = Assignment.objects.filter(comparison__project=project, state=AssignmentState.SKIPPED)
    sums: Counter[str] = Counter()
    for row in rows.values("skip_reason").annotate(count=Count("pk")).order_by():
        reason = row["skip_reason"].partition(":")[0]
        sums[REASONS.get(reason, "another reason")] += row["count"]
    return sums.most_common()


def notes(project: Project) -> QuerySet[Assignment]:
    """The latest skips whose raters wrote why."""
    rows = Assignment.objects.filter(
        comparison__project=project, state=AssignmentState.SKIPPED, skip_reason__contains=": "
    )
    return rows.select_related("comparison__prompt").order_by("-closed_at")[:NOTES]


def open_flags(project: Project) -> QuerySet[Flag]:
    """What raters flagged and nobody has settled, the oldest first."""
    rows = Flag.objects.filter(assignment__comparison__project=project, resolved_at=None)
    return rows.select_related("assignment__comparison__prompt", "assignment__rater", "response").order_by(
        "at"
    )


def waits(project: Project) -> dict[str, int]:
    """What waits for an admin, and what was held back."""
    comparisons = project.comparisons.aggregate(
        held=Count("pk", filter=Q(closed_reason=HELD)), withdrawn=Count("pk", filter=_withdrawn())
    )
    return {
        **comparisons,
        "flags": open_flags(project).count(),
        "paused": Membership.objects.filter(project=project, paused_at__isnull=False).count(),
    }


def _withdrawn() -> Q:
    return Q(closed_at__isnull=False) & ~Q(closed_reason=HELD)


def release(assignment: Assignment, by: User) -> bool:
    """Give a lease back to the queue; False if the rater was faster. The rater may get it again."""
    project = assignment.comparison.project
    released = leases.release(assignment, AssignmentState.EXPIRED)
    if released:
        AuditEvent.record(
            "released a lease",
            by,
            project,
            rater=assignment.rater.get_username(),
            comparison=assignment.comparison_id,
        )
    return released


@transaction.atomic
def settle(flag: Flag, resolution: str, by: User) -> bool:
    """Note that a flag was looked at, and what was done; False if somebody was faster."""
    open_one = Flag.objects.filter(pk=flag.pk, resolved_at=None)
    settled = open_one.update(resolved_at=timezone.now(), resolved_by=by, resolution=resolution)
    if settled:
        AuditEvent.record(
            "settled a flag", by, flag.assignment.comparison.project, flag=flag.pk, resolution=resolution
        )
    return bool(settled)


def tally(counts: list[tuple[str, Any]]) -> int:
    """The sum of a list of names and counts."""
    return sum(count for _, count in counts)
