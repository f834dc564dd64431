"""`manage.py simulate_raters`: robots with a known taste judge over HTTP, as people do."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.projects import add_project_argument, project_named
from annotate.simulation import robot_links
from lm.config import from_json


class Command(BaseCommand):
    """Let robots judge."""

    help = "Let robot raters judge a project at the running server; their judgments are marked as simulated."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who judges what, and how."""
        add_project_argument(parser)
        parser.add_argument("--raters", type=int, default=20)
        parser.add_argument("--judgments", type=int, default=0, help="0: until nothing is left")
        parser.add_argument("--world", default="crowd", help="names a taste and a population at once")
        parser.add_argument("--taste", help="left out, the world's")
        parser.add_argument("--population", help="left out, the world's")
        parser.add_argument("--pace", type=float, default=0.0, help="1 takes the time that people take")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--url", default=settings.PUBLIC_URL, help="address of the server")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the robots against the server and print what they did."""
        try:
            from worlds.config import SimulationConfig  # noqa: PLC0415, only this command needs numpy
            from worlds.session import simulate  # noqa: PLC0415
        except ImportError as error:
            raise CommandError(
                "robots need numpy: pip install --require-hashes -r requirements/data.txt"
            ) from error
        project = project_named(options["project"])
        names = ("raters", "judgments", "world", "taste", "population", "pace", "seed")
        try:
            values = {"project": project.slug, "base_url": options["url"]}
            config = from_json(SimulationConfig, values | {name: options[name] for name in names})
            result = simulate(config, robot_links(project, config.raters), self._report)
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{result['judgments']} judgments by {result['raters']} robots")

    def _report(self, **metrics: Any) -> None:
        self.stdout.write(f"{metrics['step']} of {metrics['total'] or 'all'}")
