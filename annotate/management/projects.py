"""The project that a command is about."""

from django.core.management.base import CommandError, CommandParser

from annotate.models import Project


def add_project_argument(parser: CommandParser) -> None:
    """Let a command be told its project."""
    parser.add_argument("--project", required=True, help="slug of the project")


def project_named(slug: str) -> Project:
    """The project of this slug; a name that nobody has ends the command."""
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"there is no project {slug!r}")
    return project
