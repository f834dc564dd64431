"""What is asked and of whom: prompts, responses, comparisons, and their leases to raters."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from annotate.models.people import User
from annotate.models.projects import Guideline, Project

if TYPE_CHECKING:
    from annotate.models.judging import Judgment


_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


def content_hash(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(_canonical(value).encode()).hexdigest()


class Prompt(models.Model):
    """What a model is asked: a conversation that ends with a person's turn."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="prompts", db_index=False)
    name = models.CharField(max_length=200)  # prompt_id in files
    messages = models.JSONField()  # [{"role", "content"}…]
    tags = models.JSONField(default=list, blank=True)
    cluster = models.CharField(max_length=64)  # near-duplicates share one, and so a split
    split = models.CharField(max_length=20)
    content_hash = models.CharField(max_length=64)
    demonstrations_wanted = models.PositiveSmallIntegerField(default=0)
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_prompt_per_name"),
            models.UniqueConstraint(fields=["project", "content_hash"], name="one_prompt_per_content"),
        ]
        indexes = [
            models.Index(
                fields=["project", "content_hash"],
                name="prompts_that_want_writers",
                condition=Q(demonstrations_wanted__gt=0, withdrawn_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Response(models.Model):
    """One answer to a prompt; the same words twice are one response."""

    prompt = models.ForeignKey(Prompt, models.CASCADE, related_name="responses", db_index=False)
    text = models.TextField()
    content_hash = models.CharField(max_length=64)
    flags = models.JSONField(default=list, blank=True)
    author = models.ForeignKey(
        User, models.PROTECT, null=True, blank=True, related_name="+"
    )  # a person's words
    withdrawn_at = models.DateTimeField(null=True, blank=True)
    withdrawn_reason = models.CharField(max_length=200, blank=True)
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
    PROBE = "probe"
    LADDER = "ladder"
    CONTROL = "control"
    EVALUATION = "evaluation"
    AA = "aa"
    TRAINING = "training"  # an example with an explanation, for those who begin
    QUALIFICATION = "qualification"  # a known answer, before the queue opens to a rater


class Comparison(models.Model):
    """Two to nine responses to one prompt, to be judged side by side.

    What decides whether, when and by whom it is judged is drawn when it is made and kept,
    for without it nothing computed from chosen comparisons is unbiased.
    """

    project = models.ForeignKey(Project, models.CASCADE, related_name="comparisons")
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="comparisons")
    responses = models.ManyToManyField(Response, through="ComparedResponse", related_name="comparisons")
    response_ids = models.JSONField(default=list)  # in canonical order, so that leasing needs no join
    purpose = models.CharField(max_length=20, choices=Purpose, default=Purpose.UNIFORM)
    stratum = models.CharField(max_length=20, default="uniform")
    probability = models.FloatField()  # of being chosen into the queue, given the pool
    place = models.FloatField()  # uniform in [0, 1), handed round by score: the queue is asked in this order
    gold = models.JSONField(null=True, blank=True)  # the known answer: an order of response ids
    gold_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    explanation = models.TextField(blank=True)  # training: why the known answer is right
    score = models.FloatField(null=True, blank=True)  # what asking it is worth; other packages write it
    route = models.CharField(max_length=200, blank=True)  # the tags its rater must have, a line each
    batch = models.CharField(max_length=100, blank=True)  # what made it: an import, a round
    wanted = models.PositiveSmallIntegerField(default=1)  # judgments
    places_left = models.PositiveSmallIntegerField(default=1)  # wanted, less those judged or leased
    created_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True, blank=True)  # withdrawn from the queue
    closed_reason = models.CharField(max_length=200, blank=True)  # such as "near-identical"

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
            models.Index(
                fields=["project", "purpose", "place"],
                name="known_answers_in_order",
                condition=Q(purpose__in=["gold", "training", "qualification"], closed_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"comparison {self.pk}"


class ComparedResponse(models.Model):
    """One response of a comparison, at its fixed place in the canonical order (never the order shown)."""

    comparison = models.ForeignKey(Comparison, models.CASCADE, db_index=False)
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


class Rule(models.TextChoices):
    """How a rater came to a comparison."""

    QUEUE = "queue"
    GOLD = "gold"
    REPEAT = "repeat"
    TRAINING = "training"
    QUALIFICATION = "qualification"
    ADJUDICATION = "adjudication"


class Assignment(models.Model):
    """A comparison leased to a rater, in the order of sides as shown."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # the one id that reaches a page
    # An index of two columns, below, begins with each of these.
    comparison = models.ForeignKey(Comparison, models.PROTECT, related_name="assignments", db_index=False)
    rater = models.ForeignKey(User, models.PROTECT, related_name="assignments", db_index=False)
    guideline = models.ForeignKey(Guideline, models.PROTECT, null=True, blank=True, related_name="+")
    state = models.CharField(max_length=10, choices=AssignmentState, default=AssignmentState.OPEN)
    shown = models.JSONField()  # response ids, first to last as shown
    rule = models.CharField(max_length=20, choices=Rule, default=Rule.QUEUE)  # how the rater came to it
    probability = models.FloatField(default=1)  # of this comparison for this rater, given the queue
    since_break = models.PositiveIntegerField(default=0)  # comparisons of this sitting before it
    sitting_at = models.DateTimeField(null=True, blank=True)  # when this sitting began
    exposure = models.PositiveIntegerField(default=0)  # comparisons of the same prompt the rater met before
    holds_place = models.BooleanField(default=True)  # one of the comparison's places is its own
    offered_at = models.DateTimeField(default=timezone.now)
    leased_at = models.DateTimeField(default=timezone.now)  # the latest lease
    leased_until = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "rater"],
                condition=Q(rule__in=["queue", "gold", "adjudication"]),
                name="a_rater_meets_a_comparison_once",
            ),
            models.UniqueConstraint(
                fields=["comparison", "rater"],
                condition=Q(rule="repeat"),
                name="a_comparison_is_repeated_once",
            ),
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
            models.Index(fields=["comparison", "rater"], name="who_met_a_comparison"),
            models.Index(
                fields=["rater", "offered_at"], name="open_ones_of_a_rater", condition=Q(state="open")
            ),
            models.Index(fields=["leased_until"], name="open_leases", condition=Q(state="open")),
        ]

    def __str__(self) -> str:
        return f"assignment {self.key}"

    @property
    def lapsed(self) -> bool:
        """Whether the lease has run out."""
        return self.leased_until <= timezone.now()

    @property
    def fresh(self) -> bool:
        """Whether it is open and was never answered; taking an answer back leaves its mark on `leased_at`."""
        return self.state == AssignmentState.OPEN and self.leased_at == self.offered_at

    @property
    def judgment(self) -> Judgment | None:
        """The judgment that stands, withdrawn or not: the one that nothing supersedes."""
        return self.judgments.filter(superseded_by=None).first()


class FlagKind(models.TextChoices):
    """What is wrong with a response, or with the whole comparison."""

    UNSAFE = "unsafe"
    PERSONAL = "personal"
    IDENTITY = "identity"
    BROKEN = "broken"
    LANGUAGE = "language"
    OFF_TOPIC = "off_topic"
    OTHER = "other"


class Flag(models.Model):
    """A rater's note that something is wrong, apart from the judgment."""

    assignment = models.ForeignKey(Assignment, models.PROTECT, related_name="flags")
    response = models.ForeignKey(Response, models.PROTECT, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=20, choices=FlagKind)
    note = models.CharField(max_length=500, blank=True)
    client_key = models.UUIDField()
    at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.ForeignKey(User, models.SET_NULL, null=True, blank=True, related_name="+")
    resolution = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "client_key"], name="a_posted_flag_is_stored_once"),
            models.CheckConstraint(condition=Q(kind__in=FlagKind.values), name="flag_kind_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.assignment_id}"
