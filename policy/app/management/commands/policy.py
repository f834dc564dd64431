"""`manage.py policy`: a model of one's own as a project's policy."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from annotate.management.projects import add_project_argument, project_named
from annotate.models import Project
from lm.config import ConfigError
from policy.app.models import Policy
from policy.app.rounds import sample_base
from policy.app.storage import add_policy
from runs.models import RefusedError


class Command(BaseCommand):
    """`manage.py policy add --project demo --name starter --model DIR --base`, `list --project demo`."""

    help = "Add a model folder to a project as a policy, or list the project's policies."

    def add_arguments(self, parser: CommandParser) -> None:
        """One subcommand for each thing to do."""
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="the project's policies, the oldest first")
        add = commands.add_parser("add", help="copy a model folder and add it as a policy")
        for command in (listing, add):
            add_project_argument(command)
        add.add_argument("--name", required=True, help="what the policy is called")
        add.add_argument("--model", required=True, type=Path, help="folder with its config and weights")
        add.add_argument("--base", action="store_true", help="the one that every round starts from")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say in one line why not."""
        project = project_named(options["project"])
        if options["command"] == "list":
            return self.list(project)
        try:
            with transaction.atomic():
                policy = add_policy(project, options["name"], options["model"], base=options["base"])
                if options["base"]:
                    sample_base(policy, by="the command line")
        except (ConfigError, RefusedError, OSError) as error:
            raise CommandError(str(error)) from error
        return self.stdout.write(f"policy {policy} of {project.slug}, model {policy.digest[:12]}")

    def list(self, project: Project) -> None:
        """One line a policy."""
        for policy in Policy.objects.filter(project=project).order_by("pk"):
            kl = "" if policy.kl_from_base is None else f"  {policy.kl_from_base:.2f} nats from the base"
            model = policy.model or "its words only"
            self.stdout.write(f"{policy}  {policy.get_kind_display().lower()}  {model}{kl}")
