"""`manage.py doctor`: what is wrong here, and what to do."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from config.doctor import examine


class Command(BaseCommand):
    """Look at versions, settings, database, workers, disk and devices."""

    help = "Say what is wrong with this installation and what to do; ends with 1 if something is bad."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        """How to tell it."""
        parser.add_argument("--json", action="store_true", help="for machines")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line a finding, as it is found."""
        colors = {"ok": self.style.SUCCESS, "warn": self.style.WARNING, "bad": self.style.ERROR}
        findings = []
        for check, finding in examine():
            findings.append({"check": check, **asdict(finding)})
            if not options["json"]:
                self.stdout.write(f"{colors[finding.mark](f'{finding.mark:4}')}  {finding.what}")
                if finding.advice:
                    self.stdout.write(f"      {finding.advice}")
        is_well = all(finding["mark"] != "bad" for finding in findings)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": is_well, "findings": findings}, indent=2))
        if not is_well:
            sys.exit(1)
