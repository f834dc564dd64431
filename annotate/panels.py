"""Parts of a project's page that other apps provide, for `annotate` knows no model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from annotate.access import PersonRequest
from annotate.models import Project


@dataclass(frozen=True, slots=True)
class Panel:
    """A template, which finds what it shows as `panel.context`."""

    template: str
    context: dict[str, Any] = field(default_factory=dict)


Provider = Callable[[PersonRequest, Project], Panel | None]
_providers: list[Provider] = []


def provide(provider: Provider) -> None:
    """Register what makes a panel; called from an app's `ready`."""
    _providers.append(provider)


def of_project(request: PersonRequest, project: Project) -> list[Panel]:
    """The panels that this person's page of the project shows."""
    found = (provider(request, project) for provider in _providers)
    return [panel for panel in found if panel is not None]
