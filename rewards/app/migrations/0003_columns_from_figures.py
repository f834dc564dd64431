"""Copy what has a column of its own now out of the figures of earlier reward models."""

from django.db import migrations

COLUMNS = {
    "train": "train",
    "members": "members",
    "calibration": "calibration_slope",
    "gain": "gain",
    "bias": "bias",
}


def fill(apps, schema_editor):
    models = apps.get_model("rewards", "RewardModel").objects.using(schema_editor.connection.alias)
    for model in models.iterator(chunk_size=500):
        for column, figure in COLUMNS.items():
            if model.figures.get(figure) is not None:
                setattr(model, column, model.figures[figure])
        model.save(update_fields=list(COLUMNS))


class Migration(migrations.Migration):
    dependencies = [("rewards", "0002_reward_model_states")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
