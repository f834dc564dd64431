"""Where the members of a reward model disagree: per pair, and on one set of samples beside another."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def of_pairs(members: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """The deviation (pairs,) over members (responses, M) of the difference that they say two rewards have."""
    return (members[first] - members[second]).double().std(1, correction=0)


def of_samples(members: Tensor, prompt_ids: Sequence[str]) -> float | None:
    """Its mean over samples of one prompt taken two and two; None where no prompt has two."""
    first, second = [], []
    waiting: dict[str, int] = {}
    for place, prompt in enumerate(prompt_ids):
        if prompt in waiting:
            first.append(waiting.pop(prompt))
            second.append(place)
        else:
            waiting[prompt] = place
    if not first:
        return None
    return float(of_pairs(members, torch.tensor(first), torch.tensor(second)).mean())


def compared(on_policy: float | None, on_base: float | None, members: int) -> dict[str, Any]:
    """Both and their ratio, which grows as the policy leaves what the members learned from."""
    figures = {"policy": on_policy, "base": on_base, "ratio": None, "reason": None}
    if members < 2:
        return figures | {"reason": "the reward model has one member"}
    if on_policy is None:
        return figures | {"reason": "no prompt of the policy's samples has two"}
    if not on_base:
        return figures | {"reason": "nothing to compare with: no prompt of the base has two samples"}
    return figures | {"ratio": on_policy / on_base}
