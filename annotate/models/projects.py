"""A project: its settings, its guidelines, what it asks of its people and what is brought into it."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from functools import lru_cache
from typing import Any, Self

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone

from annotate.models.people import Membership, Role
from annotate.settings import ProjectSettings
from lm.config import ConfigError, from_json

SPLITS = (("train", 0.8), ("rm_holdout", 0.1), ("policy_eval", 0.1))  # shares of the prompt clusters


@lru_cache(maxsize=256)
def _read(settings: str) -> ProjectSettings:
    """The settings of some project; they are read at every judgment and change rarely."""
    return from_json(ProjectSettings, json.loads(settings))


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
    preset = models.CharField(max_length=30, blank=True)  # what it was made from
    archived_at = models.DateTimeField(null=True, blank=True)  # read only, and out of sight
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
        return _read(json.dumps(self.settings))

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


class BackgroundQuestion(models.Model):
    """What a project asks its raters about themselves; every question may be left unanswered."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="background_questions")
    name = models.SlugField(max_length=40)
    text = models.CharField(max_length=200)
    options = models.JSONField()  # texts to choose from; "prefer not to say" is always beside them
    several = models.BooleanField(default=False)  # more than one may hold
    declared = models.JSONField(default=dict, blank=True)  # option to share among the product's users
    position = models.PositiveSmallIntegerField(default=0)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_question_per_name"),
        ]

    def __str__(self) -> str:
        return self.text


class BackgroundAnswer(models.Model):
    """One person's answer, kept apart from judgments: under a pseudonym that only the project can make."""

    question = models.ForeignKey(BackgroundQuestion, models.CASCADE, related_name="answers")
    person = models.CharField(max_length=64)  # project.keyed("background", user id)
    options = models.JSONField()  # those chosen; an empty list: prefers not to say
    consented_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["question", "person"], name="one_answer_per_question"),
        ]

    def __str__(self) -> str:
        return f"answer to {self.question_id}"


class Upload(models.Model):
    """A file that an admin brings in: looked at first, then imported by a job."""

    class Kind(models.TextChoices):
        """What its rows are."""

        PROMPTS = "prompts"
        COMPARISONS = "comparisons"
        JUDGMENTS = "judgments"
        DEMONSTRATIONS = "demonstrations"

    project = models.ForeignKey(Project, models.CASCADE, related_name="uploads")
    kind = models.CharField(max_length=20, choices=Kind)
    name = models.CharField(max_length=200)  # as the person's file was called
    path = models.CharField(max_length=500)  # below the data directory
    size = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    preview = models.JSONField(default=dict, blank=True)  # what a first look found
    options = models.JSONField(default=dict, blank=True)  # what the person chose
    made_by = models.ForeignKey("annotate.User", models.SET_NULL, null=True, related_name="+")
    made_at = models.DateTimeField(default=timezone.now)
    run = models.ForeignKey("runs.Run", models.SET_NULL, null=True, blank=True, related_name="+")

    def __str__(self) -> str:
        return self.name


class QualityFigures(models.Model):
    """What was known of a project's judgments at a time; a job computes it, pages show the latest."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="quality_figures")
    batch = models.CharField(max_length=100, blank=True)  # one round's; empty: all
    computed_at = models.DateTimeField(default=timezone.now)
    judgments = models.PositiveIntegerField(default=0)
    values = models.JSONField()
    run = models.ForeignKey("runs.Run", models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["project", "batch", "-computed_at"], name="latest_figures")]

    def __str__(self) -> str:
        return f"figures of {self.project_id} at {self.computed_at}"
