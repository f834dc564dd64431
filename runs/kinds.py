"""A kind of run: what an app declares so that `runs` can carry it out, once for each sort of job."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lm.run_directory import RunDirectory

if TYPE_CHECKING:
    from runs.models import Run


class Kind:
    """The config, the program to start, and what to do before and after it. One instance is registered."""

    name: str  # in the database and on the command line
    title: str  # on pages
    config: type[Any]  # a frozen dataclass, see lm.config
    module: str  # started as `python -m MODULE --config F --output DIR --token N [--resume]`
    queue: str = "train"  # or "light": which worker takes it
    max_runtime: timedelta = timedelta(days=7)  # of all attempts together, pauses not counted

    def prepare(self, run: "Run", directory: RunDirectory) -> None:
        """Write what the program needs into `directory.path / "input"`; called before each attempt.

        The lease is not renewed meanwhile: what takes more than some seconds is the program's work.
        """

    def take_in(self, run: "Run", directory: RunDirectory) -> Iterator[tuple[int, int]]:
        """Store in parts what would take too long for `finish`; gives how much of how much is stored by then.

        Called when the program has ended well, outside of any transaction. Between two parts the lease is
        renewed and a wish to stop is heard; another attempt then begins anew, so a part that is stored
        already must do no harm.
        """
        yield from ()

    def finish(self, run: "Run", directory: RunDirectory) -> None:
        """Store what was found; called in the transaction that marks the run as succeeded."""

    def page(self, run: "Run") -> str:
        """The address of what came of a run that succeeded, for its page to point at; empty: nowhere."""
        return ""


class UnknownKindError(LookupError):
    """No app has registered a kind of this name."""


_kinds: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind known; called from an app's `ready`."""
    _kinds[kind.name] = kind


def get(name: str) -> Kind:
    """The kind of this name."""
    try:
        return _kinds[name]
    except KeyError:
        raise UnknownKindError(f"no kind of run is called {name!r}; there are {', '.join(_kinds)}") from None


def page(run: "Run") -> str:
    """Where what came of the run is shown; empty as long as there is nothing, and when its app is gone."""
    return _kinds[run.kind].page(run) if run.state == "succeeded" and run.kind in _kinds else ""


def title(name: str) -> str:
    """What people call the kind, also when its app is gone."""
    return _kinds[name].title if name in _kinds else name
