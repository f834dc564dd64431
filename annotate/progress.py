"""How far a project and a rater are."""

from typing import Any

from django.core.cache import cache
from django.db.models import Count, F, Q, Sum

from annotate.models import Assignment, AssignmentState, Comparison, Judgment, Preference, Project, User

FRESH = 10  # seconds for which a figure on every rater's page may be old


def share_judged(project: Project) -> int:
    """Per cent of the wanted judgments that are there; up to ten seconds old."""

    def count() -> int:
        sums = Comparison.objects.filter(project=project, closed_at=None).aggregate(
            taken=Sum(F("wanted") - F("places_left")), all=Sum("wanted")
        )
        leased = Assignment.objects.filter(
            comparison__project=project, state=AssignmentState.OPEN, holds_place=True
        ).count()
        return round(100 * ((sums["taken"] or 0) - leased) / max(1, sums["all"] or 0))

    return cache.get_or_set(f"share-judged-{project.pk}", count, FRESH) or 0


def of_rater(rater: User, project: Project) -> dict[str, Any]:
    """What a rater has done in a project."""
    mine = Assignment.objects.filter(rater=rater, comparison__project=project)
    counts = mine.aggregate(
        judged=Count("pk", filter=Q(state=AssignmentState.JUDGED)),
        skipped=Count("pk", filter=Q(state=AssignmentState.SKIPPED)),
    )
    active = Judgment.objects.standing().filter(assignment__in=mine).aggregate(ms=Sum("active_ms"))["ms"] or 0
    return {**counts, "minutes": round(active / 60_000)}


def of_project(project: Project) -> dict[str, int]:
    """Counts that close: what is wanted is judged, leased or open."""
    places = Comparison.objects.filter(project=project, closed_at=None).aggregate(
        comparisons=Count("pk"), left=Sum("places_left"), wanted=Sum("wanted")
    )
    judgments = (
        Judgment.objects.standing()
        .filter(assignment__comparison__project=project)
        .aggregate(
            judged=Count("pk"),
            uncounted=Count("pk", filter=Q(counted=False)),
            simulated=Count("pk", filter=Q(simulated=True)),
        )
    )
    tied = Preference.objects.filter(judgment__assignment__comparison__project=project, tie=True)
    assignments = Assignment.objects.filter(comparison__project=project).aggregate(
        leased=Count("pk", filter=Q(state=AssignmentState.OPEN)),
        skipped=Count("pk", filter=Q(state=AssignmentState.SKIPPED)),
    )
    counts = {name: value or 0 for name, value in {**places, **judgments, **assignments}.items()}
    return {
        **counts,
        "counted": counts["judged"] - counts["uncounted"],
        "human": counts["judged"] - counts["simulated"],
        "ties": tied.values("judgment").distinct().count(),
    }
