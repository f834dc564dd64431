"""`manage.py start_round`: once around the loop, with all judgments so far."""

import dataclasses
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.projects import add_project_argument, project_named
from lm.config import from_json, settings_of
from policy.app import rounds
from policy.app.management.following import follow_round
from policy.app.settings import RoundSettings
from runs.models import RefusedError


class Command(BaseCommand):
    """Start a round, and wait for its fresh comparisons if asked to."""

    help = "Start a round: reward model, best of n, PPO, fresh comparisons."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project; every setting of a round."""
        add_project_argument(parser)
        parser.add_argument("--wait", action="store_true", help="until its comparisons are out")
        for setting in settings_of(RoundSettings):
            flag = "--" + setting.name.replace("_", "-")
            parser.add_argument(flag, type=setting.kind, default=setting.default, help=setting.help)

    def handle(self, *args: Any, **options: Any) -> None:
        """Start it; with --wait, say how far it is."""
        project = project_named(options["project"])
        names = [field.name for field in dataclasses.fields(RoundSettings)]
        try:
            settings = from_json(RoundSettings, {name: options[name] for name in names})
            round = rounds.start(project, by="the command line", settings=settings)
        except (ValueError, RefusedError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"round {round.number} of {project.slug} is started")
        if options["wait"]:
            follow_round(round, self.stdout.write)
            out = project.comparisons.filter(batch=round.batch).count()
            self.stdout.write(f"{out} fresh comparisons are out")
