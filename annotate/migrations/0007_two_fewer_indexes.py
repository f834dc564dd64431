"""Drop two more indexes that another begins with: every import paid for them."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("annotate", "0006_fewer_indexes"),
    ]

    operations = [
        migrations.AlterField(
            model_name="prompt",
            name="project",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="prompts",
                to="annotate.project",
            ),
        ),
        migrations.AlterField(
            model_name="response",
            name="prompt",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="responses",
                to="annotate.prompt",
            ),
        ),
    ]
