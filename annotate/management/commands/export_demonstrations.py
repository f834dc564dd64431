"""`manage.py export_demonstrations`: a project's accepted demonstrations as demonstrations.jsonl."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.demonstrations import demonstrations
from annotate.management.projects import add_project_argument, project_named
from lm import records


class Command(BaseCommand):
    """Write demonstrations.jsonl."""

    help = "Write every accepted demonstration of a project to a file, one JSON object a line."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, which file."""
        parser.add_argument("file", type=Path)
        add_project_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write beside the file, then rename: a reader never meets half of it."""
        project = project_named(options["project"])
        try:
            written = records.write(options["file"], demonstrations(project))
        except OSError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{written} demonstrations of {project.slug} in {options['file']}")
