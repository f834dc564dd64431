"""The tables of the labeling half.

Nothing here knows a model by name: which policy wrote a response is kept in `policy.app`,
so no page made from these tables can tell a rater.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from datetime import timedelta
from typing import Any, NoReturn, Self

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from annotate.settings import ProjectSettings
from lm.config import ConfigError, from_json

SPLITS = (("train", 0.8), ("rm_holdout", 0.1), ("policy_eval", 0.1))  # shares of the prompt clusters


def content_hash(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class User(AbstractUser):
    """A person who signs in, or a robot that judges as one."""

    simulated = models.BooleanField(default=False)  # a robot of `worlds`; its judgments say so everywhere

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
    RESEARCHER = "researcher"
    ADMIN = "admin"


class ProjectQuerySet(models.QuerySet["Project"]):
    """Projects as seen by people."""

    def for_user(self, user: Any, *roles: Role) -> Self:
        """Those in which the person has one of the roles, or any role where none is named."""
        mine = Membership.objects.filter(user=user)
        if roles:
            mine = mine.filter(role__in=roles)
        return self.filter(pk__in=mine.values("project"))


class Project(models.Model):
    """One taste to learn: its prompts, its raters, its rules."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    settings = models.JSONField(default=dict, blank=True)  # ProjectSettings; unknown ones are refused
    demo = models.BooleanField(default=False)  # simulated raters are let in by a button
    secret = models.CharField(
        max_length=64, default=secrets.token_hex, editable=False
    )  # salts splits and pseudonyms
    created_at = models.DateTimeField(default=timezone.now)

    objects = ProjectQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse settings that don't exist or can't work."""
        try:
            _ = self.rules
        except (ConfigError, ValueError) as error:
            raise ValidationError({"settings": str(error)}) from error

    @property
    def rules(self) -> ProjectSettings:
        """The project's settings, checked."""
        return from_json(ProjectSettings, self.settings)

    @property
    def scope(self) -> str:
        """What its runs belong to."""
        return f"project:{self.slug}"

    @property
    def guideline(self) -> Guideline | None:
        """The guideline in force."""
        return self.guidelines.order_by("-version").first()

    def keyed(self, *values: object) -> str:
        """A stable hash that only this project can make: for splits and pseudonyms."""
        message = "\x1f".join(str(value) for value in values).encode()
        return hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()

    def pseudonym(self, user_id: int) -> str:
        """The name under which a rater appears in files."""
        return f"rater-{self.keyed('rater', user_id)[:12]}"

    def split_of(self, cluster: str) -> str:
        """The split of a cluster of near-duplicate prompts: by hash, so it never changes."""
        share = int(self.keyed("split", cluster)[:12], 16) / 16**12
        for name, size in SPLITS:
            if share < size:
                return name
            share -= size
        return SPLITS[0][0]


class Membership(models.Model):
    """A person's role in a project."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    project = models.ForeignKey(Project, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    group = models.CharField(max_length=50, blank=True)  # declared group of a rater, as exports carry it

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "project"], name="one_role_per_person_and_project"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} as {self.role} of {self.project}"


class Guideline(models.Model):
    """One version of what raters are told; each judgment points at the one shown."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="guidelines")
    version = models.PositiveIntegerField()
    text = models.TextField()  # Markdown
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="one_guideline_per_version"),
        ]

    def __str__(self) -> str:
        return f"{self.project}, version {self.version}"


class Prompt(models.Model):
    """What a model is asked: a conversation that ends with a person's turn."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="prompts")
    name = models.CharField(max_length=200)  # prompt_id in files
    messages = models.JSONField()  # [{"role", "content"}…]
    tags = models.JSONField(default=list, blank=True)
    cluster = models.CharField(max_length=64)  # near-duplicates share one, and so a split
    split = models.CharField(max_length=20)
    content_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_prompt_per_name"),
            models.UniqueConstraint(fields=["project", "content_hash"], name="one_prompt_per_content"),
        ]

    def __str__(self) -> str:
        return self.name


class Response(models.Model):
    """One answer to a prompt; the same words twice are one response."""

    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="responses")
    text = models.TextField()
    content_hash = models.CharField(max_length=64)
    flags = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["prompt", "content_hash"], name="one_response_per_text"),
        ]

    def __str__(self) -> str:
        return f"response {self.pk}"


class Purpose(models.TextChoices):
    """Why a comparison is asked."""

    UNIFORM = "uniform"
    ACTIVE = "active"
    OVERLAP = "overlap"
    GOLD = "gold"
    SWAPPED_REPEAT = "swapped_repeat"
    PROBE = "probe"
    LADDER = "ladder"
    CONTROL = "control"
    EVALUATION = "evaluation"
    AA = "aa"


class Comparison(models.Model):
    """Two to nine responses to one prompt, to be judged side by side.

    What decides whether, when and by whom it is judged is drawn when it is made and kept,
    for without it nothing computed from chosen comparisons is unbiased.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="comparisons")
    responses = models.ManyToManyField(Response, through="ComparedResponse", related_name="comparisons")
    purpose = models.CharField(max_length=20, choices=Purpose, default=Purpose.UNIFORM)
    stratum = models.CharField(max_length=20, default="uniform")
    probability = models.FloatField()  # of being chosen into the queue, given the pool
    place = models.FloatField()  # uniform in [0, 1): the queue is asked in this order
    gold = models.JSONField(null=True, blank=True)  # the known answer: an order of response ids
    repeats = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="repeated_by")
    batch = models.CharField(max_length=100, blank=True)  # what made it: an import, a round
    wanted = models.PositiveSmallIntegerField(default=1)  # judgments
    places_left = models.PositiveSmallIntegerField(default=1)  # wanted, less those judged or leased
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)  # withdrawn from the queue

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(probability__gt=0, probability__lte=1), name="comparison_probability_is_one"
            ),
            models.CheckConstraint(
                condition=Q(place__gte=0, place__lt=1), name="comparison_place_is_in_the_queue"
            ),
            models.CheckConstraint(
                condition=Q(places_left__gte=0, places_left__lte=F("wanted")), name="no_place_is_sold_twice"
            ),
            models.CheckConstraint(
                condition=Q(purpose__in=Purpose.values), name="comparison_purpose_is_known"
            ),
        ]
        indexes = [
            models.Index(
                fields=["project", "place"],
                name="open_comparisons_in_order",
                condition=Q(places_left__gt=0, closed_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"


class ComparedResponse(models.Model):
    """One response of a comparison, at its fixed place in the canonical order (never the order shown)."""

    comparison = models.ForeignKey(Comparison, models.CASCADE)
    response = models.ForeignKey(Response, models.PROTECT)
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["comparison", "response"], name="a_response_is_compared_once"),
            models.UniqueConstraint(fields=["comparison", "position"], name="one_response_per_position"),
        ]

    def __str__(self) -> str:
        return f"{self.position} of {self.comparison_id}"


class AssignmentState(models.TextChoices):
    """Where an assignment stands."""

    OPEN = "open"
    JUDGED = "judged"
    SKIPPED = "skipped"
    EXPIRED = "expired"


class Assignment(models.Model):
    """A comparison leased to a rater, in the order of sides as shown."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # the one id that reaches a page
    comparison = models.ForeignKey(Comparison, models.PROTECT, related_name="assignments")
    rater = models.ForeignKey(User, models.PROTECT, related_name="assignments")
    guideline = models.ForeignKey(Guideline, models.PROTECT, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=AssignmentState, default=AssignmentState.OPEN)
    shown = models.JSONField()  # response ids, first to last as shown
    rule = models.CharField(max_length=20, default="queue")  # how the rater came to it
    probability = models.FloatField(default=1)  # of this comparison for this rater, given the queue
    since_break = models.PositiveIntegerField(default=0)  # comparisons of this sitting before it
    holds_place = models.BooleanField(default=True)  # one of the comparison's places is its own
    offered_at = models.DateTimeField(default=timezone.now)
    leased_at = models.DateTimeField(default=timezone.now)  # the latest lease
    leased_until = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "rater"], name="a_rater_meets_a_comparison_once"),
            models.CheckConstraint(
                condition=Q(state__in=AssignmentState.values), name="assignment_state_is_known"
            ),
            models.CheckConstraint(
                condition=Q(probability__gt=0, probability__lte=1), name="assignment_probability_is_one"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["open", "judged"]) | Q(holds_place=False),
                name="the_skipped_hold_no_place",
            ),
        ]
        indexes = [
            models.Index(fields=["rater", "leased_at"], name="assignments_of_a_rater"),
            models.Index(fields=["leased_until"], name="open_leases", condition=Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"assignment {self.key}"

    @property
    def lapsed(self) -> bool:
        """Whether the lease has run out."""
        return self.leased_until <= timezone.now()

    @property
    def judgment(self) -> Judgment | None:
        """The judgment that stands, withdrawn or not: the one that nothing supersedes."""
        return self.judgments.filter(superseded_by=None).first()


class AppendOnlyQuerySet(models.QuerySet["Judgment"]):
    """Rows that are added and never changed."""

    def update(self, **kwargs: Any) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never changed; write one that supersedes")

    def delete(self) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never deleted; write one that supersedes")

    def standing(self) -> Self:
        """Those that nothing supersedes and that were not taken back."""
        return self.filter(superseded_by=None, withdrawn=False)


class Judgment(models.Model):
    """A rater's answer on one comparison: never changed, only superseded."""

    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="judgments")
    client_key = models.UUIDField()
    order = models.JSONField()  # lists of response ids, best first; equals share a list
    all_bad = models.BooleanField(default=False)
    strength = models.SmallIntegerField(null=True, blank=True)  # how much better: 1 to 3; 0 equal
    criteria = models.JSONField(null=True, blank=True)
    scores = models.JSONField(null=True, blank=True)
    confidence = models.PositiveSmallIntegerField(null=True, blank=True)
    rationale = models.TextField(blank=True)
    withdrawn = models.BooleanField(default=False)  # taken back: the rater pressed undo
    late = models.BooleanField(default=False)  # came after its lease
    counted = models.BooleanField(default=True)  # false: late, and its place was another's by then
    simulated = models.BooleanField(default=False)
    guideline = models.ForeignKey(Guideline, models.PROTECT, null=True, blank=True, related_name="+")
    shown_at = models.DateTimeField(null=True, blank=True)  # this and the next two by the rater's clock
    first_input_at = models.DateTimeField(null=True, blank=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    active_ms = models.PositiveIntegerField(null=True, blank=True)
    received_at = models.DateTimeField(default=timezone.now)
    supersedes = models.OneToOneField(
        "self", models.PROTECT, null=True, blank=True, related_name="superseded_by"
    )

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["assignment", "client_key"], name="a_posted_judgment_is_stored_once"
            ),
            models.UniqueConstraint(
                fields=["assignment"], condition=Q(supersedes=None), name="one_first_judgment_per_assignment"
            ),
            models.CheckConstraint(
                condition=Q(strength=None) | Q(strength__range=(0, 3)), name="judgment_strength_is_0_to_3"
            ),
            models.CheckConstraint(
                condition=Q(withdrawn=False) | Q(counted=False), name="the_withdrawn_do_not_count"
            ),
        ]

    def __str__(self) -> str:
        return f"judgment {self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row; a row that is there is never changed."""
        if not self._state.adding:
            raise TypeError("judgments are never changed; write one that supersedes")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: a change is a new row."""
        raise TypeError("judgments are never deleted; write one that supersedes")


class Preference(models.Model):
    """An ordered or tied pair of responses that a standing judgment implies.

    Derived from the judgment in the same transaction, and gone when it is superseded.
    """

    judgment = models.ForeignKey(Judgment, models.CASCADE, related_name="preferences")
    chosen = models.ForeignKey(Response, models.PROTECT, related_name="+")
    rejected = models.ForeignKey(Response, models.PROTECT, related_name="+")
    tie = models.BooleanField(default=False)  # then chosen is simply the one shown first
    weight = models.FloatField(default=1)  # 1 / (K - 1), so each judgment counts alike

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["judgment", "chosen", "rejected"], name="one_preference_per_pair"
            ),
            models.CheckConstraint(condition=~Q(chosen=F("rejected")), name="a_preference_has_two_responses"),
        ]

    def __str__(self) -> str:
        return f"{self.chosen_id} {'=' if self.tie else '>'} {self.rejected_id}"


class AuditEvent(models.Model):
    """Who did what that matters later: signing in, roles, downloads. Append only."""

    at = models.DateTimeField(default=timezone.now)
    actor = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    project = models.ForeignKey(Project, models.SET_NULL, null=True, blank=True, related_name="+")
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
