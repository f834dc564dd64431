"""How near-duplicate prompts are found; pages import this, so no numpy."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinsConfig:
    """Find the prompts in input/prompts.jsonl that are nearly the same."""

    project: Annotated[str, "slug of the project, to tell whose prompts these are"] = ""
    threshold: Annotated[float, "share of five-letter pieces that two prompts have in common"] = 0.7
    seed: Annotated[int, "of the hash functions"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 0.5 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; it must be 0.5 to 1")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
