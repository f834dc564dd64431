"""Where raters disagree about what is best, and the adjudicators who decide it without seeing who said what.

A tie of all responses and "all bad" are the same here: nothing is best. An adjudicator decides what they have
not met, did not write and what nobody else is deciding now; the others' judgments open after their own.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from operator import itemgetter

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate import assignment as leases
from annotate.comparisons import add_comparison
from annotate.demonstrations import with_own_words
from annotate.models import (
    Assignment,
    AssignmentState,
    AuditEvent,
    Comparison,
    Judgment,
    Project,
    Purpose,
    Response,
    Rule,
    User,
)
from annotate.retries import retried

Best = tuple[int, ...]  # response ids; more than one where they are as good


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A comparison, and how many raters put what first."""

    comparison: int
    votes: Counter[Best]


class NoKnownAnswerError(Exception):
    """It can't become a known answer; the message says why."""


def waiting(project: Project) -> Iterator[Disagreement]:
    """The comparisons whose raters differ and that no adjudicator has decided, the oldest first."""
    decided = Assignment.objects.filter(
        comparison=OuterRef("assignment__comparison"), rule=Rule.ADJUDICATION, state=AssignmentState.JUDGED
    )
    rows = _judged(project).exclude(Exists(decided)).order_by("assignment__comparison_id", "pk")
    found = rows.values_list("assignment__comparison_id", "order").iterator(chunk_size=2000)
    for comparison, judgments in groupby(found, key=itemgetter(0)):
        votes = Counter(tuple(sorted(order[0])) for _, order in judgments)
        if len(votes) > 1:
            yield Disagreement(comparison, votes)


def decided(project: Project) -> QuerySet[Judgment]:
    """What adjudicators decided, the latest first."""
    rows = Judgment.objects.standing().filter(
        assignment__comparison__project=project, assignment__rule=Rule.ADJUDICATION
    )
    return rows.select_related("assignment__comparison__prompt", "assignment__rater").order_by("-pk")


def votes_on(comparison: Comparison) -> QuerySet[Judgment]:
    """What raters judged of a comparison and what is used of it, in the order it came."""
    rows = _judged(comparison.project).filter(assignment__comparison=comparison)
    return rows.select_related("assignment").order_by("pk")


def _judged(project: Project) -> QuerySet[Judgment]:
    """The used judgments of comparisons that several raters judge."""
    return Judgment.objects.used().filter(
        assignment__comparison__project=project,
        assignment__comparison__closed_at=None,
        assignment__comparison__wanted__gte=2,
        assignment__rule=Rule.QUEUE,
    )


@retried
def next_for(adjudicator: User, project: Project) -> Assignment | None:
    """The disagreement that the adjudicator has in hand, else the next one; None where none is left."""
    with transaction.atomic():
        assignment = _in_hand(adjudicator, project)
        if assignment is not None:
            return assignment
        met = Assignment.objects.filter(rater=adjudicator, comparison=OuterRef("pk"))
        own_words = with_own_words(adjudicator)
        open_to_them = project.comparisons.filter(~Exists(met), ~own_words, ~Exists(_taken()))
        for found in waiting(project):
            rows = open_to_them.filter(pk=found.comparison).select_related("prompt", "project")
            comparison = rows.select_for_update(of=("self",)).first()
            if comparison is not None and not _taken(comparison).exists():
                return leases.lease_known(adjudicator, comparison, Rule.ADJUDICATION)
    return None


def _taken(comparison: Comparison | None = None) -> QuerySet[Assignment]:
    """Adjudications that are made, or in somebody's hands."""
    now = timezone.now()
    holds = Q(state=AssignmentState.JUDGED) | Q(state=AssignmentState.OPEN, leased_until__gt=now)
    which = comparison.pk if comparison is not None else OuterRef("pk")
    return Assignment.objects.filter(holds, comparison=which, rule=Rule.ADJUDICATION)


def _in_hand(adjudicator: User, project: Project) -> Assignment | None:
    """What was leased to them before, also where the lease ran out and nobody else took it; leased anew."""
    mine = Assignment.objects.filter(
        rater=adjudicator,
        comparison__project=project,
        comparison__closed_at=None,
        rule=Rule.ADJUDICATION,
        state__in=[AssignmentState.OPEN, AssignmentState.EXPIRED],
    ).select_related("comparison__prompt", "comparison__project", "guideline")
    now = timezone.now()
    for assignment in mine.order_by("offered_at", "pk"):
        if _taken(assignment.comparison).exclude(rater=adjudicator).exists():
            continue
        assignment.state, assignment.closed_at = AssignmentState.OPEN, None
        assignment.leased_until = now + timedelta(minutes=project.rules.lease_minutes)
        assignment.save(update_fields=["state", "closed_at", "leased_until"])
        return assignment
    return None


@transaction.atomic
def make_known_answer(judgment: Judgment, by: User) -> Comparison:
    """Ask the comparison of others as one whose answer is known: what the adjudicator said.

    It is a comparison of its own, so that the raters' judgments stay what they are.
    """
    comparison = judgment.assignment.comparison
    if judgment.all_bad or len(judgment.order[0]) != 1:
        raise NoKnownAnswerError(_("A known answer needs one best response, and this one has none."))
    Comparison.objects.select_for_update().get(pk=comparison.pk)
    if known_answer_of(comparison) is not None:
        raise NoKnownAnswerError(_("This comparison is a known answer already."))
    gold = add_comparison(
        comparison.project,
        comparison.prompt,
        Response.objects.filter(pk__in=comparison.response_ids),
        probability=1,
        place=secrets.SystemRandom().random(),
        purpose=Purpose.GOLD,
        gold=judgment.order,
    )
    gold.gold_by = by
    gold.save(update_fields=["gold_by"])
    AuditEvent.record(
        "made a known answer", by, comparison.project, comparison=comparison.pk, known_answer=gold.pk
    )
    return gold


def known_answer_of(comparison: Comparison) -> Comparison | None:
    """The open comparison of the same responses whose answer is known."""
    golds = Comparison.objects.filter(prompt=comparison.prompt_id, purpose=Purpose.GOLD, closed_at=None)
    return next((one for one in golds if one.response_ids == comparison.response_ids), None)
