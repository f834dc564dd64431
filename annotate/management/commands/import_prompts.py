"""`manage.py import_prompts`: prompts.jsonl into a project."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.exchange import ImportFileError, import_prompts
from annotate.models import Project
from lm import records


class Command(BaseCommand):
    """Read prompts, all or none."""

    help = "Add the prompts of a prompts.jsonl to a project; a faulty line stops the whole file."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, which project."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--project", required=True, help="slug of the project")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say how many were new."""
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            raise CommandError(f"there is no project {options['project']!r}")
        try:
            new = import_prompts(project, records.read(options["file"], records.Prompt))
        except (records.RecordError, ImportFileError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{new} new prompts in {project.slug}")
