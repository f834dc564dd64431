"""`manage.py prepare`: all that must be done before the first page, in one process."""

import hashlib
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from annotate.models import Project
from config.environment import refuse
from config.startup import database_gap


class Command(BaseCommand):
    """Bring database and static files up to date, and print sign-in links of the demo project."""

    help = "Migrate, collect static files, load the demo into an empty database, print one-time links."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What can be left out."""
        parser.add_argument("--without-demo", action="store_true", help="load no demo, print no links")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is not done yet; each step leaves alone what is as it should be."""
        try:
            if database_gap():
                self.stdout.write("migrating the database")
                call_command("migrate", interactive=False, verbosity=0)
                if gap := database_gap():
                    refuse(gap)
        except OperationalError as error:
            raise CommandError(f"the database can't be opened: {error}".strip()) from error
        self.collect_static_files()
        if not options["without_demo"]:
            call_command("demo", if_empty=True, stdout=self.stdout, stderr=self.stderr)
            self.print_links()

    def print_links(self) -> None:
        """Print links of the demo's people, where there is a demo and they may still sign in."""
        if Project.objects.filter(slug="demo").exists():
            try:
                call_command("signin_link", demo=True, stdout=self.stdout, stderr=self.stderr)
            except CommandError as error:
                self.stdout.write(str(error))

    def collect_static_files(self) -> None:
        """Gather and compress the files of pages if one has changed since the last time."""
        if settings.DEBUG:  # then they are served from where they are
            return
        mark = settings.DATA_DIR / "static.mark"
        state = _static_state()
        collected = settings.STATIC_ROOT.is_dir() and mark.is_file() and mark.read_text() == state
        if not collected:
            self.stdout.write("collecting static files")
            call_command("collectstatic", interactive=False, verbosity=0)
            mark.write_text(state)


def _static_state() -> str:
    """A digest of the names, sizes and times of all static files."""
    digest = hashlib.sha256(settings.STORAGES["staticfiles"]["BACKEND"].encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            status = (settings.BASE_DIR / storage.path(path)).stat()
            digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
