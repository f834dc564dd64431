import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0007_two_fewer_indexes"),
        ("rewards", "0001_reward_models"),
        ("runs", "0001_runs"),
    ]

    operations = [
        migrations.AddField(
            model_name="rewardmodel",
            name="base",
            field=models.CharField(blank=True, max_length=100),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="base_run",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="runs.run",
            ),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="bias",
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="calibration",
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="decided_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="decided_by",
            field=models.CharField(blank=True, max_length=150),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="gain",
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="members",
            field=models.PositiveSmallIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="pairs_sha256",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="state",
            field=models.CharField(
                choices=[("candidate", "Candidate"), ("promoted", "Promoted"), ("retired", "Retired")],
                default="candidate",
                max_length=10,
            ),
        ),
        migrations.AddField(
            model_name="rewardmodel",
            name="train",
            field=models.CharField(blank=True, max_length=10),
        ),
        migrations.AddConstraint(
            model_name="rewardmodel",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "promoted")),
                fields=("project",),
                name="one_promoted_reward_model_per_project",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewardmodel",
            constraint=models.CheckConstraint(
                condition=models.Q(("state__in", ["candidate", "promoted", "retired"])),
                name="reward_model_state_is_known",
            ),
        ),
        migrations.AddConstraint(
            model_name="rewardmodel",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("decided_at", None), ("state", "candidate")),
                    models.Q(models.Q(("state", "candidate"), _negated=True), ("decided_at__isnull", False)),
                    _connector="OR",
                ),
                name="exactly_a_candidate_is_undecided",
            ),
        ),
    ]
