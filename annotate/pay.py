"""What raters are owed: by the hour of active time, by the judgment, or both; so a round has a cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from django.db.models import Count, Q, QuerySet, Sum, Value
from django.db.models.functions import Least

from annotate.models import Judgment, Project, User

CENT, MS_PER_HOUR = Decimal("0.01"), 3_600_000


@dataclass(frozen=True, slots=True)
class Owed:
    """One rater's work and what it comes to."""

    rater: str  # the account's name
    user_id: int
    judgments: int
    active_ms: int
    for_time: Decimal
    for_judgments: Decimal

    @property
    def total(self) -> Decimal:
        """Both together."""
        return self.for_time + self.for_judgments

    @property
    def hours(self) -> float:
        """Active time in hours."""
        return self.active_ms / MS_PER_HOUR


def of_project(project: Project, *, batch: str | None = None) -> list[Owed]:
    """What each person is owed for a project, or for one batch of its comparisons, by name."""
    judgments = Judgment.objects.filter(assignment__comparison__project=project, simulated=False)
    if batch is not None:
        judgments = judgments.filter(assignment__comparison__batch=batch)
    return _owed(project, judgments)


def of_rater(rater: User, project: Project) -> Owed | None:
    """What one person is owed; None before the first judgment."""
    judgments = Judgment.objects.filter(
        assignment__comparison__project=project, assignment__rater=rater, simulated=False
    )
    return next(iter(_owed(project, judgments)), None)


def total(owed: Iterable[Owed]) -> Decimal:
    """All of it."""
    return sum((one.total for one in owed), Decimal(0))


def batches(project: Project) -> list[str]:
    """The batches that have a cost."""
    rows = Judgment.objects.filter(assignment__comparison__project=project).order_by()
    names = rows.values_list("assignment__comparison__batch", flat=True).distinct()
    return sorted(name for name in names if name)


def _owed(project: Project, judgments: QuerySet[Judgment]) -> list[Owed]:
    """Time counts for every answer, for a corrected one was work too; a comparison is paid once.

    The browser tells the time, so an answer is paid for no longer than its lease.
    """
    rules = project.rules
    longest = Value(rules.lease_minutes * 60_000)
    standing, timed = Q(superseded_by=None, withdrawn=False), Q(active_ms__isnull=False)
    rows = (
        judgments.order_by()
        .values("assignment__rater", "assignment__rater__username")
        .annotate(ms=Sum(Least("active_ms", longest), filter=timed), count=Count("pk", filter=standing))
        .order_by("assignment__rater__username")
    )
    hour, judgment = Decimal(str(rules.pay_per_hour)), Decimal(str(rules.pay_per_judgment))
    return [
        Owed(
            rater=row["assignment__rater__username"],
            user_id=row["assignment__rater"],
            judgments=row["count"],
            active_ms=row["ms"] or 0,
            for_time=_cents(hour * (row["ms"] or 0) / MS_PER_HOUR),
            for_judgments=_cents(judgment * row["count"]),
        )
        for row in rows
    ]


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(CENT, ROUND_HALF_UP)
