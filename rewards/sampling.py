"""Draws without replacement whose chances are known exactly, and what they say of the pool they come from."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

HALVINGS = 60


def inclusion(appetite: Tensor, group: Tensor, count: int, *, most: int) -> Tensor:
    """The chance of each to be among `count` drawn: proportional to its appetite as far as it may be.

    No chance is above 1, and no group expects more than `most`. Where that binds, the others get what is
    left, in proportion.
    """
    log_appetite = appetite.double().log()
    _, of = group.unique(return_inverse=True)
    sizes = torch.bincount(of)
    capacity = int(sizes.clamp_max(most).sum())
    if not 0 < count <= capacity:
        raise ValueError(f"count is {count}, but 1 to {capacity} can be drawn")

    def chances(log_factor: Tensor) -> Tensor:
        return (log_appetite + log_factor).clamp_max(0).exp()

    def in_group(log_factor: Tensor) -> Tensor:
        return torch.zeros(len(sizes), dtype=torch.float64).index_add_(0, of, chances(log_factor[of]))

    low, high = float(-log_appetite.max()) - 60, float(-log_appetite.min()) + 1  # all near 0, all 1
    limits = _root(in_group, low, torch.full((len(sizes),), high, dtype=torch.float64), float(most))

    def all_of_them(log_factor: Tensor) -> Tensor:
        return chances(torch.minimum(log_factor, limits[of])).sum()[None]

    factor = _root(all_of_them, low, torch.tensor([high], dtype=torch.float64), float(count))
    return chances(torch.minimum(factor, limits[of]))


def systematic(chances: Tensor, group: Tensor, generator: Generator) -> Tensor:
    """Places drawn with exactly these chances, in ascending order; as many as the chances add up to.

    Madow's (1949) systematic sample of a shuffled list. A group stays together in the list, so of one whose
    chances add up to a whole number m no more than m are drawn.
    """
    _, of = group.unique(return_inverse=True)
    by_group = torch.randperm(int(of.max()) + 1, generator=generator)[of]
    within = torch.randperm(len(of), generator=generator)
    order = within[by_group[within].argsort(stable=True)]
    upto = chances[order].double().cumsum(0)
    count = round(float(upto[-1]))
    points = torch.rand(1, generator=generator, dtype=torch.float64) + torch.arange(count)
    places = torch.searchsorted(upto * (count / upto[-1]), points, right=True).clamp_max(len(order) - 1)
    return order[places].sort().values


def hajek(values: Tensor, chances: Tensor) -> float:
    """The mean over the pool of a value known for those drawn, each with its chance (Hajek 1971)."""
    weights = 1 / chances.double()
    return float((weights * values.double()).sum() / weights.sum())


def _root(rising: Callable[[Tensor], Tensor], low: float, high: Tensor, target: float) -> Tensor:
    """Where rising functions, one for each entry, reach the target; `high` where they stay below it."""
    lower, upper = torch.full_like(high, low), high.clone()
    for _ in range(HALVINGS):
        middle = (lower + upper) / 2
        above = rising(middle) > target
        lower, upper = torch.where(above, lower, middle), torch.where(above, middle, upper)
    return upper
