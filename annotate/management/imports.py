"""What the commands share that bring a file into a project."""

import json
import tempfile
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate import importing
from annotate.import_check import GOOD, Bad, Checked
from annotate.import_config import ImportConfig
from annotate.import_formats import FileError
from annotate.management.projects import add_project_argument, project_named
from annotate.models import AuditEvent

ERRORS = 20  # printed


class FileImportCommand(BaseCommand):
    """Check a file, then store its rows; with a faulty line nothing, unless it is to be skipped."""

    kind: str

    def add_arguments(self, parser: CommandParser) -> None:
        """Which file, which project, which columns, and what happens to faulty lines."""
        parser.add_argument("file", type=Path, help="JSONL, CSV or Parquet")
        add_project_argument(parser)
        parser.add_argument(
            "--column",
            action="append",
            default=[],
            metavar="FIELD=COLUMN",
            help="where a column is named otherwise",
        )
        parser.add_argument("--ignore", action="append", default=[], metavar="COLUMN", help="not used")
        parser.add_argument("--skip-bad", action="store_true", help="let the good lines in")
        parser.add_argument("--batch", default="import", help="name of these comparisons in the queue")

    def handle(self, *args: Any, **options: Any) -> None:
        """Import and say what came of it."""
        project = project_named(options["project"])
        try:
            config = ImportConfig(
                file=options["file"],
                kind=self.kind,  # type: ignore[arg-type]
                columns=tuple(options["column"]),
                ignored=tuple(options["ignore"]),
                bad_lines="skip" if options["skip_bad"] else "none",
                batch=options["batch"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from error
        with tempfile.TemporaryDirectory() as folder:
            good = Path(folder) / GOOD
            bad = self._check(config, good)
            if config.bad_lines == "none":
                taken = bad or [
                    Bad(one["line"], one["field"], one["problem"])
                    for one in importing.conflicts(project, importing.read_rows(good))
                ]
                if taken:
                    raise CommandError(self._said(config.file, taken))
            tally = importing.Tally()
            for step in importing.take_in(project, self.kind, importing.read_rows(good), batch=config.batch):
                tally.add(step)
        counts = tally.to_json()
        AuditEvent.record(
            "imported",
            None,
            project,
            file=config.file.name,
            kind=self.kind,
            bad=len(bad),
            **{name: counts[name] for name in ("new", "known", "identical", "held_back", "refused")},
        )
        bad += [Bad(one["line"], one["field"], one["problem"]) for one in tally.conflicts]
        if bad:
            self.stderr.write(self._said(config.file, bad))
        self.stdout.write(f"{tally.new} new {self.kind} in {project.slug}{self._rest(tally)}")

    def _check(self, config: ImportConfig, good: Path) -> list[Bad]:
        checked = Checked(config)
        bad = []
        try:
            with good.open("w", encoding="utf-8") as file:
                for _, _, found in checked.rows(config.file):
                    if isinstance(found, Bad):
                        bad.append(found)
                    else:
                        file.write(json.dumps([found.line, found.record.to_json()]) + "\n")
        except (FileError, OSError) as error:
            raise CommandError(f"{config.file}: {error}") from error
        return bad

    def _said(self, file: Path, bad: list[Bad]) -> str:
        lines = [
            f"{file}, line {one.line}: {one.field + ': ' if one.field else ''}{one.problem}"
            for one in bad[:ERRORS]
        ]
        return "\n".join([*lines, *([f"and {len(bad) - ERRORS} more"] if len(bad) > ERRORS else [])])

    def _rest(self, tally: importing.Tally) -> str:
        said = {
            "known already": tally.known,
            "with the same text twice": tally.identical,
            "held back as near-identical": tally.held_back,
            "whose prompt_id is taken": tally.refused,
        }
        return "".join(f", {count} {words}" for words, count in said.items() if count)
