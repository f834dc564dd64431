"""What an import is asked for; pages offer these fields, so only the standard library is here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """Check a file's rows and bring the good ones into a project."""

    upload: Annotated[int, "the upload that it is about"] = 0
    file: Annotated[Path, "JSONL, CSV or Parquet; JSONL and CSV may be packed with gzip"]
    kind: Annotated[Literal["prompts", "comparisons", "judgments"], "what its rows are"] = "comparisons"
    columns: Annotated[tuple[str, ...], "our field=the file's column, where they differ"] = ()
    ignored: Annotated[tuple[str, ...], "columns that are not used"] = ()
    guess: Annotated[bool, "tell columns by common names, and leave out the others"] = False
    bad_lines: Annotated[Literal["none", "skip"], "with faulty lines nothing comes in, or all but them"] = (
        "none"
    )
    batch: Annotated[str, "name under which the comparisons stand in the queue"] = ""
    seed: Annotated[int, "of places in the queue and of what more raters judge"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for text in self.columns:
            field, equals, column = text.partition("=")
            if not (field and equals and column):
                raise ValueError(f"columns holds {text!r}; it must be field=column")
        if len(self.batch) > 100:
            raise ValueError(f"batch has {len(self.batch)} characters; it must have at most 100")

    @property
    def mapping(self) -> dict[str, str]:
        """The file's column for each of our fields that is named otherwise there."""
        return dict(text.split("=", 1) for text in self.columns)
