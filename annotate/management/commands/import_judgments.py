"""`manage.py import_judgments`: a file of judgments into a project."""

from annotate.management.imports import FileImportCommand


class Command(FileImportCommand):
    """Read judgments."""

    help = (
        "Add the judgments of a JSONL, CSV or Parquet file to a project; a faulty line stops the whole file."
    )
    kind = "judgments"
