"""The models that a reward model can start from; apps that know models provide them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from annotate.models import Project
from runs.models import Run


@dataclass(frozen=True, slots=True)
class Base:
    """A model to start from, and where its files are."""

    key: str  # its folder in a run's `input/`
    name: str
    folder: Path
    meaning: str = ""  # what it is to the project
    run: Run | None = None  # which made it
    samples: Path | None = None  # run of policy.sample: its responses set mean and deviation of rewards


Provider = Callable[[Project], Iterable[Base]]
_providers: list[Provider] = []


def provide(provider: Provider) -> None:
    """Register what names a project's models, the recommended first; called from an app's `ready`."""
    _providers.append(provider)


def of_project(project: Project) -> list[Base]:
    """The models that a run of this project can start from."""
    return [base for provider in _providers for base in provider(project)]


def of_run(run: Run, project: Project) -> Base | None:
    """The model that a run started from, if its project still has it."""
    key = Path(str(run.config.get("model", ""))).name
    return next((base for base in of_project(project) if base.key == key), None)
