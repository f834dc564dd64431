"""The labeling half's kinds of jobs."""

import json
from datetime import timedelta

from annotate.models import AuditEvent, Project
from annotate.simulation import robot_links
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
