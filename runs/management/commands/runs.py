"""List, show and steer runs from a shell."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from runs import transitions
from runs.metrics import CONTROL
from runs.models import RefusedError, Run, State

ACTIONS = {
    "cancel": transitions.cancel,
    "pause": transitions.request_pause,
    "resume": transitions.resume,
}


class Command(BaseCommand):
    """`manage.py runs list`, `show 218`, `cancel 218`, `pause 218`, `resume 218`."""

    help = "List, show, cancel, pause or resume runs."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """One subcommand for each thing to do."""
        commands = parser.add_subparsers(dest="command", required=True)
        listing = commands.add_parser("list", help="runs, the newest first")
        listing.add_argument("--state", choices=State.values, help="only those in this state")
        listing.add_argument("--limit", type=int, default=20, help="how many (default 20)")
        commands.add_parser("show", help="one run with its events").add_argument("number", type=int)
        for name in ACTIONS:
            commands.add_parser(name, help=f"{name} a run").add_argument("number", type=int)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say in one line why not."""
        if options["command"] == "list":
            return self.list(options["state"], options["limit"])
        run = Run.objects.filter(pk=options["number"]).first()
        if run is None:
            raise CommandError(f"there is no run {options['number']}")
        if options["command"] == "show":
            return self.show(run)
        try:
            ACTIONS[options["command"]](run, by="the command line")
        except RefusedError as error:
            raise CommandError(str(error)) from None
        return self.line(self.summary(run))

    def list(self, state: str | None, limit: int) -> None:
        """One line a run."""
        found = Run.objects.filter(state=state) if state else Run.objects.all()
        for run in found[: max(limit, 0)]:
            self.line(self.summary(run))

    def show(self, run: Run) -> None:
        """One run with its facts and events."""
        self.line(self.summary(run))
        facts = {"scope": run.scope, "started by": run.started_by, "on": run.host, "config": run.config}
        facts |= {"directory": run.directory.path, "checkpoint": run.checkpoint, "error": run.error_code}
        for name, value in facts.items():
            if value not in ("", None):
                self.line(f"  {name}: {value}")
        for text in run.error_text.splitlines():
            self.line(f"    {text}")
        for event in run.events.all():
            self.line(f"  {event.at:%Y-%m-%d %H:%M:%S}  {event.reason}")

    def summary(self, run: Run) -> str:
        """A run in a line."""
        asked = f" ({run.get_want_display().lower()})" if run.get_want_display() else ""
        return f"{run}  {run.get_state_display().lower()}{asked}  step {run.step} of {run.total}"

    def line(self, text: str) -> None:
        """Write one line in which nothing can steer the terminal."""
        self.stdout.write(CONTROL.sub(lambda found: repr(found.group())[1:-1], text.replace("\n", "\\n")))
