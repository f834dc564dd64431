"""Drop what no query needs: an index of one column where one of two columns begins with it."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0005_response_ids"),
    ]

    operations = [
        migrations.AlterField(
            model_name="assignment",
            name="comparison",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="assignments",
                to="annotate.comparison",
            ),
        ),
        migrations.AlterField(
            model_name="assignment",
            name="rater",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="assignments",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="comparedresponse",
            name="comparison",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.CASCADE, to="annotate.comparison"
            ),
        ),
        # Django would take this constraint's index for that of the field, and drop it with it.
        migrations.RemoveConstraint("judgment", "one_first_judgment_per_assignment"),
        migrations.AlterField(
            model_name="judgment",
            name="assignment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="judgments",
                to="annotate.assignment",
            ),
        ),
        migrations.AddConstraint(
            "judgment",
            models.UniqueConstraint(
                condition=models.Q(supersedes=None),
                fields=["assignment"],
                name="one_first_judgment_per_assignment",
            ),
        ),
        migrations.AlterField(
            model_name="preference",
            name="judgment",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="preferences",
                to="annotate.judgment",
            ),
        ),
    ]
