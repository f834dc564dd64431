import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0001_labeling"),
        ("rewards", "0001_reward_models"),
        ("policy", "0002_model_files"),
    ]

    operations = [
        migrations.CreateModel(
            name="Round",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField()),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("labeling", "Waits for raters and a decision"),
                            ("promoted", "Promoted"),
                            ("rejected", "Rejected"),
                            ("stopped", "Stopped"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("settings", models.JSONField(blank=True, default=dict)),
                ("identical", models.JSONField(blank=True, default=dict)),
                ("started_by", models.CharField(blank=True, max_length=150)),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("decided_at", models.DateTimeField(blank=True, null=True)),
                ("note", models.TextField(blank=True)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                (
                    "project",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="rounds",
                        to="annotate.project",
                    ),
                ),
                (
                    "base",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="policy.policy"
                    ),
                ),
                (
                    "opponent",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="policy.policy",
                    ),
                ),
                (
                    "reward_model",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="rewards.rewardmodel",
                    ),
                ),
                (
                    "warm",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="policy.policy",
                    ),
                ),
                (
                    "policy",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="rounds",
                        to="policy.policy",
                    ),
                ),
            ],
            options={
                "ordering": ["project", "number"],
                "constraints": [
                    models.UniqueConstraint(fields=("project", "number"), name="rounds_are_numbered_once"),
                    models.UniqueConstraint(
                        fields=("project",),
                        condition=models.Q(("state__in", ("running", "labeling"))),
                        name="one_undecided_round_per_project",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("state__in", ["running", "labeling", "promoted", "rejected", "stopped"])
                        ),
                        name="round_state_is_known",
                    ),
                ],
            },
        ),
    ]
