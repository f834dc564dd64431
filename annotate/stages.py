"""What comes before the queue: explained examples, then a set with known answers and a pass mark."""

import re
from math import ceil

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from annotate import assignment as leases
from annotate.judging import is_right
from annotate.models import (
    Assignment,
    AssignmentState,
    AuditEvent,
    Comparison,
    Judgment,
    Membership,
    Purpose,
    RaterAction,
    Rule,
)
from annotate.retries import retried

STAGES = ((Rule.TRAINING, Purpose.TRAINING), (Rule.QUALIFICATION, Purpose.QUALIFICATION))
NOT_PASSED = gettext_noop(
    "%(right)s of %(of)s answers of the qualification set were as expected, and it takes %(needed)s."
)


@retried
def next_before_the_queue(membership: Membership) -> Assignment | None:
    """The next example or question of the qualification set; None where the queue is open, or stays closed.

    With the last one answered, the person is qualified, or paused with the reason.
    """
    if membership.qualified_at is not None or membership.paused_at is not None:
        return None
    with transaction.atomic():
        Membership.objects.select_for_update().get(pk=membership.pk)
        rater, project = membership.user, membership.project
        begun = leases.open_assignments(rater, project).filter(rule__in=[rule for rule, _ in STAGES])
        waiting = begun.first()
        if waiting is not None:
            return waiting
        for rule, purpose in STAGES:
            done = _done(membership, rule).values("comparison")
            open_ones = Comparison.objects.filter(project=project, purpose=purpose, closed_at=None)
            for comparison in open_ones.exclude(pk__in=done).select_related("prompt").order_by("place"):
                if set(comparison.route.splitlines()) <= set(membership.tags):
                    return leases.lease_known(rater, comparison, rule)
        _decide(membership)
    return None


def _done(membership: Membership, rule: Rule) -> QuerySet[Assignment]:
    """What the person has answered or skipped of a stage since they last had to begin it."""
    rows = Assignment.objects.filter(
        rater=membership.user,
        comparison__project=membership.project,
        rule=rule,
        state__in=[AssignmentState.JUDGED, AssignmentState.SKIPPED],
    )
    again = membership.actions.filter(kind=RaterAction.Kind.RETRAIN, undone_at=None).order_by("-at").first()
    return rows.filter(closed_at__gt=again.at) if again else rows


def _decide(membership: Membership) -> None:
    """Let the person in, or tell them why not."""
    asked = _done(membership, Rule.QUALIFICATION)
    of = asked.count()
    judged = Judgment.objects.standing().filter(assignment__in=asked).select_related("assignment__comparison")
    right = sum(is_right(one.order, one.assignment.comparison.gold or []) for one in judged)
    needed = membership.project.rules.qualification_pass * of
    if right >= needed:
        membership.qualified_at = timezone.now()
        membership.save(update_fields=["qualified_at"])
    else:
        membership.paused_at = timezone.now()
        membership.pause_reason = NOT_PASSED % {"right": right, "of": of, "needed": ceil(needed)}
        membership.save(update_fields=["paused_at", "pause_reason"])
    if of:
        passed = membership.qualified_at is not None
        AuditEvent.record(
            "qualification", membership.user, membership.project, right=right, of=of, passed=passed
        )


def pause_reason(membership: Membership) -> str:
    """Why a person is paused, as they read it: an admin's own words, or ours in the person's language."""
    figures = re.sub(r"%\\\((\w+)\\\)s", r"(?P<\1>[0-9]+)", re.escape(NOT_PASSED))
    ours = re.fullmatch(figures, membership.pause_reason)
    return gettext(NOT_PASSED) % ours.groupdict() if ours else membership.pause_reason
