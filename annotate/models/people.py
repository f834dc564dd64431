"""People: who signs in, what they do in a project, and what was done about it."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

if TYPE_CHECKING:
    from annotate.models.projects import Project


class User(AbstractUser):
    """A person who signs in, or a robot that judges as one."""

    simulated = models.BooleanField(default=False)  # a robot of `worlds`; its judgments say so everywhere
    keys = models.JSONField(default=dict, blank=True)  # own keys of the rater's page: action to key
    language = models.CharField(max_length=10, blank=True)  # of raters' pages; empty: as the browser asks

    class Meta:
        db_table = "annotate_user"

    def __str__(self) -> str:
        return self.username


class SignInLink(models.Model):
    """A link that signs one person in, once; the table holds only its hash."""

    LIFE = timedelta(minutes=15)

    token_hash = models.CharField(max_length=64, unique=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="sign_in_links")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="links_by_expiry")]

    def __str__(self) -> str:
        return f"link for {self.user_id}"

    @classmethod
    def issue(cls, user: User, life: timedelta = LIFE) -> str:
        """Make a link for this person and return its token, which is shown once; sweep dead links."""
        now = timezone.now()
        cls.objects.filter(expires_at__lt=now - timedelta(days=1)).delete()
        token = secrets.token_urlsafe(32)
        cls.objects.create(token_hash=cls.hashed(token), user=user, expires_at=now + life)
        return token

    @staticmethod
    def hashed(token: str) -> str:
        """The form a token is stored in; it is random enough for a plain hash."""
        return hashlib.sha256(token.encode()).hexdigest()

    @classmethod
    def find(cls, token: str) -> SignInLink | None:
        """The link of this token, while it still works."""
        usable = cls.objects.filter(used_at=None, expires_at__gt=timezone.now(), user__is_active=True)
        return usable.filter(token_hash=cls.hashed(token)).select_related("user").first()

    def use(self) -> bool:
        """Use the link up; false where another request was first."""
        return SignInLink.objects.filter(pk=self.pk, used_at=None).update(used_at=timezone.now()) == 1


class SignInFailure(models.Model):
    """A wrong password, kept for as long as it counts against the name and the address it came with."""

    WINDOW = timedelta(minutes=15)
    PER_NAME, PER_ADDRESS = 5, 20

    name = models.CharField(max_length=150)
    address = models.GenericIPAddressField(null=True, blank=True)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["name", "at"], name="failures_by_name")]

    def __str__(self) -> str:
        return f"{self.name} at {self.at}"

    @classmethod
    def admit(cls, name: str, address: str | None) -> bool:
        """Whether one more password may be tried; it counts as wrong until `forget` says otherwise.

        Written before it is counted, so that many tries at once can't pass together.
        """
        attempt = cls.objects.create(name=name, address=address)
        recent = cls.objects.filter(at__gt=timezone.now() - cls.WINDOW)
        too_many = recent.filter(name=name).count() > cls.PER_NAME or (
            address is not None and recent.filter(address=address).count() > cls.PER_ADDRESS
        )
        if too_many:
            attempt.delete()
        return not too_many

    @classmethod
    def forget(cls, name: str) -> None:
        """The person has shown the right password."""
        cls.objects.filter(Q(name=name) | Q(at__lt=timezone.now() - cls.WINDOW)).delete()


class Role(models.TextChoices):
    """What a person does in a project. One each: who sees model names does not rate."""

    RATER = "rater"
    WRITER = "writer"  # also rates
    ADJUDICATOR = "adjudicator"  # also rates, decides where raters disagree, reviews what writers wrote
    RESEARCHER = "researcher"
    ADMIN = "admin"


LABELING = (Role.RATER, Role.WRITER, Role.ADJUDICATOR)  # those who rate, and so see no name of a model


class Membership(models.Model):
    """A person's role in a project."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role)
    group = models.CharField(max_length=50, blank=True)  # declared group of a rater, as exports carry it
    tags = models.JSONField(default=list, blank=True)  # languages and skills that route, such as "lang:de"
    joined_at = models.DateTimeField(default=timezone.now)
    invitation = models.ForeignKey(
        "annotate.Invitation", models.SET_NULL, null=True, blank=True, related_name="memberships"
    )
    external_id = models.CharField(max_length=100, blank=True)  # the person's id at a crowd platform
    qualified_at = models.DateTimeField(null=True, blank=True)  # passed the qualification set
    paused_at = models.DateTimeField(null=True, blank=True)  # gets no comparisons until an admin lets them
    pause_reason = models.CharField(max_length=500, blank=True)  # as the rater reads it
    weight = models.FloatField(null=True, blank=True)  # reliability, 0 to 1; others compute and write it

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "project"], name="one_role_per_person_and_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_is_known"),
            models.CheckConstraint(
                condition=Q(weight=None) | Q(weight__gte=0, weight__lte=1), name="a_weight_is_a_share"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.project}"

    @property
    def pseudonym(self) -> str:
        """The name under which a person appears to those who may not know theirs."""
        return self.project.pseudonym(self.user_id)


class RaterAction(models.Model):
    """What an admin did about a rater; all of it can be undone, and none of it deletes a judgment."""

    class Kind(models.TextChoices):
        """A word to them, a stop, a way back through training, or judgments left out from a date on."""

        MESSAGE = "message"
        PAUSE = "pause"
        RETRAIN = "retrain"
        EXCLUDE = "exclude"

    membership = models.ForeignKey(Membership, models.CASCADE, related_name="actions")
    kind = models.CharField(max_length=10, choices=Kind)
    text = models.CharField(max_length=1000)  # the message, or the reason
    since = models.DateTimeField(null=True, blank=True)  # exclude: judgments received from here on
    by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(null=True, blank=True)  # message: the rater has read it
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(kind="exclude") | Q(since__isnull=False), name="an_exclusion_has_a_date"
            ),
        ]
        indexes = [models.Index(fields=["membership", "kind"], name="actions_about_a_rater")]

    def __str__(self) -> str:
        return f"{self.kind} {self.membership_id}"


class Invitation(models.Model):
    """A link by which people join a project: one person, or a crowd whose platform sends an id along."""

    project = models.ForeignKey("annotate.Project", models.CASCADE, related_name="invitations")
    token_hash = models.CharField(max_length=64, unique=True)
    label = models.CharField(max_length=100, blank=True)  # whom it was made for
    role = models.CharField(max_length=12, choices=Role, default=Role.RATER)
    group = models.CharField(max_length=50, blank=True)
    tags = models.JSONField(default=list, blank=True)
    places = models.PositiveIntegerField(default=1)  # people who may join by it
    taken = models.PositiveIntegerField(default=0)
    id_parameter = models.CharField(
        max_length=50, blank=True
    )  # crowd: the query parameter with the person's id
    completion_code = models.CharField(max_length=100, blank=True)  # crowd: shown when enough is judged
    judgments_for_code = models.PositiveIntegerField(default=0)
    made_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(taken__lte=F("places")), name="no_invitation_is_overdrawn"),
        ]

    def __str__(self) -> str:
        return f"invitation {self.pk} to {self.project_id}"


class AuditEvent(models.Model):
    """Who did what that matters later: signing in, roles, downloads. Append only."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    project = models.ForeignKey("annotate.Project", models.SET_NULL, null=True, blank=True, related_name="+")
    action = models.CharField(max_length=50)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        indexes = [models.Index(fields=["project", "at"], name="audit_of_a_project")]

    def __str__(self) -> str:
        return f"{self.action} at {self.at}"

    @classmethod
    def record(cls, action: str, actor: User | None, project: Project | None = None, **detail: Any) -> None:
        """Write one event."""
        cls.objects.create(action=action, actor=actor, project=project, detail=detail)
