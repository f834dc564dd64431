"""The pairs that tell a reader most about a reward model, as JSON lines in the run directory."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm.records import Message
from rewards.batches import Preferences

COUNT = 20
MISTAKES, DISPUTED = "mistakes.jsonl", "disputed.jsonl"


def mistakes(log_odds: Tensor, pairs: Preferences) -> list[dict[str, Any]]:
    """Where the model was surest of the response that the rater rejected, the surest first."""
    wrong = (pairs.decided & (log_odds < 0)).nonzero()[:, 0]  # one that is not a number is not below 0
    order = wrong[log_odds[wrong].argsort(stable=True)]
    return _rows(order, pairs, {"log_odds": log_odds})


def disputed(deviations: Tensor, log_odds: Tensor, pairs: Preferences) -> list[dict[str, Any]]:
    """Where the members disagree most about the difference, the most first; none where all are one."""
    order = deviations.argsort(descending=True, stable=True)
    order = order[deviations[order] > 0]
    return _rows(order, pairs, {"deviation": deviations, "log_odds": log_odds})


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows, a line each."""
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="ascii")


def _rows(order: Tensor, pairs: Preferences, columns: dict[str, Tensor]) -> list[dict[str, Any]]:
    """The first pairs in this order, the same two responses once."""
    found: dict[tuple[int, ...], dict[str, Any]] = {}
    for place in order.tolist():
        chosen, rejected = int(pairs.chosen[place]), int(pairs.rejected[place])
        values = {name: float(column[place]) for name, column in columns.items()}
        row = {
            "prompt_id": pairs.prompt_ids[int(pairs.prompt[place])],
            "messages": [Message.to_json(turn) for turn in pairs.asked[chosen]],
            "chosen": pairs.texts[chosen],
            "rejected": pairs.texts[rejected],
            "tie": bool(pairs.tie[place]),
            **{
                name: value if torch.isfinite(torch.tensor(value)) else None for name, value in values.items()
            },
        }
        found.setdefault(tuple(sorted((chosen, rejected))), row)
        if len(found) == COUNT:
            break
    return list(found.values())
