"""Who may see which runs: an app that knows people provides the answer, for `runs` knows only scopes."""

from collections.abc import Callable
from typing import Any

Provider = Callable[[Any], set[str] | None]
_providers: list[Provider] = []


def provide(provider: Provider) -> None:
    """Register what tells a user's scopes; without a provider nobody sees anything."""
    _providers.append(provider)


def scopes_of(user: Any) -> set[str]:
    """The scopes whose runs a user may see and steer; empty for nobody's admin."""
    return {scope for provider in _providers for scope in provider(user) or ()}
