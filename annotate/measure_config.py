"""What the figures of quality are asked for; pages import this, so no numpy."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """Measure the judgments in input/judged.jsonl."""

    project: Annotated[str, "slug of the project, to tell whose figures these are"] = ""
    batch: Annotated[str, "the round or import that these judgments belong to; empty is all"] = ""
    people_only: Annotated[bool, "leave out what simulated raters said"] = False
    resamples: Annotated[int, "draws behind each bootstrap interval"] = 1000
    seed: Annotated[int, "of these draws"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 100 <= self.resamples <= 100_000:
            raise ValueError(f"resamples must be 100 to 100000, not {self.resamples}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
