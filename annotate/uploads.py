"""A file that an admin brings in: kept under a name of ours, looked through, then imported by a job."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import StopUpload, TemporaryFileUploadHandler
from django.db.models import Sum

from annotate import clusters, importing
from annotate.import_check import BAD, GOOD
from annotate.import_config import ImportConfig
from annotate.import_formats import FileError, ending_of
from annotate.models import AuditEvent, Project, Upload, User
from lm.run_directory import RunDirectory
from runs.models import RefusedError, Run

SIZE_LIMIT = 200 * 1024**2  # bytes of one file
PROJECT_LIMIT = 2 * 1024**3  # bytes of all files of a project
FOLDER = "uploads"  # below the data directory
STORED = "stored.jsonl"  # what each transaction of an import did
TOO_LARGE = "rankloop.upload_too_large"  # in a request whose file was thrown away
PREVIEW, IMPORT = "import-preview", "import"


class LimitedUpload(TemporaryFileUploadHandler):
    """Takes a file up to the limit; the rest of a larger one is read and thrown away."""

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes | None:
        """Write to the temporary file, for as long as there is room for it."""
        if start + len(raw_data) > SIZE_LIMIT:
            self.request.META[TOO_LARGE] = True  # type: ignore[union-attr]
            raise StopUpload(connection_reset=False)
        super().receive_data_chunk(raw_data, start)
        return None


def keep(project: Project, kind: str, file: UploadedFile[Any], person: User) -> Upload:
    """Store a file and begin to look through it; FileError says why it is not taken."""
    name = Path(file.name or "").name[-200:]
    ending = ending_of(name)
    size = file.size or 0
    if not size:
        raise FileError("the file is empty")
    if size > SIZE_LIMIT:
        raise FileError(f"the file has {size >> 20} MB; at most {SIZE_LIMIT >> 20} are taken")
    held = project.uploads.aggregate(held=Sum("size"))["held"] or 0
    if held + size > PROJECT_LIMIT:
        raise FileError(f"the project’s files would be over {PROJECT_LIMIT >> 30} GB together")
    path = Path(FOLDER) / f"{uuid4()}{ending}"
    upload = Upload.objects.create(
        project=project,
        kind=kind,
        name=name,
        path=str(path),
        size=size,
        sha256=_written(file, settings.DATA_DIR / path),
        made_by=person,
    )
    look_through(upload, {}, person)
    AuditEvent.record("uploaded", person, project, file=name, kind=kind, sha256=upload.sha256)
    return upload


def look_through(upload: Upload, options: Mapping[str, Any], person: User) -> Run:
    """Queue a look at the file with these columns, or with guessed ones."""
    return _start(upload, PREVIEW, {**options, "guess": not options}, f"upload:{upload.pk}", person)


def bring_in(upload: Upload, options: Mapping[str, Any], person: User) -> Run:
    """Queue the import; RefusedError where another import of the project is under way."""
    upload.options = dict(options)
    return _start(upload, IMPORT, options, f"{IMPORT}:{upload.project.slug}", person)


def _start(upload: Upload, kind: str, options: Mapping[str, Any], slot: str, person: User) -> Run:
    config = {
        "upload": upload.pk,
        "file": f"input/{Path(upload.path).name}",
        "kind": upload.kind,
        "batch": f"import {upload.pk}",
        "seed": upload.pk,
        **options,
    }
    upload.run = Run.objects.start(
        kind, config=config, scope=upload.project.scope, slot=slot, started_by=person.get_username()
    )
    upload.save(update_fields=["run", "options"])
    return upload.run


def hand_over(run: Run, directory: RunDirectory) -> None:
    """Put the file into the run's `input/`, where its program finds it."""
    upload = upload_of(run)
    target = directory.path / "input" / Path(upload.path).name
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(settings.DATA_DIR / upload.path, target)


def note_preview(run: Run, directory: RunDirectory) -> None:
    """Keep what the look has found beside the upload."""
    upload = upload_of(run)
    upload.preview = directory.result()
    upload.save(update_fields=["preview"])


def store(run: Run, directory: RunDirectory) -> Iterator[tuple[int, int]]:
    """Store the good rows, a transaction at a time; what was stored by an earlier attempt is passed over."""
    found = directory.result()
    if found["fault"] or (found["bad"] and run.config["bad_lines"] == "none"):
        return
    project, journal = upload_of(run).project, directory.path / STORED
    done = sum(tally["rows"] for tally in _journal(journal))
    rows = importing.read_rows(directory.path / GOOD, skip=done)
    if not done and run.config["bad_lines"] == "none":
        taken = importing.conflicts(project, importing.read_rows(directory.path / GOOD))
        if taken:
            _append(journal, {**importing.Tally().to_json(), "refused": len(taken), "conflicts": taken})
            return
    steps = importing.take_in(
        project,
        run.config["kind"],
        rows,
        batch=run.config["batch"],
        seed=run.config["seed"],
        first=done // importing.BATCH,
    )
    for tally in steps:
        _append(journal, tally.to_json())
        done += tally.rows
        yield done, found["good"]


def conclude(run: Run, directory: RunDirectory) -> None:
    """Keep what came of the import, and look for near-duplicates of the new prompts."""
    upload = upload_of(run)
    outcome = outcome_of(directory)
    upload.preview = {**directory.result(), "outcome": outcome}
    upload.save(update_fields=["preview"])
    counts = {name: outcome[name] for name in ("new", "known", "identical", "held_back", "refused", "bad")}
    AuditEvent.record(
        "imported", upload.made_by, upload.project, file=upload.name, kind=upload.kind, **counts
    )
    if outcome["prompts"]:
        with contextlib.suppress(RefusedError):  # one is under way
            clusters.start(upload.project, started_by=run.started_by)


def outcome_of(directory: RunDirectory) -> dict[str, Any]:
    """What an import has done, also one that was stopped."""
    tally = importing.Tally()
    for step in _journal(directory.path / STORED):
        splits = step.pop("splits")
        tally.add(importing.Tally(**step))
        tally.splits.update(splits)
    found = directory.result() if directory.has_result() else {"good": 0, "bad": 0, "fault": ""}
    nothing = not tally.rows and bool(found["fault"] or found["bad"] or tally.refused)
    return {**tally.to_json(), **{name: found[name] for name in ("good", "bad", "fault")}, "nothing": nothing}


def faults(upload: Upload) -> Iterator[tuple[int, str, str]]:
    """Line, field and problem of every row that can't come in."""
    if upload.run is None:
        return
    directory = upload.run.directory
    with contextlib.suppress(FileNotFoundError), (directory.path / BAD).open("rb") as file:
        for line in file:
            bad = json.loads(line)
            yield bad["line"], bad["field"], bad["problem"]
    for step in _journal(directory.path / STORED):
        for conflict in step["conflicts"]:
            yield conflict["line"], conflict["field"], conflict["problem"]


def upload_of(run: Run) -> Upload:
    """The upload that a run is about."""
    return Upload.objects.select_related("project", "made_by").get(pk=run.config["upload"])


def options_of(columns: Mapping[str, str], *, bad_lines: str) -> dict[str, Any]:
    """What a person chose, as the config has it: our field for each of the file's columns, or nothing."""
    config = ImportConfig(
        file=Path("input"),
        columns=tuple(f"{name}={column}" for column, name in columns.items() if name),
        ignored=tuple(column for column, name in columns.items() if not name),
        bad_lines="skip" if bad_lines == "skip" else "none",
    )
    chosen = asdict(config)
    return {name: chosen[name] for name in ("columns", "ignored", "bad_lines")}


def _written(file: UploadedFile[Any], path: Path) -> str:
    """Write the file for us alone; its SHA-256."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("xb") as out:
        path.chmod(0o600)
        for chunk in file.chunks():
            digest.update(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def _journal(path: Path) -> list[dict[str, Any]]:
    """The whole lines; a kill may have left half of the last one."""
    found = []
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
    return found


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")
