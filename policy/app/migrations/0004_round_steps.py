import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0001_runs"),
        ("policy", "0003_rounds"),
    ]

    operations = [
        migrations.CreateModel(
            name="RoundStep",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "name",
                    models.CharField(
                        choices=[
                            ("samples", "Samples of the base"),
                            ("reward_model", "Reward model"),
                            ("best_of_n", "Best of n"),
                            ("ppo", "PPO"),
                            ("comparisons", "Fresh comparisons"),
                        ],
                        max_length=20,
                    ),
                ),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "round",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="steps", to="policy.round"
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="runs.run"
                    ),
                ),
            ],
            options={
                "ordering": ["pk"],
                "constraints": [
                    models.UniqueConstraint(fields=("round", "run"), name="a_run_is_one_step_of_a_round"),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("name__in", ["samples", "reward_model", "best_of_n", "ppo", "comparisons"])
                        ),
                        name="step_name_is_known",
                    ),
                ],
            },
        ),
    ]
