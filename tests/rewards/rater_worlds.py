"""What robots answer in the bandit world, as the preferences that a reward model learns from."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from rewards.batches import Preferences
from rewards.bradley_terry import Ties
from rewards.joint import fit_jointly
from rewards.raters import Observed, Raters
from rewards.style import Terms
from worlds.bandit import ANSWERS, PROMPTS, Bandit, Judged
from worlds.robots import Robot

FEATURES = 92
PENALTY = 10.0


def preferences(judged: Judged, robots: Sequence[Robot]) -> Preferences:
    """Each judgment a pair; a rater's declared group is the taste that they have."""
    won = judged.outcome >= 0.5
    rater = torch.tensor(judged.rater)
    count = len(judged)
    nothing, one = torch.full((count,), -1), torch.ones(count, dtype=torch.float64)
    other = torch.tensor([robot.other_taste for robot in robots]).long()
    return Preferences(
        prompts=[],
        responses=[[0]] * (PROMPTS * ANSWERS),
        asked=[],
        texts=[],
        chosen=torch.tensor(judged.prompt * ANSWERS + np.where(won, judged.first, judged.second)),
        rejected=torch.tensor(judged.prompt * ANSWERS + np.where(won, judged.second, judged.first)),
        tie=torch.tensor(judged.outcome == 0.5),
        all_bad=torch.zeros(count, dtype=torch.bool),
        weight=one,
        margin=0 * one,
        prompt=torch.tensor(judged.prompt),
        judgment=torch.arange(count),
        comparison=torch.arange(count),
        rater=rater,
        group=other[rater],
        criterion=nothing,
        side=torch.tensor(np.where(won, 1, -1)),
        strength=nothing,
        since_break=torch.tensor(judged.since_break),
        purpose=nothing,
        soft_label=one,
        prompt_ids=[f"p{number}" for number in range(PROMPTS)],
        raters=[f"r{number}" for number in range(len(robots))],
        groups=["most", "others"],
        criteria=[],
        purposes=[],
        dropped=0,
    )


def features(world: Bandit) -> Tensor:
    """Of all answers (prompts * answers, FEATURES)."""
    return torch.tensor(world.features).reshape(-1, FEATURES)


def style_terms(world: Bandit, given: Preferences) -> Terms:
    """Length and flattery of these pairs."""
    style = torch.tensor(world.style).reshape(-1, 2)
    return Terms.of(("length", "flattery"), style[given.chosen] - style[given.rejected])


def fitted(
    world: Bandit,
    given: Preferences,
    *,
    ties: Ties = "davidson",
    named: bool = True,
    penalty: float = PENALTY,
) -> tuple[Tensor, Raters]:
    """The head and the raters, jointly."""
    columns = features(world)
    differences = columns[given.chosen] - columns[given.rejected]
    terms = Terms.none(len(given))
    raters = Raters(given, ties=ties, terms=terms, named=named, dtype=torch.float64)
    ridge = torch.full((differences.shape[1],), penalty, dtype=torch.float64)
    return fit_jointly(differences, Observed.of(given, terms), raters, ridge), raters
