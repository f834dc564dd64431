"""The kind of job that fits a reward model to all judgments of a project."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from django.urls import reverse

from annotate.exchange import pairs
from annotate.models import Project
from lm import records
from lm.config import ConfigError
from lm.run_directory import RunDirectory
from rewards.app import bases
from rewards.app.models import PAIRS, RewardModel
from rewards.app.starting import SAMPLES
from rewards.config import RewardConfig
from runs.kinds import Kind
from runs.models import Run

Before = Callable[[Run, RunDirectory], None]
After = Callable[[Run, RewardModel], None]
_before: list[Before] = []
_after: list[After] = []


def before(callback: Before) -> None:
    """Register what brings the base model and its samples into a run's `input/`, before each attempt."""
    _before.append(callback)


def after(callback: After) -> None:
    """Register what goes on once a reward model is there, in the transaction that stores it."""
    _after.append(callback)


class RewardModelTraining(Kind):
    """Fit a reward model to the judgments that stand when the first attempt starts."""

    name = "reward-model"
    title = "Reward model"
    config = RewardConfig
    module = "rewards.train"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Write the preferences, once; bring the models."""
        project, simulated = project_of(run), run.config.get("simulated", True)
        relies = not run.config.get("raters", True)  # a trainer that weighs raters must not get them weighed
        write_pairs(project, directory.path / PAIRS, simulated=simulated, reliance=relies)
        for callback in _before:
            callback(run, directory)
        if base := bases.of_run(run, project):
            bring_base(base, run, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the reward model and let the round go on."""
        project, found = project_of(run), directory.result()
        base = bases.of_run(run, project)
        reward_model = RewardModel.objects.create(
            project=project,
            run=run,
            base=base.name if base else "",
            base_run=base.run if base else None,
            trunk=found["trunk"],
            train=found.get("train") or "",
            members=found.get("members"),
            judgments=found["judgments"],
            pairs=found["pairs"],
            pairs_sha256=digest(directory.path / PAIRS),
            accuracy=found.get("eval_accuracy"),
            accuracy_low=found.get("eval_accuracy_low"),
            accuracy_high=found.get("eval_accuracy_high"),
            calibration=found.get("calibration_slope"),
            gain=found.get("gain"),
            bias=found.get("bias"),
            figures=found,
        )
        for callback in _after:
            callback(run, reward_model)

    def page(self, run: Run) -> str:
        """The page of the reward model that came of it."""
        model = RewardModel.objects.filter(run=run).select_related("project").first()
        return reverse("rewards:model", args=[model.project.slug, model.pk]) if model else ""


def project_of(run: Run) -> Project:
    """The project that a run belongs to."""
    return Project.objects.get(slug=run.scope.removeprefix("project:"))


def write_pairs(project: Project, file: Path, *, simulated: bool = True, reliance: bool) -> None:
    """Write every preference of the project's standing judgments, unless the file is there already."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = pairs(project, reliance=reliance)
        records.write(file, (pair for pair in found if simulated or not pair.simulated))


def bring_base(base: bases.Base, run: Run, directory: RunDirectory) -> None:
    """Bring the model's files, and the samples that set the mean and deviation of rewards."""
    if not base.folder.is_dir():
        raise ConfigError(f"model is {base.name!r}, which has no model files at {base.folder}")
    directory.bring(base.folder, base.key)
    if base.samples and run.config["samples"] == str(SAMPLES):
        directory.bring(base.samples, SAMPLES.name)


def digest(file: Path) -> str:
    """The SHA-256 of a file; empty where it is gone."""
    if not file.is_file():
        return ""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
