"""How people come into a project, what changes about them there, and how they leave."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import Count, F, Max, Q, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from annotate import assignment as leases
from annotate import sessions
from annotate.models import (
    LABELING,
    Assignment,
    AssignmentState,
    AuditEvent,
    BackgroundQuestion,
    Invitation,
    Judgment,
    Membership,
    Project,
    Role,
    SignInFailure,
    SignInLink,
    User,
)

KEPT_NAMES = ("crowd-", "robot-", "rater-", "imported-")  # beginnings of names that we give ourselves
EXTERNAL_ID = re.compile(r"[A-Za-z0-9_.@-]{1,100}")
ENTRIES_PER_ID, ENTRIES_PER_ADDRESS = 5, 60  # of a crowd, in `SignInFailure.WINDOW`


class PeopleError(Exception):
    """What was asked cannot be; the message says why, to the person who asked."""


class ClosedError(PeopleError):
    """An invitation lets nobody in any more; the message says why."""


class TooManyError(PeopleError):
    """Too many came in a short time."""


# Inviting


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an invitation gives, to how many, until when."""

    role: str = Role.RATER
    label: str = ""
    group: str = ""
    tags: Sequence[str] = ()
    places: int = 1
    days: int = 7
    id_parameter: str = ""
    completion_code: str = ""
    judgments_for_code: int = 0


def invite(project: Project, by: User, terms: Terms) -> tuple[Invitation, str]:
    """Make an invitation; its link is returned once and not kept."""
    token = secrets.token_urlsafe(32)
    invitation = Invitation(
        project=project,
        token_hash=SignInLink.hashed(token),
        made_by=by,
        role=terms.role,
        label=terms.label,
        group=terms.group,
        tags=list(terms.tags),
        places=terms.places,
        id_parameter=terms.id_parameter,
        completion_code=terms.completion_code,
        judgments_for_code=terms.judgments_for_code,
        expires_at=timezone.now() + timedelta(days=terms.days),
    )
    invitation.save()
    AuditEvent.record("invited", by, project, invitation=invitation.pk, role=terms.role, places=terms.places)
    address = f"{settings.PUBLIC_URL}/join/{token}/"
    return invitation, f"{address}?{terms.id_parameter}=" if terms.id_parameter else address


def revoke(invitation: Invitation, by: User) -> None:
    """Let nobody in by this invitation from now on; who is in stays."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=timezone.now()):
        AuditEvent.record("invitation-revoked", by, invitation.project, invitation=invitation.pk)


def find_invitation(token: str) -> Invitation | None:
    """The invitation of this token, whether it still works or not."""
    rows = Invitation.objects.select_related("project")
    return rows.filter(token_hash=SignInLink.hashed(token)).first()


def why_closed(invitation: Invitation) -> str:
    """Why nobody new gets in by this invitation, in one sentence; empty where it is open."""
    ask = _("Ask whoever sent it for a new one.")
    if invitation.revoked_at is not None:
        return _("This invitation was taken back.") + f" {ask}"
    if invitation.project.archived_at is not None:
        return _("%(project)s is closed.") % {"project": invitation.project}
    if invitation.expires_at <= timezone.now():
        day = date_format(localtime(invitation.expires_at), _("j F Y"))
        return _("This invitation ended on %(day)s.") % {"day": day} + f" {ask}"
    if invitation.taken >= invitation.places:
        return _("This invitation is used up.") + f" {ask}"
    return ""


def state_of(invitation: Invitation) -> str:
    """One word for where an invitation stands."""
    if invitation.revoked_at is not None:
        return "taken back"
    if invitation.taken >= invitation.places:
        return "used up"
    return "ended" if invitation.expires_at <= timezone.now() else "open"


# Joining


def check_name(name: str, *, of: User | None = None) -> str:
    """The name as it is stored; one that is taken, kept or unreadable is refused."""
    name = unicodedata.normalize("NFKC", name.strip())
    UnicodeUsernameValidator()(name)
    if name.lower().startswith(KEPT_NAMES):
        words = _("Names that begin with %(begin)s- are given by Rankloop itself.")
        raise ValidationError(words % {"begin": name.partition("-")[0]})
    others = User.objects.filter(username__iexact=name)
    if (others.exclude(pk=of.pk) if of else others).exists():
        raise ValidationError(_("Somebody is called %(name)s already.") % {"name": name})
    return name


def join(invitation: Invitation, user: User, *, external_id: str = "") -> Membership:
    """Take a place and make the person a member; who has a role there keeps it."""
    with transaction.atomic():
        had = Membership.objects.filter(user=user, project=invitation.project_id).first()
        if had is not None:
            words = _("You are %(role)s of %(project)s already.")
            raise PeopleError(words % {"role": _(had.role), "project": invitation.project})
        _take_place(invitation)
        membership = Membership.objects.create(
            user=user,
            project=invitation.project,
            role=invitation.role,
            group=invitation.group,
            tags=invitation.tags,
            invitation=invitation,
            external_id=external_id,
        )
        AuditEvent.record("joined", user, invitation.project, role=invitation.role, invitation=invitation.pk)
    return membership


def join_anew(invitation: Invitation, name: str, password: str | None = None, email: str = "") -> User:
    """Make an account and join with it, both or neither."""
    try:
        with transaction.atomic():
            user = User.objects.create(username=name, password=make_password(password), email=email)
            join(invitation, user)
    except IntegrityError as error:
        raise PeopleError(_("Somebody is called %(name)s already.") % {"name": name}) from error
    return user


def first_page(invitation: Invitation) -> str:
    """Where who has joined begins: with the project's questions where it has some."""
    slug = invitation.project.slug
    if invitation.role not in LABELING:
        return reverse("annotate:project", args=[slug])
    questions = BackgroundQuestion.objects.filter(project=invitation.project, retired_at=None)
    return reverse("annotate:background" if questions.exists() else "annotate:compare", args=[slug])


def crowd_name(invitation: Invitation, external_id: str) -> str:
    """The account of a crowd worker: the same id gives the same name, and the name gives no id away."""
    return f"crowd-{invitation.project.keyed('crowd', invitation.id_parameter, external_id)[:16]}"


def crowd_member(invitation: Invitation, external_id: str) -> Membership | None:
    """Who came with this id before."""
    rows = Membership.objects.select_related("user").filter(project=invitation.project_id)
    return rows.filter(user__username=crowd_name(invitation, external_id)).first()


def join_from_crowd(invitation: Invitation, external_id: str) -> User:
    """The account of a crowd worker, made at the first visit; a returning one gets in after the end too."""
    if not EXTERNAL_ID.fullmatch(external_id):
        words = _("%(parameter)s is missing from the link, or not an id.")
        raise PeopleError(words % {"parameter": invitation.id_parameter})
    member = crowd_member(invitation, external_id)
    if member is None:
        user = User(username=crowd_name(invitation, external_id), password=make_password(None))
        try:
            with transaction.atomic():
                user.save(force_insert=True)
                join(invitation, user, external_id=external_id)
        except IntegrityError:  # the same person's other tab was first
            member = crowd_member(invitation, external_id)
            if member is None:
                raise
        else:
            return user
    if invitation.revoked_at is not None:
        raise ClosedError(why_closed(invitation))
    if not member.user.is_active:
        raise ClosedError(_("This account is closed."))
    return member.user


def admit_from_crowd(external_id: str, address: str | None) -> None:
    """Count one entry; too many with one id or from one address have to wait.

    An id and the link are all that a worker shows, so nobody may try ids one after the other.
    """
    limits = {f"crowd id {external_id}"[:150]: ENTRIES_PER_ID, f"crowd at {address}": ENTRIES_PER_ADDRESS}
    SignInFailure.objects.filter(at__lt=timezone.now() - SignInFailure.WINDOW).delete()
    for name, limit in limits.items():
        SignInFailure.objects.create(name=name)
        if SignInFailure.objects.filter(name=name).count() > limit:
            minutes = int(SignInFailure.WINDOW.total_seconds() // 60)
            words = _("Too many tries in a short time. Wait %(minutes)s minutes and open the link again.")
            raise TooManyError(words % {"minutes": minutes})


def _take_place(invitation: Invitation) -> None:
    """One conditional UPDATE, so that places are never oversold."""
    free = Invitation.objects.filter(
        pk=invitation.pk, taken__lt=F("places"), revoked_at=None, expires_at__gt=timezone.now()
    )
    if invitation.project.archived_at is not None or not free.update(taken=F("taken") + 1):
        invitation.refresh_from_db()
        raise ClosedError(why_closed(invitation) or _("This invitation is used up."))


@dataclass(frozen=True, slots=True)
class Completion:
    """How far a crowd worker is from the code."""

    judged: int
    needed: int
    code: str  # empty until it is earned

    @property
    def missing(self) -> int:
        """Judgments still to give."""
        return max(0, self.needed - self.judged)


def completion_of(membership: Membership) -> Completion | None:
    """What a worker of a crowd platform has to show there; None for everybody else."""
    invitation = membership.invitation
    if invitation is None or not invitation.completion_code:
        return None
    judged = (
        Judgment.objects.standing()
        .filter(assignment__rater=membership.user_id, assignment__comparison__project=membership.project_id)
        .count()
    )
    earned = judged >= invitation.judgments_for_code
    return Completion(judged, invitation.judgments_for_code, invitation.completion_code if earned else "")


# Seeing and changing


@dataclass(frozen=True, slots=True)
class Person:
    """A member as the people page shows them."""

    membership: Membership
    judged: int
    last_seen: datetime | None

    @property
    def user(self) -> User:
        """The account."""
        return self.membership.user


def of_project(project: Project, *, search: str = "", after: str = "", limit: int = 100) -> list[Person]:
    """Members in order of their names, those after a name where one is given."""
    rows = Membership.objects.filter(project=project).select_related("user", "invitation")
    if search:
        rows = rows.filter(Q(user__username__icontains=search) | Q(group__icontains=search))
    page = list(rows.filter(user__username__gt=after).order_by("user__username")[:limit])
    return with_work(project, page)


def with_work(project: Project, memberships: Sequence[Membership]) -> list[Person]:
    """Members with what they did, in two queries however many they are."""
    mine = Assignment.objects.filter(
        comparison__project=project, rater__in=[membership.user_id for membership in memberships]
    )
    done = {
        row["rater"]: row
        for row in mine.order_by()
        .values("rater")
        .annotate(judged=Count("pk", filter=Q(state=AssignmentState.JUDGED)), last=Max("leased_at"))
    }
    people = []
    for membership in memberships:
        row = done.get(membership.user_id)
        seen = (row["last"] if row else None, membership.user.last_login)
        latest = max((moment for moment in seen if moment), default=None)
        people.append(Person(membership, row["judged"] if row else 0, latest))
    return people


def in_charge_of(admin: User, user: User) -> bool:
    """Whether an admin may sign a person in anew or shut them out.

    Only where they administer every project that the person is in: whoever can make a link for an
    account can use it, and so could do there what the account may do.
    """
    if user.is_superuser and not admin.is_superuser:
        return False
    own = Membership.objects.filter(user=admin, role=Role.ADMIN)
    return not Membership.objects.filter(user=user).exclude(project__in=own.values("project")).exists()


def change(membership: Membership, by: User, *, role: str, group: str, tags: Sequence[str]) -> None:
    """Give a member another role, group or tags; a role changed ends their sessions."""
    was = membership.role
    if role != was:
        _refuse_role(membership, role)
    details = {
        name: value
        for name, value in (("role", role), ("group", group), ("tags", list(tags)))
        if getattr(membership, name) != value
    }
    if not details:
        return
    with transaction.atomic():
        for name, value in details.items():
            setattr(membership, name, value)
        membership.save(update_fields=[*details])
        if role not in LABELING:
            _hand_back(membership)
        if role != was:
            sessions.end_all(membership.user)
        AuditEvent.record(
            "role-changed" if role != was else "member-changed",
            by,
            membership.project,
            person=membership.user.username,
            **details,
            **({"was": was} if role != was else {}),
        )


def _refuse_role(membership: Membership, role: str) -> None:
    user, project = membership.user, membership.project
    if role in LABELING and membership.role not in LABELING:
        raise PeopleError(
            f"{user} has been {membership.role} of {project} and may know which model wrote what; "
            "who rates must not."
        )
    if user.simulated and role not in LABELING:
        raise PeopleError(f"{user} is simulated and only rates.")
    if membership.role == Role.ADMIN and not _other_admins(membership).exists():
        raise PeopleError(f"{user} is the last admin of {project}. Make somebody else admin first.")


def _other_admins(membership: Membership) -> QuerySet[Membership]:
    admins = Membership.objects.filter(project=membership.project_id, role=Role.ADMIN, user__is_active=True)
    return admins.exclude(pk=membership.pk)


def _hand_back(membership: Membership) -> None:
    """Give back what the person has in hand, so that others get it."""
    held = Assignment.objects.filter(
        rater=membership.user_id, comparison__project=membership.project_id, state=AssignmentState.OPEN
    )
    for assignment in held.order_by("comparison_id"):
        leases.release(assignment, AssignmentState.EXPIRED)


def link_for(membership: Membership, by: User, *, password: bool = False) -> str:
    """A one-time link for a member who lost theirs; with `password` it leads to setting a new one."""
    _refuse_stranger(by, membership)
    user = membership.user
    if not user.is_active:
        raise PeopleError(f"The account of {user} is closed. Open it again first.")
    AuditEvent.record("link-made", by, membership.project, person=user.username, password=password)
    address = f"{settings.PUBLIC_URL}/sign-in/{SignInLink.issue(user)}/"
    return f"{address}?next=/account/" if password else address


def set_email(membership: Membership, by: User, email: str) -> None:
    """The address by which single sign-on knows a person."""
    _refuse_stranger(by, membership)
    user, email = membership.user, email.strip().lower()
    if email and User.objects.filter(email__iexact=email).exclude(pk=user.pk).exists():
        raise PeopleError(f"{email} belongs to another account.")
    if user.email != email:
        user.email = email
        user.save(update_fields=["email"])
        AuditEvent.record("email-changed", by, membership.project, person=user.username)


def close_account(membership: Membership, by: User) -> None:
    """Shut a person out: they can't sign in, their roles and judgments stay."""
    _refuse_stranger(by, membership)
    user = membership.user
    if user == by:
        raise PeopleError("Another admin has to close your account.")
    with transaction.atomic():
        if not User.objects.filter(pk=user.pk, is_active=True).update(is_active=False):
            return
        for one in Membership.objects.filter(user=user).select_related("project"):
            _hand_back(one)
        SignInLink.objects.filter(user=user, used_at=None).delete()
        sessions.end_all(user)
        AuditEvent.record("account-closed", by, membership.project, person=user.username)


def reopen_account(membership: Membership, by: User) -> None:
    """Let a person sign in again."""
    _refuse_stranger(by, membership)
    user = membership.user
    if User.objects.filter(pk=user.pk, is_active=False).update(is_active=True):
        AuditEvent.record("account-reopened", by, membership.project, person=user.username)


def _refuse_stranger(by: User, membership: Membership) -> None:
    if not in_charge_of(by, membership.user):
        raise PeopleError(
            f"{membership.user} also belongs to a project that you don’t administer, so an account that "
            "opens more than yours can’t be changed here. Whoever runs the server can: "
            f"manage.py signin_link {membership.user}"
        )
