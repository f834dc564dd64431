"""The kind of job that fits a reward model to all judgments of a project."""

from collections.abc import Callable
from pathlib import Path

from annotate.exchange import pairs
from annotate.models import Project
from lm import records
from lm.run_directory import RunDirectory
from rewards.app.models import PAIRS, RewardModel
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
        write_pairs(project_of(run), directory.path / PAIRS)
        for callback in _before:
            callback(run, directory)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the reward model and let the round go on."""
        found = directory.result()
        reward_model = RewardModel.objects.create(
            project=project_of(run),
            run=run,
            trunk=found["trunk"],
            judgments=found["judgments"],
            pairs=found["pairs"],
            accuracy=found.get("eval_accuracy"),
            accuracy_low=found.get("eval_accuracy_low"),
            accuracy_high=found.get("eval_accuracy_high"),
            figures=found,
        )
        for callback in _after:
            callback(run, reward_model)


def project_of(run: Run) -> Project:
    """The project that a run belongs to."""
    return Project.objects.get(slug=run.scope.removeprefix("project:"))


def write_pairs(project: Project, file: Path) -> None:
    """Write every preference of the project's standing judgments, unless the file is there already."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        records.write(file, pairs(project))
