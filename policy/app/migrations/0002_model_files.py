from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("policy", "0001_policies"),
    ]

    operations = [
        migrations.AddField(
            model_name="policy",
            name="model",
            field=models.CharField(blank=True, max_length=200),
        ),
        migrations.AddField(
            model_name="policy",
            name="digest",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddConstraint(
            model_name="policy",
            constraint=models.UniqueConstraint(
                fields=("project",), condition=models.Q(("kind", "base")), name="one_base_per_project"
            ),
        ),
    ]
