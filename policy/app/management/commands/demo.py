"""`manage.py demo`: the project that a newcomer finds."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.comparisons import draw_pairs
from annotate.exchange import import_prompts
from annotate.models import Guideline, Project
from lm import records
from policy.app.exchange import import_responses

FILES = settings.BASE_DIR / "starter" / "demo"
PAIRS_PER_PROMPT = 3


class Command(BaseCommand):
    """Load the demo project."""

    help = "Load the demo project: prompts, guidelines, responses, and comparisons of them."

    def add_arguments(self, parser: CommandParser) -> None:
        """When to do nothing."""
        parser.add_argument(
            "--if-empty", action="store_true", help="only where the database holds no project"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Load it, all or none."""
        if options["if_empty"] and Project.objects.exists():
            return
        if Project.objects.filter(slug="demo").exists():
            raise CommandError("there is a project demo already")
        self.stdout.write(f"{load_demo()} comparisons in the demo project")


@transaction.atomic
def load_demo() -> int:
    """Make the project from the files of the repository; returns how many comparisons it has."""
    project = Project.objects.create(slug="demo", name="Everyday helper", demo=True)
    text = (FILES / "guidelines.md").read_text(encoding="utf-8")
    Guideline.objects.create(project=project, version=1, text=text)
    import_prompts(project, records.read(FILES / "prompts.jsonl", records.Prompt))
    imported = import_responses(project, records.read(FILES / "responses.jsonl", records.Response))
    return draw_pairs(project, imported.prompts, per_prompt=PAIRS_PER_PROMPT, seed=1, batch="demo")
