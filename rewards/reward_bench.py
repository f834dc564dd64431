"""Files like RewardBench's: a prompt, what is right and what is wrong, scored by subset.

A line holds `prompt` (text, or messages), `chosen`, `rejected` and `subset`; other keys are let pass. A
response is a text or, as some files have it, the whole conversation with the response last. `rejected` may be
a list: then a line counts as right only if the chosen one is above all of them. With one rejected, equal
rewards count half. Lines with several right answers (the Ties subset of RewardBench 2, which has a score of
its own) are left out and counted.
"""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm.config import ConfigError
from lm.records import Message, RecordError
from lm.tokens import Layout
from rewards.intervals import LEVEL, student, wilson

logger = logging.getLogger(__name__)
Rewards = Callable[[list[list[int]], list[list[int]]], Tensor]


@dataclass(frozen=True, slots=True)
class Item:
    """One line: the right response is the first."""

    subset: str
    asked: tuple[Message, ...]
    responses: tuple[str, ...]
    several_right: bool


def read(path: Path) -> list[Item]:
    """The lines of a file; the first that is none ends the program with its number."""
    try:
        with path.open(encoding="utf-8") as file:
            found = [item for number, line in enumerate(file, start=1) for item in _items(path, number, line)]
    except OSError as error:
        raise ConfigError(f"bench is {str(path)!r}, which can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"bench is {str(path)!r}, which is no UTF-8 at byte {error.start + 1}") from error
    if not found:
        raise ConfigError(f"bench is {str(path)!r}, which holds no line")
    return found


def score(items: list[Item], chat: Layout, rewards: Rewards, *, max_length: int) -> dict[str, Any]:
    """The share that is right, for each subset and as the subsets' plain mean."""
    subsets: dict[str, dict[str, Any]] = {
        item.subset: {"name": item.subset, "count": 0, "right": 0.0, "too_long": 0, "several_right": 0}
        for item in items
    }
    kept, prompts, responses = [], [], []
    for item in items:
        row = subsets[item.subset]
        prompt = chat.prompt(item.asked)
        answers = [chat.response(text) for text in item.responses]
        if item.several_right:
            row["several_right"] += 1
        elif len(prompt) + max(map(len, answers)) > max_length:
            row["too_long"] += 1
        else:
            kept.append((item.subset, len(answers)))
            prompts += [prompt] * len(answers)
            responses += answers
    found = rewards(prompts, responses).double().cpu() if kept else torch.empty(0)
    for (subset, _), values in zip(kept, found.split([count for _, count in kept]), strict=True):
        subsets[subset]["count"] += 1
        subsets[subset]["right"] += right(values)
    rows = [_figures(row) for row in subsets.values()]
    known = [row["score"] for row in rows if row["score"] is not None]
    return {"mean": sum(known) / len(known) if known else None, "subsets": rows}


def right(rewards: Tensor) -> float:
    """Whether the first is above all others; half where it equals the only other one."""
    best = float(rewards[1:].max())
    if len(rewards) == 2 and float(rewards[0]) == best:
        return 0.5
    return float(float(rewards[0]) > best)


def _figures(row: dict[str, Any]) -> dict[str, Any]:
    count, total = row["count"], row.pop("right")
    if not count:
        return {**row, "score": None, "low": None, "high": None}
    low, high = wilson(total / count, count, student(LEVEL, max(1, count - 1)))
    return {**row, "score": total / count, "low": low, "high": high}


def _items(path: Path, number: int, line: str) -> Iterator[Item]:
    if not line.strip():
        return
    try:
        values = json.loads(line)
        if not isinstance(values, dict):
            raise ValueError("is no JSON object")
        chosen = _responses(values, "chosen")
        rejected = _responses(values, "rejected")
        subset = values.get("subset")
        if not isinstance(subset, str) or not subset.strip():
            raise ValueError(f"subset must be a text, not {subset!r}")
        asked = _messages(values.get("prompt"))
    except (ValueError, RecordError) as error:
        raise ConfigError(f"bench is {str(path)!r}, line {number}: {error}") from error
    yield Item(subset, asked, (*chosen, *rejected), len(chosen) > 1)


def _messages(prompt: Any) -> tuple[Message, ...]:
    if isinstance(prompt, str) and prompt.strip():
        return (Message(role="user", content=prompt),)
    if isinstance(prompt, list) and prompt and all(isinstance(turn, dict) for turn in prompt):
        return tuple(_message(turn) for turn in prompt)
    raise ValueError(f"prompt must be a text or a list of messages, not {prompt!r:.80}")


def _message(turn: dict[str, Any]) -> Message:
    role, content = turn.get("role"), turn.get("content")
    if role not in ("system", "user", "assistant") or not isinstance(content, str):
        raise ValueError(f"prompt holds {turn!r:.80}, which is no message with a role and a content")
    return Message(role=role, content=content)


def _responses(values: dict[str, Any], name: str) -> list[str]:
    given = values.get(name)
    if isinstance(given, list) and given and all(isinstance(turn, dict) for turn in given):
        given = given[-1].get("content")  # a conversation, the response last
    found: list[Any] = given if isinstance(given, list) else [given]
    if not found or not all(isinstance(text, str) and text for text in found):
        raise ValueError(f"{name} must be a text or a list of texts, not {given!r:.80}")
    return found
