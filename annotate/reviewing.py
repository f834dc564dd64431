"""Who reviews which demonstration, and what follows: accepted, sent back with a note, or rejected."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.models import (
    Demonstration,
    DemonstrationReview,
    DemonstrationState,
    Membership,
    Project,
    User,
)
from annotate.retries import retried
from annotate.writing import WRITERS, GoneError, close, return_to_author

Verdict = DemonstrationReview.Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a reviewer posted."""

    client_key: UUID
    version: int  # the number of the version that was shown
    verdict: str
    note: str = ""


@retried
def next_to_review(reviewer: User, project: Project) -> Demonstration | None:
    """What the reviewer has open, else one that nobody else reviews, else None.

    One that they reviewed before comes first; one that they left to others comes last.
    """
    with transaction.atomic():
        membership = Membership.objects.select_for_update().get(user=reviewer, project=project)
        if membership.paused_at or project.archived_at:
            return None
        now = timezone.now()
        mine = Q(reviewer=reviewer)
        begun = waiting_for(reviewer, project).filter(mine, review_until__gt=now)
        free = waiting_for(reviewer, project).exclude(review_until__gt=now)
        rank = Case(
            When(mine & Q(review_until=None), then=Value(0)),
            When(mine, then=Value(2)),
            default=Value(1),
            output_field=IntegerField(),
        )
        rows = free.order_by(rank, "offered_at", "pk").select_for_update(skip_locked=True, of=("self",))
        found = begun.order_by("review_until").first() or rows.first()
        if found is None:
            return None
        found.reviewer = reviewer
        found.review_until = now + timedelta(minutes=project.rules.lease_minutes)
        found.save(update_fields=["reviewer", "review_until"])
        return found


def waiting_for(reviewer: User, project: Project) -> QuerySet[Demonstration]:
    """All that this person could review: sent, and written by somebody else."""
    sent = Demonstration.objects.filter(project=project, state=DemonstrationState.SUBMITTED)
    return sent.exclude(author=reviewer).select_related("project", "prompt", "source")


def reviewers(project: Project) -> int:
    """How many people could review here."""
    return Membership.objects.filter(project=project, role__in=WRITERS, user__is_active=True).count()


@retried
def review(demonstration: Demonstration, reviewer: User, said: Said) -> tuple[DemonstrationReview, bool]:
    """Store what the reviewer said and do it; the same client key again gives the stored review."""
    with transaction.atomic():
        rows = Demonstration.objects.select_related("project", "prompt", "source")
        row = rows.select_for_update(of=("self",)).get(pk=demonstration.pk)
        stored = DemonstrationReview.objects.filter(
            version__demonstration=row, reviewer=reviewer, client_key=said.client_key
        ).first()
        if stored is not None:
            return stored, False
        version = row.versions.latest("number")
        _refuse_unless_open(row, reviewer, current=version.number == said.version)
        found = DemonstrationReview.objects.create(
            version=version,
            reviewer=reviewer,
            verdict=said.verdict,
            note=said.note,
            client_key=said.client_key,
        )
        row.reviewer, row.review_until = reviewer, None
        if said.verdict == Verdict.SEND_BACK:
            return_to_author(row)
        else:
            accepted = said.verdict == Verdict.ACCEPT
            close(row, DemonstrationState.ACCEPTED if accepted else DemonstrationState.REJECTED)
        return found, True


def leave(demonstration: Demonstration, reviewer: User) -> bool:
    """Let somebody else review it; it comes back to this reviewer last. False if it was not theirs."""
    mine = Demonstration.objects.filter(
        pk=demonstration.pk, reviewer=reviewer, state=DemonstrationState.SUBMITTED
    )
    return mine.update(review_until=timezone.now()) == 1


def _refuse_unless_open(row: Demonstration, reviewer: User, *, current: bool) -> None:
    if row.author_id == reviewer.pk:
        raise GoneError(_("Nobody reviews what they wrote."))
    if row.state == DemonstrationState.SENT_BACK:
        raise GoneError(_("It is with its author again, so there is nothing to review."))
    if row.state != DemonstrationState.SUBMITTED:
        raise GoneError(_("This one is decided already; the first review is kept."))
    if not current:
        raise GoneError(_("Its author has sent another version since; review that one."))
    taken = row.review_until is not None and row.review_until > timezone.now()
    if taken and row.reviewer_id != reviewer.pk:
        raise GoneError(_("Somebody else reviews this one now."))
