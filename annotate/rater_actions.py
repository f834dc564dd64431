"""What an admin can do about a rater: write, pause, send through the examples again, leave judgments out.

Each is a row with its reason and can be undone. No judgment is touched: an exclusion is looked up where
judgments are used, so they come back when it is undone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.utils import timezone

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
    User,
)

Kind = RaterAction.Kind
STAGES = (Purpose.TRAINING, Purpose.QUALIFICATION)


class ActionError(Exception):
    """It can't be done now; the message says why."""


@transaction.atomic
def message(membership: Membership, by: User, text: str) -> RaterAction:
    """Put a word of the admin on the rater's screen, until they have read it."""
    return _add(membership, by, Kind.MESSAGE, text)


@transaction.atomic
def pause(membership: Membership, by: User, reason: str) -> RaterAction:
    """Ask the rater nothing more for now; they read the reason."""
    member = _locked(membership)
    if member.paused_at is not None:
        raise ActionError(f"{member.user} is paused already.")
    action = _add(member, by, Kind.PAUSE, reason)
    _set(member, paused_at=action.at, pause_reason=reason)
    return action


@transaction.atomic
def let_go_on(membership: Membership, by: User) -> None:
    """End a pause. Who was paused by the qualification set comes into the queue without it."""
    member = _locked(membership)
    if member.paused_at is None:
        raise ActionError(f"{member.user} is not paused.")
    pauses = member.actions.filter(kind=Kind.PAUSE, undone_at=None)
    by_a_person = pauses.update(undone_at=timezone.now(), undone_by=by)
    _set(member, paused_at=None, pause_reason="")
    if not by_a_person and member.qualified_at is None:
        _set(member, qualified_at=timezone.now())
    _record("let go on", by, member, qualified=not by_a_person)


@transaction.atomic
def retrain(membership: Membership, by: User, reason: str) -> RaterAction:
    """Close the queue until the rater has gone through the examples again; a pause ends by it."""
    member = _locked(membership)
    stages = Comparison.objects.filter(project=member.project_id, purpose__in=STAGES, closed_at=None)
    if not stages.exists():
        raise ActionError(
            f"{member.project} has no examples and no qualification set that {member.user} could go through."
        )
    action = _add(member, by, Kind.RETRAIN, reason)
    member.actions.filter(kind=Kind.PAUSE, undone_at=None).update(undone_at=action.at, undone_by=by)
    _set(member, qualified_at=None, paused_at=None, pause_reason="")
    return action


@transaction.atomic
def exclude(membership: Membership, by: User, reason: str, since: datetime) -> RaterAction:
    """Leave out what the rater judged from a moment on, and what they go on to judge."""
    member = _locked(membership)
    if since > timezone.now():
        raise ActionError(f"{since:%-d %B %Y} is still to come. Judgments are left out from a day that was.")
    standing = member.actions.filter(kind=Kind.EXCLUDE, undone_at=None).order_by("since").first()
    if standing is not None and standing.since is not None and standing.since <= since:
        raise ActionError(
            f"What {member.user} judged from {standing.since:%-d %B %Y %H:%M} UTC on is left out already."
        )
    return _add(member, by, Kind.EXCLUDE, reason, since=since)


@transaction.atomic
def undo(action: RaterAction, by: User) -> None:
    """Take one of these back."""
    member = _locked(action.membership)
    fresh = RaterAction.objects.select_for_update().get(pk=action.pk)
    if fresh.undone_at is not None:
        raise ActionError("This was undone already.")
    if fresh.kind == Kind.PAUSE:
        _set(member, paused_at=None, pause_reason="")
    elif fresh.kind == Kind.RETRAIN:
        _as_before_retraining(member, fresh)
    elif fresh.kind == Kind.MESSAGE and fresh.seen_at is not None:
        raise ActionError(f"{member.user} has read this message, so it can’t be taken back.")
    fresh.undone_at, fresh.undone_by = timezone.now(), by
    fresh.save(update_fields=["undone_at", "undone_by"])
    _record(f"undid: {fresh.kind}", by, member, undone=fresh.pk)


def history(membership: Membership) -> Iterable[RaterAction]:
    """All that was done about a rater, the latest first."""
    return membership.actions.select_related("by", "undone_by").order_by("-at", "-pk")


def left_out_since(membership: Membership) -> datetime | None:
    """From when on the rater's judgments are left out, if any are."""
    standing = membership.actions.filter(kind=Kind.EXCLUDE, undone_at=None)
    return standing.order_by("since").values_list("since", flat=True).first()


def used_of(membership: Membership) -> int:
    """How many of the rater's judgments are used."""
    mine = Judgment.objects.of_project(membership.project).filter(assignment__rater=membership.user_id)
    return mine.used().count()


def _as_before_retraining(member: Membership, action: RaterAction) -> None:
    """Open the queue to who had it open, and pause again who was paused until then."""
    worked = Assignment.objects.filter(
        rater=member.user_id,
        comparison__project=member.project_id,
        rule=Rule.QUEUE,
        state=AssignmentState.JUDGED,
    )
    if member.qualified_at is None and worked.exists():
        _set(member, qualified_at=timezone.now())
    ended = member.actions.filter(kind=Kind.PAUSE, undone_at=action.at).first()
    _set(
        member,
        paused_at=ended.at if ended else None,
        pause_reason=ended.text[:500] if ended else "",
    )
    if ended:
        ended.undone_at = ended.undone_by = None
        ended.save(update_fields=["undone_at", "undone_by"])


def _locked(membership: Membership) -> Membership:
    """The membership as it is now; what two admins do at once comes one after the other."""
    rows = Membership.objects.select_related("user", "project")
    return rows.select_for_update(of=("self",)).get(pk=membership.pk)


def _set(member: Membership, **values: object) -> None:
    for name, value in values.items():
        setattr(member, name, value)
    member.save(update_fields=[*values])


def _add(
    member: Membership, by: User, kind: RaterAction.Kind, text: str, since: datetime | None = None
) -> RaterAction:
    action = RaterAction.objects.create(membership=member, kind=kind, text=text, since=since, by=by)
    detail = {"since": since.isoformat(timespec="seconds")} if since else {}
    _record(VERBS[kind], by, member, text=text, **detail)
    return action


VERBS = {
    Kind.MESSAGE: "wrote to a rater",
    Kind.PAUSE: "paused a rater",
    Kind.RETRAIN: "sent a rater through the examples again",
    Kind.EXCLUDE: "left a rater's judgments out",
}


def _record(verb: str, by: User, member: Membership, **detail: object) -> None:
    AuditEvent.record(verb, by, member.project, person=member.user.username, **detail)
