"""`manage.py signin_link`: a one-time link that signs a person in."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.management.projects import project_named
from annotate.models import AuditEvent, Membership, Role, SignInLink, User


class Command(BaseCommand):
    """Make a one-time sign-in link, and the person if there is none of that name."""

    help = "Print a link that signs one person in, once, within 15 minutes."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who, and where as what; or one link for each role of the demo project."""
        parser.add_argument("name", nargs="?", help="the person's name; made if it is new")
        parser.add_argument("--project", help="slug of the project to work in")
        parser.add_argument("--role", choices=Role.values, help="role in that project")
        parser.add_argument(
            "--demo", action="store_true", help="links for a rater, an admin and a researcher of the demo"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print `name address`, a line a link."""
        if options["demo"]:
            people = [(role, "demo", role) for role in (Role.RATER, Role.ADMIN, Role.RESEARCHER)]
        elif options["name"]:
            people = [(options["name"], options["project"], options["role"])]
        else:
            raise CommandError("say whose link: a name, or --demo")
        for name, slug, role in people:
            self.stdout.write(f"{name} {link_for(name, slug, role)}")


@transaction.atomic
def link_for(name: str, slug: str | None, role: str | None) -> str:
    """A fresh link for the person of this name, who is given the role if one is named."""
    if bool(slug) != bool(role):
        raise CommandError("--project and --role go together")
    project = project_named(slug) if slug else None
    user = User.objects.filter(username=name).first()
    if user is None:
        if project is None:
            raise CommandError(f"there is nobody called {name!r}; name a --project and --role to invite them")
        user = User(username=name)
        user.set_unusable_password()
        user.full_clean()
        user.save()
    if not user.is_active:
        raise CommandError(f"{name} may not sign in: the account is closed")
    if project is not None and role is not None:
        had = Membership.objects.filter(user=user, project=project).first()
        if had is not None and had.role != role:
            raise CommandError(f"{name} is {had.role} of {slug}; one person has one role in a project")
        Membership.objects.get_or_create(user=user, project=project, defaults={"role": role})
    AuditEvent.record("link-made", user, project)
    return f"{settings.PUBLIC_URL}/sign-in/{SignInLink.issue(user)}/"
