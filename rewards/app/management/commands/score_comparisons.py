"""`manage.py score_comparisons`: let the reward model in use decide what is asked first."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.projects import add_project_argument, project_named
from rewards.app import scoring
from runs.models import RefusedError


class Command(BaseCommand):
    """Queue the run; a worker of the queue "train" carries it out."""

    help = "Score the comparisons that wait in the stratum active, so that the most telling is asked first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project."""
        add_project_argument(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Queue it and say its number."""
        try:
            run = scoring.start(project_named(options["project"]), by="the command line")
        except RefusedError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"run {run.pk} scores what waits in {options['project']}")
