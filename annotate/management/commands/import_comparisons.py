"""`manage.py import_comparisons`: a file of comparisons into a project."""

from annotate.management.imports import FileImportCommand


class Command(FileImportCommand):
    """Read comparisons."""

    help = "Add comparisons from JSONL, CSV or Parquet to a project; a faulty line stops the whole file."
    kind = "comparisons"
