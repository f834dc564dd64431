"""Write each comparison's responses into the comparison."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def write(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    comparisons = apps.get_model("annotate", "Comparison").objects.filter(response_ids=[])
    compared = apps.get_model("annotate", "ComparedResponse").objects
    for comparison in comparisons.iterator(chunk_size=1000):
        members = compared.filter(comparison=comparison).order_by("position")
        comparison.response_ids = list(members.values_list("response_id", flat=True))
        comparison.save(update_fields=["response_ids"])


class Migration(migrations.Migration):
    dependencies = [("annotate", "0004_writing")]

    operations = [migrations.RunPython(write, migrations.RunPython.noop)]
