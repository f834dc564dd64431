"""How far a project and a rater are."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import Any

from django.core.cache import cache
from django.db.models import Count, F, Q, Sum

from annotate.models import (
    Assignment,
    AssignmentState,
    Comparison,
    Judgment,
    Preference,
    Project,
    Rule,
    User,
)

NORMAL = 1.959964  # between -NORMAL and NORMAL lie 95 % of a normal distribution
FRESH = 10  # seconds for which a figure on every rater's page may be old


def share_judged(project: Project, *, old: bool = False) -> int:
    """Per cent of the wanted judgments that are there; up to ten seconds old.

    Where a rater waits, an older one will do: each page and each heartbeat makes a new one.
    """
    key = f"share-judged-{project.pk}"
    known: tuple[int, float] | None = cache.get(key)
    if known is not None and (old or time.monotonic() - known[1] < FRESH):
        return known[0]
    share = _count_share(project)
    cache.set(key, (share, time.monotonic()), timeout=None)
    return share


def _count_share(project: Project) -> int:
    sums = Comparison.objects.filter(project=project, closed_at=None).aggregate(
        taken=Sum(F("wanted") - F("places_left")), all=Sum("wanted")
    )
    leased = Assignment.objects.filter(
        comparison__project=project, state=AssignmentState.OPEN, holds_place=True
    ).count()
    return round(100 * ((sums["taken"] or 0) - leased) / max(1, sums["all"] or 0))


def of_rater(rater: User, project: Project) -> dict[str, Any]:
    """What a rater has done in a project."""
    mine = Assignment.objects.filter(rater=rater, comparison__project=project)
    counts = mine.aggregate(
        judged=Count("pk", filter=Q(state=AssignmentState.JUDGED)),
        skipped=Count("pk", filter=Q(state=AssignmentState.SKIPPED)),
    )
    active = Judgment.objects.standing().filter(assignment__in=mine).aggregate(ms=Sum("active_ms"))["ms"] or 0
    return {**counts, "minutes": round(active / 60_000)}


def record_of(rater: User, project: Project) -> dict[str, Any]:
    """A rater's own record: what they did, how they did it, what came of it; never how far others agree."""
    standing = Judgment.objects.standing().filter(
        assignment__rater=rater, assignment__comparison__project=project
    )
    first = same = repeats = decided = 0
    asked = Assignment.objects.filter(rater=rater, comparison__project=project, judgments__in=standing)
    before: dict[int, list[list[int]]] = {}
    rows = asked.order_by("judgments__received_at").values_list(
        "rule", "comparison_id", "shown", "judgments__order", "judgments__superseded_by"
    )
    row: Any
    for row in rows.iterator(chunk_size=2000):
        rule, comparison, shown, order, superseded = row
        if superseded is not None or rule in (Rule.TRAINING, Rule.QUALIFICATION):
            continue
        if len(order[0]) == 1 and len(shown) == 2:
            decided += 1
            first += order[0][0] == shown[0]
        if rule == Rule.REPEAT and comparison in before:
            repeats += 1
            same += list(map(sorted, before[comparison])) == list(map(sorted, order))
        before.setdefault(comparison, order)
    return {
        **of_rater(rater, project),
        "decided": decided,
        "first": share(first, decided),
        "repeats": repeats,
        "same": share(same, repeats),
        "uses": [use for provider in _uses for use in provider(project, rater)],
    }


def share(part: int, whole: int) -> dict[str, int] | None:
    """A share in per cent with its 95 % interval, by Wilson's formula; none of nothing."""
    if not whole:
        return None
    low, high = wilson(part, whole)
    return {
        "share": round(100 * part / whole),
        "low": round(100 * low),
        "high": round(100 * high),
        "of": whole,
    }


def wilson(part: float, whole: float) -> tuple[float, float]:
    """The 95 % score interval of a share."""
    middle, spread = part + NORMAL**2 / 2, NORMAL * sqrt(part * (whole - part) / whole + NORMAL**2 / 4)
    low, high = (middle - spread) / (whole + NORMAL**2), (middle + spread) / (whole + NORMAL**2)
    return max(0.0, low), min(1.0, high)


@dataclass(frozen=True, slots=True)
class Use:
    """Something that came of a rater's judgments, in words that name no model."""

    what: str
    at: datetime
    judgments: int  # of theirs


Uses = Callable[[Project, User], Iterable[Use]]
_uses: list[Uses] = []


def provide_uses(provider: Uses) -> None:
    """Register what knows where judgments went; called from an app's `ready`."""
    _uses.append(provider)


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
