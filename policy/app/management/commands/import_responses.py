"""`manage.py import_responses`: responses.jsonl into a project, and comparisons of them into its queue."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.comparisons import draw_pairs
from annotate.exchange import ImportFileError
from annotate.management.projects import add_project_argument, project_named
from lm import records
from policy.app.exchange import import_responses


class Command(BaseCommand):
    """Read responses, all or none."""

    help = "Add the responses of a responses.jsonl to a project and queue pairs of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, which project, how many pairs."""
        parser.add_argument("file", type=Path)
        add_project_argument(parser)
        parser.add_argument(
            "--pairs-per-prompt", type=int, default=1, help="comparisons to queue for each prompt"
        )
        parser.add_argument(
            "--seed", type=int, default=0, help="draws the pairs and their places in the queue"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, queue, and say how many of each."""
        project = project_named(options["project"])
        if options["pairs_per_prompt"] < 0:
            raise CommandError(f"--pairs-per-prompt is {options['pairs_per_prompt']}; it must be 0 or more")
        try:
            with transaction.atomic():
                imported = import_responses(project, records.read(options["file"], records.Response))
                queued = draw_pairs(
                    project,
                    imported.prompts,
                    per_prompt=options["pairs_per_prompt"],
                    seed=options["seed"],
                    batch=f"import:{options['file'].name}",
                )
        except (records.RecordError, ImportFileError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{imported.responses} new responses and {queued} comparisons in {project.slug}")
