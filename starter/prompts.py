"""Write prompts for the starter: scenes' conversations up to the question."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

from lm.config import parse
from lm.records import Prompt, write
from starter.scenes import Scene, scene


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptsConfig:
    """One file of prompts."""

    output: Annotated[Path, "the file to write"] = Path("prompts.jsonl")
    count: Annotated[int, "how many prompts, no two alike"] = 100
    seed: Annotated[int, "draws the prompts"] = 1
    held_out: Annotated[bool, "about the tenth of all names that training never sees"] = False

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 1 <= self.count <= 100_000:
            raise ValueError(f"count must be 1 to 100000, not {self.count}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


def scenes(count: int, seed: int, *, held_out: bool = False) -> Iterator[Scene]:
    """As many scenes, no two of them alike."""
    chance = Random(f"prompts {seed}")
    seen: set[Scene] = set()
    while len(seen) < count:
        drawn = scene(chance, held_out=held_out)
        if drawn not in seen:
            seen.add(drawn)
            yield drawn


def prompts(count: int, seed: int, *, held_out: bool = False) -> Iterator[Prompt]:
    """The scenes as prompts, each with its domain as a tag."""
    for number, about in enumerate(scenes(count, seed, held_out=held_out), start=1):
        yield Prompt(prompt_id=f"{about.domain}-{number:04}", messages=about.messages, tags=(about.domain,))


def main() -> None:
    """Write the file and say how much is in it."""
    config = parse(PromptsConfig)
    found = prompts(config.count, config.seed, held_out=config.held_out)
    print(f"{write(config.output, found)} prompts in {config.output}")


if __name__ == "__main__":
    main()
