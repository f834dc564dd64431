"""Who writes to which prompt: places, leases, drafts, what is sent.

A prompt has as many places as it wants demonstrations. One is taken under a lock on the prompt, so no two
people at once take the last; it comes back when the lease runs out, or when what was written is not taken.
A row without an author is prepared: it holds the response that the next person on its prompt edits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.differences import difference
from annotate.models import (
    Demonstration,
    DemonstrationState,
    DemonstrationVersion,
    Guideline,
    Membership,
    Project,
    Prompt,
    Role,
    User,
)
from annotate.retries import retried

WRITERS = (Role.WRITER, Role.ADJUDICATOR)
HOLDING = (  # what takes a place of its prompt
    DemonstrationState.OPEN,
    DemonstrationState.SUBMITTED,
    DemonstrationState.SENT_BACK,
    DemonstrationState.ACCEPTED,
)
LOOKED_AT = 100  # prompts that may fit a writer's tags, looked at together
PREPARED = Q(author=None, imported=False)


class WritingError(Exception):
    """What can't be done with a demonstration; the message says why, to the person who tried."""


class GoneError(WritingError):
    """It is no longer this person's to write or review."""


class OtherDraftError(WritingError):
    """Another tab has saved another text since this one last read it."""

    def __init__(self, demonstration: Demonstration) -> None:
        super().__init__(_("You changed this text in another tab or browser; it is not saved here."))
        self.demonstration = demonstration


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What a writer posted as finished."""

    client_key: UUID
    text: str
    seen: str = ""  # the draft that the text grew from, as `draft_version` names it
    guideline: Guideline | None = None  # the one that was shown
    active_ms: int | None = None


def draft_version(demonstration: Demonstration) -> str:
    """A name for the draft as it is stored now; another one after each change."""
    return demonstration.draft_saved_at.isoformat() if demonstration.draft_saved_at else ""


# Taking a place


@retried
def next_to_write(writer: User, project: Project) -> Demonstration | None:
    """What was sent back to the writer, else what they have begun, else a fresh prompt, else None."""
    with transaction.atomic():
        membership = _locked_membership(writer, project)
        if membership.paused_at or project.archived_at:
            return None
        found = _returned(writer, project) or _begun(writer, project) or _taken(membership)
        if found is None and expire(project):
            found = _taken(membership)
        return found


def waiting(membership: Membership) -> dict[str, int]:
    """How much of each kind of work waits for the writer; where tags route, not all prompts are counted."""
    writer, project = membership.user, membership.project
    counts: dict[str, int] = Demonstration.objects.filter(project=project, author=writer).aggregate(
        sent_back=Count("pk", filter=Q(state=DemonstrationState.SENT_BACK)),
        submitted=Count("pk", filter=Q(state=DemonstrationState.SUBMITTED)),
        accepted=Count("pk", filter=Q(state=DemonstrationState.ACCEPTED)),
        begun=Count("pk", filter=Q(state=DemonstrationState.OPEN)),
    )
    prompts = _wanting(project, writer)
    routed = bool(project.rules.routes)
    to_write = sum(1 for _ in islice(_fitting(prompts, membership), LOOKED_AT)) if routed else prompts.count()
    return {**counts, "to_write": to_write}


def _locked_membership(writer: User, project: Project) -> Membership:
    """The writer's, held until the transaction ends, so that two tabs at once get one prompt."""
    return Membership.objects.select_for_update().get(user=writer, project=project)


def _rows() -> QuerySet[Demonstration]:
    return Demonstration.objects.select_related("project", "prompt", "source")


def _returned(writer: User, project: Project) -> Demonstration | None:
    mine = _rows().filter(author=writer, project=project, state=DemonstrationState.SENT_BACK)
    found = mine.order_by("offered_at", "pk").first()
    if found is not None:  # it has no lease, but what else the writer has begun should wait meanwhile
        _begun(writer, project)
    return found


def _begun(writer: User, project: Project) -> Demonstration | None:
    """What the writer has open, its lease renewed."""
    mine = Demonstration.objects.filter(author=writer, project=project, state=DemonstrationState.OPEN)
    if not mine.update(leased_until=_lease_from_now(project)):
        return None
    return _rows().filter(pk__in=mine.values("pk")).order_by("offered_at", "pk").first()


def _taken(membership: Membership) -> Demonstration | None:
    """A lapsed one of the writer's whose place is free still, else a place on the first prompt that fits."""
    writer, project = membership.user, membership.project
    lapsed = _rows().filter(
        author=writer,
        project=project,
        state=DemonstrationState.GIVEN_UP,
        skip_reason="",
        prompt__withdrawn_at=None,
        prompt__demonstrations_wanted__gt=0,
    )
    for demonstration in lapsed.order_by("-closed_at")[:LOOKED_AT]:
        if _reopened(demonstration):
            return demonstration
    return _leased(membership)


def _leased(membership: Membership) -> Demonstration | None:
    writer, project = membership.user, membership.project
    while (prompt := _first(_wanting(project, writer), membership)) is not None:
        if not has_room(prompt):  # somebody else took the last place before the lock was ours
            continue
        now = timezone.now()
        lease = {"author": writer, "offered_at": now, "leased_until": _lease_from_now(project)}
        prepared = Demonstration.objects.filter(PREPARED, prompt=prompt, state=DemonstrationState.OPEN)
        usable = prepared.filter(source__withdrawn_at=None).order_by("pk").first()
        if usable is None:
            usable = Demonstration(project=project, prompt=prompt)
        for name, value in lease.items():
            setattr(usable, name, value)
        usable.save()
        return _rows().get(pk=usable.pk)
    return None


def _wanting(project: Project, writer: User) -> QuerySet[Prompt]:
    """Prompts with a place to write that this writer has not met."""
    met = Demonstration.objects.filter(prompt=OuterRef("pk"), author=writer)
    return wanting(project).filter(~Exists(met))


def wanting(project: Project) -> QuerySet[Prompt]:
    """Prompts that want more demonstrations than people have begun, in an order of no meaning."""
    asked = Prompt.objects.filter(project=project, demonstrations_wanted__gt=0, withdrawn_at=None)
    return (
        asked.annotate(begun=begun_count())
        .filter(demonstrations_wanted__gt=F("begun"))
        .order_by("content_hash")
    )


def begun_count() -> Coalesce:
    """The demonstrations that take a place of a prompt, as part of a query for prompts."""
    holding = _holding().filter(prompt=OuterRef("pk")).order_by().values("prompt")
    return Coalesce(Subquery(holding.annotate(n=Count("pk")).values("n"), output_field=IntegerField()), 0)


def _holding() -> QuerySet[Demonstration]:
    return Demonstration.objects.filter(state__in=HOLDING).exclude(PREPARED)


def has_room(prompt: Prompt) -> bool:
    """Whether a prompt, which is locked, wants one more."""
    return _holding().filter(prompt=prompt).count() < prompt.demonstrations_wanted


def _first(prompts: QuerySet[Prompt], membership: Membership) -> Prompt | None:
    """The first that fits the writer and that nobody else takes at this moment; if all are taken, wait."""
    if membership.project.rules.routes:
        fitting = list(islice(_fitting(prompts, membership), LOOKED_AT))
        prompts = prompts.filter(pk__in=fitting)
    return (
        prompts.select_for_update(skip_locked=True, of=("self",)).first()
        or prompts.select_for_update(of=("self",)).first()
    )


def _fitting(prompts: QuerySet[Prompt], membership: Membership) -> Iterator[int]:
    routes, has = membership.project.rules.routes, set(membership.tags)
    for pk, tags in prompts.values_list("pk", "tags").iterator():
        if has.issuperset(tag for tag in tags if tag.startswith(routes)):
            yield pk


def _reopened(demonstration: Demonstration) -> bool:
    """Give a lapsed one back to its author with its draft, if its place is free still."""
    prompt = Prompt.objects.select_for_update().get(pk=demonstration.prompt_id)
    if prompt.withdrawn_at or not has_room(prompt):
        return False
    state, until = DemonstrationState.OPEN, _lease_from_now(demonstration.project)
    row = Demonstration.objects.filter(pk=demonstration.pk, state=DemonstrationState.GIVEN_UP)
    if not row.update(state=state, leased_until=until, closed_at=None):
        return False
    demonstration.state, demonstration.leased_until, demonstration.closed_at = state, until, None
    if demonstration.source_id:  # what was prepared for the next person is not needed now
        spare = Demonstration.objects.filter(
            PREPARED, prompt=prompt, state=DemonstrationState.OPEN, source=demonstration.source_id
        )
        spare.filter(pk__in=list(spare.values_list("pk", flat=True)[:1])).delete()
    return True


def _lease_from_now(project: Project) -> datetime:
    return timezone.now() + timedelta(minutes=project.rules.lease_minutes)


# Writing


@retried
def save_draft(demonstration: Demonstration, text: str, *, seen: str) -> Demonstration:
    """Keep what is written so far and renew the lease; a text that another tab changed is not overwritten."""
    with transaction.atomic():
        row = _locked_for_writing(demonstration)
        _refuse_other_draft(row, text, seen)
        if row.draft != text:
            row.draft, row.draft_saved_at = text, timezone.now()
        if row.state == DemonstrationState.OPEN:
            row.leased_until = _lease_from_now(row.project)
        row.save(update_fields=["draft", "draft_saved_at", "leased_until"])
        return row


@retried
def send(demonstration: Demonstration, sent: Sent) -> tuple[DemonstrationVersion, bool]:
    """Store a version for review; returns it, and whether it is new: the same client key stores it once."""
    with transaction.atomic():
        stored = demonstration.versions.filter(client_key=sent.client_key).first()
        if stored is not None:
            return stored, False
        row = _locked_for_writing(demonstration)
        _refuse_other_draft(row, sent.text, sent.seen)
        version = DemonstrationVersion.objects.create(
            demonstration=row,
            number=row.versions.count() + 1,
            text=sent.text,
            difference=difference(row.source.text, sent.text) if row.source else None,
            guideline=sent.guideline,
            client_key=sent.client_key,
            active_ms=sent.active_ms,
        )
        row.state, row.leased_until, row.review_until = DemonstrationState.SUBMITTED, None, None
        row.draft, row.draft_saved_at = "", None
        row.save()
        return version, True


@retried
def take_back(demonstration: Demonstration) -> bool:
    """Give what was sent to its author again; False where somebody reviews it or has done so."""
    with transaction.atomic():
        row = _locked(demonstration)
        now = timezone.now()
        if row.state != DemonstrationState.SUBMITTED or (row.review_until and row.review_until > now):
            return False
        return_to_author(row)
        return True


def return_to_author(row: Demonstration) -> None:
    """Let the author go on from the last version; it waits for them without a lease."""
    row.state, row.review_until = DemonstrationState.SENT_BACK, None
    row.draft, row.draft_saved_at = row.versions.latest("number").text, timezone.now()
    row.save()


@retried
def skip(demonstration: Demonstration, reason: str) -> bool:
    """Give the place back; the prompt never returns to this writer. False if it was closed already."""
    with transaction.atomic():
        row = _locked(demonstration)
        if row.state not in (DemonstrationState.OPEN, DemonstrationState.SENT_BACK):
            return False
        close(row, DemonstrationState.GIVEN_UP, reason=reason)
        return True


def hold(demonstration: Demonstration, person: User) -> bool:
    """Renew the lease of whoever writes or reviews, as their open page asks from time to time."""
    until = _lease_from_now(demonstration.project)
    row = Demonstration.objects.filter(pk=demonstration.pk)
    if demonstration.author_id == person.pk:
        mine = row.filter(state=DemonstrationState.OPEN).update(leased_until=until)
        return bool(mine) or demonstration.state == DemonstrationState.SENT_BACK
    reviewing = row.filter(
        state=DemonstrationState.SUBMITTED, reviewer=person, review_until__gt=timezone.now()
    )
    return bool(reviewing.update(review_until=until))


@transaction.atomic
def expire(project: Project) -> int:
    """Free the places whose leases ran out; returns how many. Their drafts stay for a return."""
    overdue = _rows().filter(project=project, state=DemonstrationState.OPEN, leased_until__lte=timezone.now())
    rows = overdue.exclude(author=None).order_by("pk").select_for_update(skip_locked=True, of=("self",))
    freed = list(rows)
    for row in freed:
        close(row, DemonstrationState.GIVEN_UP)
    return len(freed)


def close(row: Demonstration, state: DemonstrationState, *, reason: str = "") -> None:
    """End a locked demonstration; what it would have edited is prepared for somebody else."""
    row.state, row.skip_reason, row.closed_at = state, reason, timezone.now()
    row.leased_until = row.review_until = None
    row.save()
    if row.source_id and state != DemonstrationState.ACCEPTED and has_room(row.prompt):
        Demonstration.objects.create(
            project_id=row.project_id, prompt_id=row.prompt_id, source_id=row.source_id
        )


def _locked(demonstration: Demonstration) -> Demonstration:
    """The demonstration as it is now; nobody else changes it until this transaction ends."""
    return _rows().select_for_update(of=("self",)).get(pk=demonstration.pk)


def _locked_for_writing(demonstration: Demonstration) -> Demonstration:
    row = _locked(demonstration)
    lapsed = row.state == DemonstrationState.GIVEN_UP and not row.skip_reason
    if row.state in (DemonstrationState.OPEN, DemonstrationState.SENT_BACK) or (lapsed and _reopened(row)):
        return row
    raise GoneError(
        _("You were away for long, so this prompt went to somebody else.")
        if lapsed
        else _("You gave this prompt back.")
        if row.state == DemonstrationState.GIVEN_UP
        else _("You have sent this one already.")
    )


def _refuse_other_draft(row: Demonstration, text: str, seen: str) -> None:
    if seen != draft_version(row) and text != row.draft:
        raise OtherDraftError(row)
