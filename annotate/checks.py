"""What must hold of a project's judgments whatever people do; looked at whenever quality is measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from itertools import islice
from math import sqrt
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q

from annotate.models import (
    Assignment,
    AssignmentState,
    ComparedResponse,
    Judgment,
    Project,
    Response,
    Rule,
    content_hash,
)

STANDARD_ERRORS = 4  # so far from a half, chance brings a fair lot once in 16,000 times
LATEST_REPEATS = 300
LATEST_TEXTS = 50_000
SLACK = timedelta(seconds=5)  # between the rater's clock and ours, in one judgment
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold, and what was found."""

    name: str
    holds: bool
    words: str  # what was found, with its numbers

    def to_json(self) -> dict[str, Any]:
        """As figures keep it."""
        return asdict(self)


def of_project(project: Project) -> Iterator[Check]:
    """All checks, one after the other."""
    yield from _sides(project)
    yield _splits(project)
    yield _once(project)
    yield _repeats(project)
    yield _prompts(project)
    yield _texts(project)
    yield _clocks(project)


def _sides(project: Project) -> Iterator[Check]:
    """Sides are drawn by lot, and what is shown is what was to be compared."""
    drawn_here = Q(leased_until__gt=F("offered_at"))  # imported ones had no lease
    rows = Assignment.objects.filter(drawn_here, comparison__project=project).exclude(rule=Rule.REPEAT)
    pairs = first = shown = other = 0
    for here, canonical in rows.values_list("shown", "comparison__response_ids").iterator(chunk_size=CHUNK):
        shown += 1
        other += sorted(here) != sorted(canonical)
        if len(here) == 2 and here[:1] in (canonical[:1], canonical[1:]):
            pairs += 1
            first += here[0] == canonical[0]
    share = first / pairs if pairs else 0.5
    off = abs(share - 0.5) * 2 * sqrt(pairs)  # in standard errors
    words = (
        f"The response that was made first stood first in {100 * share:.1f}% of {pairs:,} pairs, "
        f"{off:.1f} standard errors from a half."
        if pairs
        else "No pair was shown yet."
    )
    yield Check("Sides are drawn by lot", off <= STANDARD_ERRORS, words)
    yield Check(
        "What is shown is what was to be compared", not other, f"{_count(other, shown)} show other responses."
    )


def _splits(project: Project) -> Check:
    """Near-duplicate prompts are in one split."""
    clusters = project.prompts.order_by().values("cluster")
    torn = clusters.annotate(splits=Count("split", distinct=True)).filter(splits__gt=1).count()
    words = f"{_count(torn, clusters.distinct().count(), 'cluster')} of prompts lie in two splits."
    return Check("No cluster of prompts is in two splits", not torn, words)


def _once(project: Project) -> Check:
    """Nobody judged the same responses twice, but for swapped repeats."""
    met = (
        Assignment.objects.filter(comparison__project=project, state=AssignmentState.JUDGED)
        .filter(rule__in=[Rule.QUEUE, Rule.GOLD, Rule.ADJUDICATION])
        .order_by()
        .values("rater", "comparison__response_ids")
    )
    again = met.annotate(times=Count("pk")).filter(times__gt=1).count()
    words = f"{_times(again)} a rater judged the same responses in two comparisons."
    return Check("Nobody judges the same responses twice", not again, words)


def _repeats(project: Project) -> Check:
    """A swapped repeat is swapped, and far enough from the first time."""
    gap = project.rules.repeat_gap
    rows = Assignment.objects.filter(
        comparison__project=project, rule=Rule.REPEAT, state=AssignmentState.JUDGED
    )
    looked = unswapped = near = 0
    for repeat in rows.order_by("-pk")[:LATEST_REPEATS]:
        mine = Assignment.objects.filter(rater=repeat.rater_id, comparison__project=project)
        first = mine.filter(comparison=repeat.comparison_id, rule=Rule.QUEUE).first()
        looked += 1
        unswapped += first is None or first.shown != repeat.shown[::-1]
        if first is not None:
            between = mine.filter(leased_at__gt=first.leased_at, leased_at__lt=repeat.leased_at)
            near += between.count() < gap
    words = f"Of the latest {looked:,}, {unswapped:,} have the same order of sides as the first time"
    words += f", and {near:,} came after fewer than {gap} others." if looked else "."
    holds = not unswapped and not near
    return Check("Repeats are swapped and far apart", holds, words if looked else "None was judged yet.")


def _prompts(project: Project) -> Check:
    """All responses of a comparison answer its prompt."""
    compared = ComparedResponse.objects.filter(comparison__project=project)
    strays = compared.exclude(response__prompt=F("comparison__prompt")).count()
    words = f"{_count(strays, compared.count(), 'compared response')} answer another prompt."
    return Check("Responses belong to their comparison’s prompt", not strays, words)


def _texts(project: Project) -> Check:
    """The texts are those that were judged."""
    judged = ComparedResponse.objects.filter(
        response=OuterRef("pk"), comparison__assignments__state=AssignmentState.JUDGED
    )
    rows = Response.objects.filter(Exists(judged), prompt__project=project).order_by("-pk")
    looked = changed = 0
    texts = rows.values_list("text", "content_hash").iterator(chunk_size=CHUNK)
    for text, digest in islice(texts, LATEST_TEXTS):
        looked += 1
        changed += content_hash(text) != digest
    words = f"{_count(changed, looked, 'judged response')} read otherwise than when they came in."
    return Check("Texts are as they were judged", not changed, words)


def _clocks(project: Project) -> Check:
    """Raters' times fit ours: nobody looked at a comparison for longer than they had it."""
    rows = Judgment.objects.of_project(project).filter(shown_at__isnull=False, submitted_at__isnull=False)
    wrong = rows.filter(
        Q(submitted_at__lt=F("shown_at") - timedelta(seconds=1))
        | Q(submitted_at__gt=F("shown_at") + (F("received_at") - F("assignment__offered_at")) + SLACK)
    ).count()
    words = f"{_count(wrong, rows.count(), 'judgment')} say that they took longer than their rater had them."
    return Check("Raters’ clocks fit the server’s", not wrong, words)


def _count(found: int, of: int, noun: str = "assignment") -> str:
    return f"{found:,} of {of:,} {noun}{'' if of == 1 else 's'}"


def _times(found: int) -> str:
    return {0: "Never", 1: "Once"}.get(found, f"{found:,} times")
