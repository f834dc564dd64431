"""What people write themselves: from scratch or from a sampled response, reviewed by another person."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from annotate.models.asking import Prompt, Response
from annotate.models.people import User
from annotate.models.projects import Guideline, Project


class DemonstrationState(models.TextChoices):
    """Where a demonstration stands."""

    OPEN = "open"  # leased to its author, who writes; without an author, a text laid out for the next one
    SUBMITTED = "submitted"  # waits for a review
    SENT_BACK = "sent_back"  # with a note; waits for its author
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    GIVEN_UP = "given_up"  # skipped, or its lease ran out before a word was sent


class Demonstration(models.Model):
    """A response that a person writes to a prompt; its versions hold what was sent."""

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)  # the one id that reaches a page
    project = models.ForeignKey(Project, models.CASCADE, related_name="demonstrations")
    prompt = models.ForeignKey(Prompt, models.PROTECT, related_name="demonstrations")
    source = models.ForeignKey(
        Response, models.PROTECT, null=True, blank=True, related_name="+"
    )  # edited, not fresh
    author = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="demonstrations")
    state = models.CharField(max_length=10, choices=DemonstrationState, default=DemonstrationState.OPEN)
    imported = models.BooleanField(default=False)  # came in by a file, and has no author here
    draft = models.TextField(blank=True)
    draft_saved_at = models.DateTimeField(null=True, blank=True)
    offered_at = models.DateTimeField(default=timezone.now)
    leased_until = models.DateTimeField(null=True, blank=True)
    reviewer = models.ForeignKey(User, models.PROTECT, null=True, blank=True, related_name="+")
    review_until = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "author"],
                condition=Q(author__isnull=False),
                name="one_demonstration_per_author",
            ),
            models.CheckConstraint(
                condition=Q(state__in=DemonstrationState.values), name="demonstration_state_is_known"
            ),
            models.CheckConstraint(
                condition=~Q(reviewer=F("author")) | Q(reviewer=None), name="nobody_reviews_their_own"
            ),
        ]
        indexes = [
            models.Index(fields=["project", "state", "offered_at"], name="demonstrations_by_state"),
        ]

    def __str__(self) -> str:
        return f"demonstration {self.key}"


class DemonstrationVersion(models.Model):
    """What the author sent, once; a change is another version."""

    demonstration = models.ForeignKey(Demonstration, models.CASCADE, related_name="versions")
    number = models.PositiveSmallIntegerField()
    text = models.TextField()
    difference = models.JSONField(null=True, blank=True)  # from the source: what was kept, left out and added
    guideline = models.ForeignKey(Guideline, models.PROTECT, null=True, blank=True, related_name="+")
    client_key = models.UUIDField()
    active_ms = models.PositiveIntegerField(null=True, blank=True)
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(fields=["demonstration", "number"], name="one_version_per_number"),
            models.UniqueConstraint(
                fields=["demonstration", "client_key"], name="a_sent_version_is_stored_once"
            ),
        ]

    def __str__(self) -> str:
        return f"version {self.number} of {self.demonstration_id}"


class DemonstrationReview(models.Model):
    """What another person said of a version."""

    class Verdict(models.TextChoices):
        """Taken, back to its author, or not."""

        ACCEPT = "accept"
        SEND_BACK = "send_back"
        REJECT = "reject"

    version = models.OneToOneField(DemonstrationVersion, models.CASCADE, related_name="review")
    reviewer = models.ForeignKey(User, models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=10, choices=Verdict)
    note = models.CharField(max_length=2000, blank=True)
    client_key = models.UUIDField()
    at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.verdict} of {self.version_id}"
