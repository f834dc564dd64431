"""The program of a project's deletion; it has no work of its own, the rows go in one transaction at its end.

    python -m annotate.deletion --config F --output DIR

A program of a run does not know the database; the worker does, and deletes when this has ended well.
"""

from dataclasses import dataclass
from typing import Annotated

from lm.run_directory import command


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionConfig:
    """One project to delete."""

    project: Annotated[str, "slug of the project"]


def main() -> None:
    """Say that there is nothing in the way."""
    config, directory, _ = command(DeletionConfig)
    directory.report(step=1, total=1, phase="delete")
    directory.write_result({"project": config.project})


if __name__ == "__main__":
    main()
