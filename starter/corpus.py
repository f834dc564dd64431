"""Write the text that the starter learns from: conversations about notes, and drills in reading them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated

from lm.config import parse
from lm.records import Conversation, Message, write
from starter.scenes import Mix, Scene, ask, ask_again, respond, scene

TURNS = {"pretrain": 7, "sft": 4}  # questions about the same notes, as many as a row of tokens has room for
DRILLS = 0.45, 0.04  # share of drills at the start, and from the point below on
DRILLS_LEVEL_OFF = 0.6
DRILL_TURNS = 26
MIXED = 0.7  # share of explanations whose facts belong to others


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusConfig:
    """One corpus."""

    output: Annotated[Path, "the file to write"]
    mix: Annotated[Mix, "how often responses are good and bad in each way; pretrain has drills, too"] = (
        "pretrain"
    )
    rows: Annotated[int, "how many rows, each about notes of its own"] = 1000
    seed: Annotated[int, "draws all rows"] = 1

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.rows < 1:
            raise ValueError(f"rows must be 1 or more, not {self.rows}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


def rows(mix: Mix, count: int, seed: int) -> Iterator[Conversation]:
    """The rows of a corpus; early ones are often drills, which teach to read the notes."""
    chance = Random(f"{mix} {seed}")
    for number in range(count):
        is_drill = mix == "pretrain" and chance.random() < drill_share(number / count)
        yield drill(chance) if is_drill else conversation(chance, mix)


def drill_share(progress: float) -> float:
    """How often a row is a drill, when this share of the rows is written."""
    first, last = DRILLS
    return first + (last - first) * min(1.0, progress / DRILLS_LEVEL_OFF)


def conversation(chance: Random, mix: Mix) -> Conversation:
    """Notes, then one question after the other about them, each answered in a style of its own."""
    about = scene(chance, two_turns=0, mixed=MIXED)
    messages, properties = [Message(role="system", content=about.notes)], []
    for turn in range(TURNS[mix]):
        if turn:
            about = ask(chance, about) if chance.random() < 0.3 else ask_again(chance, about)
        written = respond(chance, about, mix)
        messages += _turn(about.question, written.text)
        properties.append(written.properties)
    return Conversation(messages=tuple(messages), properties=tuple(properties))


def drill(chance: Random) -> Conversation:
    """Notes, then keys and their values and nothing else, over and over."""
    about: Scene = scene(chance, two_turns=0, mixed=MIXED)
    facts: list[tuple[str, str]] = []
    while len(facts) < DRILL_TURNS:
        facts += chance.sample(about.facts, len(about.facts))
    messages = [Message(role="system", content=about.notes)]
    for key, value in facts:
        messages += _turn(f"{key}?", value)
    return Conversation(messages=tuple(messages), properties=(None,) * len(facts))


def _turn(question: str, response: str) -> tuple[Message, Message]:
    return Message(role="user", content=question), Message(role="assistant", content=response)


def main() -> None:
    """Write the file and say how much is in it."""
    config = parse(CorpusConfig)
    print(f"{write(config.output, rows(config.mix, config.rows, config.seed))} rows in {config.output}")


if __name__ == "__main__":
    main()
