"""Reward models, each the result of one run, and which of them a project uses."""

from __future__ import annotations

from pathlib import Path

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotate.models import Project

PAIRS = Path("input") / "pairs.jsonl"


class RewardModelState(models.TextChoices):
    """What was decided about a reward model."""

    CANDIDATE = "candidate", "Candidate"
    PROMOTED = "promoted", "Promoted"
    RETIRED = "retired", "Retired"


class RewardModelQuerySet(models.QuerySet["RewardModel"]):
    """Reward models in the plural."""

    def promoted_of(self, project: Project) -> RewardModel | None:
        """The one that an admin has chosen to be used; a round trains its own."""
        return self.filter(project=project, state=RewardModelState.PROMOTED).first()

    def in_use(self, project: Project) -> RewardModel | None:
        """What scores waiting comparisons: the promoted one, else the newest that isn't retired.

        None where its files are gone.
        """
        candidates = self.filter(project=project).exclude(state=RewardModelState.RETIRED)
        found = self.promoted_of(project) or candidates.select_related("run").order_by("-pk").first()
        return found if found is not None and found.folder.is_dir() else None

    def before(self, model: RewardModel) -> RewardModel | None:
        """The one that the project had before this one."""
        return self.filter(project=model.project_id, pk__lt=model.pk).order_by("-pk").first()


class RewardModel(models.Model):
    """What predicts the raters' preferences; its files lie in the directory of its run."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="reward_models")
    run = models.OneToOneField("runs.Run", models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=RewardModelState, default=RewardModelState.CANDIDATE)
    decided_by = models.CharField(max_length=150, blank=True)  # who promoted or retired it
    decided_at = models.DateTimeField(null=True, blank=True)
    base = models.CharField(max_length=100, blank=True)  # name of the model that it started from
    base_run = models.ForeignKey(
        "runs.Run", models.PROTECT, null=True, blank=True, related_name="+"
    )  # which made that model
    trunk = models.CharField(max_length=64, blank=True)  # digest of the model that its head reads
    train = models.CharField(max_length=10, blank=True)  # how: head, full, …
    members = models.PositiveSmallIntegerField(null=True, blank=True)
    judgments = models.PositiveIntegerField()
    pairs = models.PositiveIntegerField()
    pairs_sha256 = models.CharField(max_length=64, blank=True)  # of the file that it learned from
    accuracy = models.FloatField(null=True, blank=True)  # on held-out judgments, with its 95 % interval
    accuracy_low = models.FloatField(null=True, blank=True)
    accuracy_high = models.FloatField(null=True, blank=True)
    calibration = models.FloatField(null=True, blank=True)  # slope; 1 is right, below 1 was too sure
    gain = models.FloatField(null=True, blank=True)  # reward = gain * score + bias
    bias = models.FloatField(null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True)  # all that the run found
    created_at = models.DateTimeField(default=timezone.now)

    objects = RewardModelQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project"],
                condition=Q(state=RewardModelState.PROMOTED),
                name="one_promoted_reward_model_per_project",
            ),
            models.CheckConstraint(
                condition=Q(state__in=RewardModelState.values), name="reward_model_state_is_known"
            ),
            models.CheckConstraint(
                condition=(
                    Q(state=RewardModelState.CANDIDATE, decided_at=None)
                    | ~Q(state=RewardModelState.CANDIDATE) & Q(decided_at__isnull=False)
                ),
                name="exactly_a_candidate_is_undecided",
            ),
        ]

    def __str__(self) -> str:
        return f"reward model of run {self.run_id}"

    @property
    def title(self) -> str:
        """What pages call it."""
        return f"Reward model {self.pk}"

    @property
    def folder(self) -> Path:
        """Where its model files are."""
        return self.run.directory.path / "model"

    @property
    def pairs_file(self) -> Path:
        """The preferences that it learned from, as they were."""
        return self.run.directory.path / PAIRS

    def decide(self, state: RewardModelState, by: str) -> None:
        """Note what was decided, and by whom."""
        self.state, self.decided_by, self.decided_at = state, by, timezone.now()
        self.save(update_fields=["state", "decided_by", "decided_at"])


class RewardModelEvaluation(models.Model):
    """Figures of a reward model on pairs that it has not learned from; of one file, for two to compare."""

    reward_model = models.ForeignKey(RewardModel, models.CASCADE, related_name="evaluations")
    run = models.OneToOneField("runs.Run", models.PROTECT, related_name="+")
    pairs_sha256 = models.CharField(max_length=64)
    figures = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["reward_model", "pairs_sha256"], name="one_evaluation_per_model_and_file"
            ),
        ]

    def __str__(self) -> str:
        return f"evaluation of {self.reward_model}"
