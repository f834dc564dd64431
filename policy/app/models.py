"""Policies, which of them wrote which response, and the rounds that make new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotate.models import Comparison, Project, Response
from lm.config import from_json
from policy.app.settings import RoundSettings
from rewards.app.models import RewardModel
from runs.models import Run


class PolicyKind(models.TextChoices):
    """How a policy came to be."""

    BASE = "base"
    SFT = "sft"
    PPO = "ppo"
    DPO = "dpo"
    GRPO = "grpo"
    IMPORTED = "imported"


class PolicyQuerySet(models.QuerySet["Policy"]):
    """Policies in the plural."""

    def base_of(self, project: Project) -> Policy | None:
        """The policy that every round of the project starts from, if its model files are here."""
        return self.filter(project=project, kind=PolicyKind.BASE).exclude(model="").first()

    def free_name(self, project: Project, name: str) -> str:
        """The name, or the name with a number where another policy has it."""
        taken = set(self.filter(project=project, name__startswith=name).values_list("name", flat=True))
        names = (name, *(f"{name} ({number})" for number in range(2, len(taken) + 2)))
        return next(one for one in names if one not in taken)


class Policy(models.Model):
    """A model that answers prompts."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="policies")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=PolicyKind)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    run = models.ForeignKey("runs.Run", models.PROTECT, null=True, blank=True, related_name="+")
    model = models.CharField(max_length=200, blank=True)  # folder in the data directory; "": only its words
    digest = models.CharField(max_length=64, blank=True)  # of a base: lm.model_files.digest
    kl_from_base = models.FloatField(null=True, blank=True)  # nats a response
    created_at = models.DateTimeField(default=timezone.now)

    objects = PolicyQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_policy_per_name"),
            models.UniqueConstraint(
                fields=["project"], condition=Q(kind=PolicyKind.BASE), name="one_base_per_project"
            ),
            models.CheckConstraint(condition=Q(kind__in=PolicyKind.values), name="policy_kind_is_known"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path | None:
        """Where its model files are; None where only its words are known."""
        return settings.DATA_DIR / self.model if self.model else None


class Sample(models.Model):
    """One drawing of a response from a policy; two policies may write the same words."""

    response = models.ForeignKey(Response, models.PROTECT, related_name="samples")
    policy = models.ForeignKey(Policy, models.PROTECT, related_name="samples")
    settings = models.JSONField(default=dict, blank=True)  # temperature and the like
    seed = models.BigIntegerField(null=True, blank=True)
    logprob = models.FloatField(null=True, blank=True)  # of the whole response, in nats
    reward = models.FloatField(null=True, blank=True)  # when it was chosen for comparison
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["response", "policy", "seed"], name="a_drawing_is_kept_once"),
        ]

    def __str__(self) -> str:
        return f"{self.policy} wrote {self.response}"


class RoundState(models.TextChoices):
    """Where a round stands."""

    RUNNING = "running", "Running"
    LABELING = "labeling", "Waits for raters and a decision"
    PROMOTED = "promoted", "Promoted"
    REJECTED = "rejected", "Rejected"
    STOPPED = "stopped", "Stopped"


UNDECIDED = (RoundState.RUNNING, RoundState.LABELING)


class RoundQuerySet(models.QuerySet["Round"]):
    """Rounds in the plural."""

    def undecided(self) -> Self:
        """Those that run or wait for a decision; a project has one at most."""
        return self.filter(state__in=UNDECIDED)


class Round(models.Model):
    """Once around the loop: from all judgments so far to a new policy and fresh comparisons of it."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="rounds")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=RoundState, default=RoundState.RUNNING)
    base = models.ForeignKey(Policy, models.PROTECT, related_name="+")
    opponent = models.ForeignKey(Policy, models.PROTECT, null=True, blank=True, related_name="+")
    reward_model = models.ForeignKey(RewardModel, models.PROTECT, null=True, blank=True, related_name="+")
    warm = models.ForeignKey(Policy, models.PROTECT, null=True, blank=True, related_name="+")
    policy = models.ForeignKey(Policy, models.PROTECT, null=True, blank=True, related_name="rounds")
    settings = models.JSONField(default=dict, blank=True)  # RoundSettings
    identical = models.JSONField(default=dict, blank=True)  # opponent: prompts on which both wrote the same
    started_by = models.CharField(max_length=150, blank=True)
    decided_by = models.CharField(max_length=150, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)  # why it was decided so
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)  # its comparisons were out

    objects = RoundQuerySet.as_manager()

    class Meta:
        ordering = ["project", "number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="rounds_are_numbered_once"),
            models.UniqueConstraint(
                fields=["project"],
                condition=Q(state__in=UNDECIDED),
                name="one_undecided_round_per_project",
            ),
            models.CheckConstraint(condition=Q(state__in=RoundState.values), name="round_state_is_known"),
        ]

    def __str__(self) -> str:
        return f"round {self.number}"

    @property
    def plan(self) -> RoundSettings:
        """The round's settings, checked."""
        return from_json(RoundSettings, self.settings)

    @property
    def batch(self) -> str:
        """What its comparisons are marked with."""
        return f"round {self.number}"

    @property
    def current(self) -> RoundStep:
        """The step that was started last."""
        return self.steps.select_related("run").latest("pk")


class StepName(models.TextChoices):
    """The steps of a round, in order."""

    SAMPLES = "samples", "Samples of the base"
    REWARD_MODEL = "reward_model", "Reward model"
    BEST_OF_N = "best_of_n", "Best of n"
    PPO = "ppo", "PPO"
    COMPARISONS = "comparisons", "Fresh comparisons"


class RoundStep(models.Model):
    """A step of a round and the run that carries it out; a step tried again is a new row."""

    round = models.ForeignKey(Round, models.CASCADE, related_name="steps")
    name = models.CharField(max_length=20, choices=StepName)
    run = models.ForeignKey(Run, models.PROTECT, related_name="+")  # samples of the base serve many rounds
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(fields=["round", "run"], name="a_run_is_one_step_of_a_round"),
            models.CheckConstraint(condition=Q(name__in=StepName.values), name="step_name_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.round}"


class Evaluation(models.Model):
    """A comparison that decides on a round's policy: which response is its own, and who wrote the other."""

    round = models.ForeignKey(Round, models.CASCADE, related_name="evaluations")
    comparison = models.OneToOneField(Comparison, models.CASCADE, related_name="+")
    response = models.ForeignKey(Response, models.PROTECT, related_name="+")  # the new policy's
    opponent = models.ForeignKey(Policy, models.PROTECT, related_name="+")

    def __str__(self) -> str:
        return f"{self.comparison} in {self.round}"
