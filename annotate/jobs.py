"""The labeling half's kinds of jobs."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta

from annotate import clusters, projects, quality_job, uploads
from annotate.deletion import DeletionConfig
from annotate.import_config import ImportConfig
from annotate.measure_config import MeasureConfig
from annotate.models import AuditEvent, Project
from annotate.simulation import robot_links
from annotate.twins_config import TwinsConfig
from lm.run_directory import RunDirectory
from runs.kinds import Kind
from runs.models import Run
from worlds.config import SimulationConfig


class SimulatedRaters(Kind):
    """Robot raters sign in and judge what is open in a demo project."""

    name = "simulated-raters"
    title = "Simulated raters"
    config = SimulationConfig
    module = "worlds.session"
    queue = "light"
    max_runtime = timedelta(hours=1)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Give each robot a link of its own; those of an earlier attempt are used up."""
        project = Project.objects.get(slug=run.config["project"])
        links = robot_links(project, run.config["raters"])
        file = directory.path / "input" / "raters.json"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(json.dumps(links), encoding="utf-8")
        file.chmod(0o600)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Note who judged."""
        project = Project.objects.get(slug=run.config["project"])
        AuditEvent.record("simulated", None, project, run=run.pk, **directory.result())


class ProjectDeletion(Kind):
    """Delete a large project with everything in it, after the program has said that nothing is in the way."""

    name = "project-deletion"
    title = "Project deletion"
    config = DeletionConfig
    module = "annotate.deletion"
    queue = "light"
    max_runtime = timedelta(hours=6)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Delete the rows, in the transaction that marks the run as done."""
        project = Project.objects.filter(slug=run.config["project"]).first()
        if project is not None:
            projects.delete_rows(project)


class ImportPreview(Kind):
    """Look through an uploaded file: what would come in, and what is wrong with the rest."""

    name = uploads.PREVIEW
    title = "Look through a file"
    config = ImportConfig
    module = "annotate.import_check"
    queue = "light"
    max_runtime = timedelta(hours=1)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the file."""
        uploads.hand_over(run, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Keep what was found."""
        uploads.note_preview(run, directory)


class FileImport(Kind):
    """Check an uploaded file again and store its good rows."""

    name = uploads.IMPORT
    title = "Import"
    config = ImportConfig
    module = "annotate.import_check"
    queue = "light"
    max_runtime = timedelta(hours=6)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the file."""
        uploads.hand_over(run, directory)

    def take_in(self, run: Run, directory: RunDirectory) -> Iterator[tuple[int, int]]:
        """Store the rows, some hundred in a transaction."""
        return uploads.store(run, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Keep what came of it."""
        uploads.conclude(run, directory)


class PromptTwins(Kind):
    """Find near-duplicate prompts and put each cluster of them into one split."""

    name = clusters.KIND
    title = "Near-duplicate prompts"
    config = TwinsConfig
    module = "annotate.twins"
    queue = "light"
    max_runtime = timedelta(hours=6)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Write the prompts."""
        project = Project.objects.get(slug=run.config["project"])
        clusters.write_prompts(project, directory.path / "input" / "prompts.jsonl")

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Move those that nobody has judged."""
        project = Project.objects.get(slug=run.config["project"])
        moved = clusters.apply(project, directory.result()["clusters"])
        AuditEvent.record("clustered prompts", None, project, run=run.pk, **asdict(moved))


class QualityMeasurement(Kind):
    """Measure agreement, biases, time and each rater's reliability."""

    name = quality_job.KIND
    title = "Quality"
    config = MeasureConfig
    module = "annotate.measure"
    queue = "light"
    max_runtime = timedelta(hours=2)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Write the judgments."""
        quality_job.write_input(run, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Keep the figures, and give raters their weights."""
        quality_job.store(run, directory)
