"""Reward models, each the result of one run."""

from pathlib import Path

from django.db import models
from django.utils import timezone

from annotate.models import Project

PAIRS = Path("input") / "pairs.jsonl"


class RewardModel(models.Model):
    """What predicts the raters' preferences; its files lie in the directory of its run."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="reward_models")
    run = models.OneToOneField("runs.Run", models.PROTECT, related_name="+")
    trunk = models.CharField(max_length=64, blank=True)  # digest of the model that its head reads
    judgments = models.PositiveIntegerField()
    pairs = models.PositiveIntegerField()
    accuracy = models.FloatField(null=True, blank=True)  # on held-out judgments, with its 95 % interval
    accuracy_low = models.FloatField(null=True, blank=True)
    accuracy_high = models.FloatField(null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True)  # all that the run found
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"reward model of run {self.run_id}"

    @property
    def folder(self) -> Path:
        """Where its model files are."""
        return self.run.directory.path / "model"

    @property
    def pairs_file(self) -> Path:
        """The preferences that it learned from, as they were."""
        return self.run.directory.path / PAIRS
