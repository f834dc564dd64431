"""`manage.py import_demonstrations`: demonstrations.jsonl into a project."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.demonstrations import import_demonstrations
from annotate.exchange import ImportFileError
from annotate.management.projects import add_project_argument, project_named
from lm import records


class Command(BaseCommand):
    """Read demonstrations, all or none."""

    help = "Add the demonstrations of a demonstrations.jsonl, accepted; a faulty line stops the whole file."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, which project."""
        parser.add_argument("file", type=Path)
        add_project_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say how many were new."""
        project = project_named(options["project"])
        try:
            new = import_demonstrations(project, options["file"])
        except (records.RecordError, ImportFileError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{new} new demonstrations in {project.slug}")
