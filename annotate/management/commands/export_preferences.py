"""`manage.py export_preferences`: a project's preferences as pairs.jsonl."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.exchange import pairs
from annotate.management.projects import add_project_argument, project_named
from lm import records


class Command(BaseCommand):
    """Write pairs.jsonl."""

    help = "Write every preference of a project to a file, one JSON object a line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, which file."""
        parser.add_argument("file", type=Path)
        add_project_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write beside the file, then rename: a reader never meets half of it."""
        project = project_named(options["project"])
        try:
            records.write(options["file"], pairs(project))
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"preferences of {project.slug} in {options['file']}")
