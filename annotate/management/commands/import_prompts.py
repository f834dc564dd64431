"""`manage.py import_prompts`: a file of prompts into a project."""

from annotate.management.imports import FileImportCommand


class Command(FileImportCommand):
    """Read prompts."""

    help = "Add prompts from JSONL, CSV or Parquet to a project; a faulty line stops the whole file."
    kind = "prompts"
