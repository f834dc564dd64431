"""`manage.py project`: make a project, or change its name, settings and guidelines."""

import json
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.models import Guideline, Project


class Command(BaseCommand):
    """Make or change a project."""

    help = "Make a project, or change one: what is not named stays as it is."

    def add_arguments(self, parser: CommandParser) -> None:
        """Which project, and what of it."""
        parser.add_argument("slug", help="its name in addresses and files")
        parser.add_argument("--name", help="its name on pages")
        parser.add_argument(
            "--guidelines", type=Path, help="Markdown for raters; a changed text is a new version"
        )
        parser.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as overlap=3"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Save it, all or nothing, and say what it is now."""
        try:
            project = save(
                options["slug"], options["name"], options["guidelines"], read_settings(options["set"])
            )
        except ValidationError as error:
            faults = [f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items()]
            raise CommandError(" ".join(faults)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error)) from error
        guideline = project.guideline
        version = f"guideline version {guideline.version}" if guideline else "no guideline"
        self.stdout.write(f"{project.slug}: {project.name}, {version}, {project.rules}")


def read_settings(texts: list[str]) -> dict[str, Any]:
    """Settings from `name=value`; values are JSON."""
    found = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            raise CommandError(f"--set {text}: {value!r} is no number, true or false") from error
    return found


@transaction.atomic
def save(slug: str, name: str | None, guidelines: Path | None, changes: dict[str, Any]) -> Project:
    """Make the project if it is new, then change what was named."""
    project = Project.objects.filter(slug=slug).first() or Project(slug=slug, name=name or slug)
    project.name = name or project.name
    project.settings = {**project.settings, **changes}
    project.full_clean()
    project.save()
    if guidelines is not None:
        text = guidelines.read_text(encoding="utf-8")
        former = project.guideline
        if former is None or former.text != text:
            Guideline.objects.create(project=project, version=former.version + 1 if former else 1, text=text)
    return project
