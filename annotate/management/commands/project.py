"""`manage.py project`: make a project, or change its name, settings and guidelines."""

import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.models import Guideline, Project
from annotate.presets import PRESETS, Preset, named
from annotate.settings import ProjectSettings
from lm.config import settings_of


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
            "--preset", help="what a new project begins with: " + ", ".join(one.name for one in PRESETS)
        )
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help='a setting, such as overlap=3, scheme=ranking or criteria=["honest", "kind"]',
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Save it, all or nothing, and say what it is now."""
        try:
            project = save(
                options["slug"],
                options["name"],
                options["guidelines"],
                read_settings(options["set"]),
                preset=_preset(options["preset"], options["slug"]),
            )
        except ValidationError as error:
            faults = [f"{field}: {' '.join(texts)}" for field, texts in error.message_dict.items()]
            raise CommandError(" ".join(faults)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(str(error)) from error
        guideline = project.guideline
        version = f"guideline version {guideline.version}" if guideline else "no guideline"
        self.stdout.write(f"{project.slug}: {project.name}, {version}, {project.rules}")


def _preset(name: str | None, slug: str) -> Preset | None:
    """The preset of this name, for a project that is not there yet."""
    if name is None:
        return None
    preset = named(name)
    if preset is None:
        raise CommandError(f"there is no preset {name!r}; there are {', '.join(one.name for one in PRESETS)}")
    if Project.objects.filter(slug=slug).exists():
        raise CommandError(f"{slug} exists; a preset is what a new project begins with")
    return preset


def read_settings(texts: list[str]) -> dict[str, Any]:
    """Settings from `name=value`; values are JSON, and what is text may be written without quotes."""
    kinds = {setting.name: setting.kind for setting in settings_of(ProjectSettings)}
    found: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError as error:
            kind = kinds.get(name)
            if kind is not str and not (get_origin(kind) is Literal and str in map(type, get_args(kind))):
                wanted = "list of texts in quotes" if get_origin(kind) is tuple else "number, true or false"
                raise CommandError(f"--set {text}: {value!r} is no {wanted}") from error
            found[name] = value
    return found


@transaction.atomic
def save(
    slug: str,
    name: str | None,
    guidelines: Path | None,
    changes: dict[str, Any],
    *,
    preset: Preset | None = None,
) -> Project:
    """Make the project if it is new, then change what was named."""
    project = Project.objects.filter(slug=slug).first() or Project(slug=slug, name=name or slug)
    if preset is not None:
        project.preset, project.settings = preset.name, dict(preset.values)
    project.name = name or project.name
    project.settings = {**project.settings, **changes}
    project.full_clean()
    project.save()
    text = guidelines.read_text(encoding="utf-8") if guidelines else preset.guidelines if preset else None
    if text is not None:
        former = project.guideline
        if former is None or former.text != text:
            Guideline.objects.create(project=project, version=former.version + 1 if former else 1, text=text)
    return project
