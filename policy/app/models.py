"""Policies, and which of them wrote which response."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from annotate.models import Project, Response


class PolicyKind(models.TextChoices):
    """How a policy came to be."""

    BASE = "base"
    SFT = "sft"
    PPO = "ppo"
    DPO = "dpo"
    GRPO = "grpo"
    IMPORTED = "imported"


class Policy(models.Model):
    """A model that answers prompts."""

    project = models.ForeignKey(Project, models.CASCADE, related_name="policies")
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=PolicyKind)
    parent = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="children")
    run = models.ForeignKey("runs.Run", models.PROTECT, null=True, blank=True, related_name="+")
    kl_from_base = models.FloatField(null=True, blank=True)  # nats a response
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_policy_per_name"),
            models.CheckConstraint(condition=Q(kind__in=PolicyKind.values), name="policy_kind_is_known"),
        ]

    def __str__(self) -> str:
        return self.name


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
