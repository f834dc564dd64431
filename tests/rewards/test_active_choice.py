"""K13: how many labels active choice saves, in worlds with a linear truth and a fixed pool of pairs."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor

from rewards.acquire import choose
from rewards.bradley_terry import WIN, fit_head
from rewards.information import Gains, covariance

PROMPTS, ANSWERS, SIZE = 400, 8, 32
BATCH, LAPSE, PENALTY = 100, 0.08, 1.0
LABELS = 2000  # of random choice, whose accuracy is to be reached
FIRST = 300  # uniform, as everywhere


@dataclass(frozen=True)
class World:
    """Pairs to ask about, pairs to test on, and what they are truly worth in logits."""

    pool: Tensor  # (pairs, SIZE)
    prompts: Tensor  # (pairs,)
    held_out: Tensor
    taste: Tensor
    seed: int

    @classmethod
    def drawn(cls, seed: int, deviation: float) -> "World":
        """A world where the true difference of two responses has this deviation."""
        rng = np.random.default_rng(seed)
        scales = np.arange(1, SIZE + 1) ** -0.5  # some directions vary more than others
        features = rng.normal(size=(PROMPTS, ANSWERS, SIZE)) * scales
        places = np.array(list(combinations(range(ANSWERS), 2)))
        pool = (features[:, places[:, 0]] - features[:, places[:, 1]]).reshape(-1, SIZE)
        held_out = (rng.normal(size=(4000, SIZE)) - rng.normal(size=(4000, SIZE))) * scales
        taste = rng.normal(size=SIZE)
        taste *= deviation / np.std(pool @ taste)
        prompts = np.repeat(np.arange(PROMPTS), len(places))
        return cls(*map(torch.from_numpy, (pool, prompts, held_out, taste)), seed)

    def label(self, places: list[int], generator: torch.Generator) -> Tensor:
        """1 where a rater prefers the first, else -1; a few answers are lapses."""
        first = torch.sigmoid(self.pool[places] @ self.taste)
        chances = (1 - LAPSE) * first + LAPSE / 2
        drawn = torch.rand(len(places), generator=generator, dtype=torch.float64)
        return torch.where(drawn < chances, 1.0, -1.0)

    def accuracy(self, head: Tensor) -> float:
        """How often the head orders held-out pairs as the truth does."""
        return float(((self.held_out @ head > 0) == (self.held_out @ self.taste > 0)).double().mean())

    def curve(self, labels: int, *, active: bool) -> list[float]:
        """Accuracy after each batch."""
        generator = torch.Generator().manual_seed(self.seed)
        places: list[int] = []
        outcomes = torch.zeros(0, dtype=torch.float64)
        found: list[float] = []
        head = torch.zeros(SIZE, dtype=torch.float64)
        while len(places) < labels:
            left = torch.ones(len(self.pool), dtype=torch.bool)
            left[places] = False
            still = left.nonzero()[:, 0]
            judged = self.pool[places]
            ones = torch.ones(len(places))
            gains = Gains(
                self.pool[still],
                self.pool[still] @ head,
                covariance(judged, torch.sigmoid(judged @ head), ones, PENALTY),
            )
            chosen = choose(
                gains,
                self.prompts[still],
                count=BATCH,
                uniform_share=0.2 if active and len(places) >= FIRST else 1.0,
                per_prompt=2,
                temperature=None,
                seed=len(places) + 10_000 * self.seed,
            )
            new = still[[one.place for one in chosen]].tolist()
            places += new
            outcomes = torch.cat([outcomes, self.label(new, generator)])
            head, _ = fit_head(
                self.pool[places] * outcomes[:, None],
                torch.full((len(places),), WIN),
                torch.ones(len(places)),
                PENALTY,
            )
            found.append(self.accuracy(head))
        return found


def labels_needed(seeds: range, deviation: float) -> float:
    """Labels until active choice is as accurate as random choice with LABELS, on the mean over worlds."""
    worlds = [World.drawn(seed, deviation) for seed in seeds]
    goal = np.mean([world.curve(LABELS, active=False)[-1] for world in worlds])
    curve = np.mean([world.curve(LABELS + 200, active=True) for world in worlds], axis=0)
    after = int(np.argmax(curve >= goal))
    if curve[after] < goal:
        return float("inf")
    before = curve[after - 1]
    return BATCH * (after + float((goal - before) / (curve[after] - before)))


def test_active_choice_saves_a_sixth_of_the_labels():
    assert labels_needed(range(3), deviation=1.5) <= 1650


@pytest.mark.verify
def test_active_choice_needs_at_most_1650_labels_for_what_random_needs_2000():
    assert labels_needed(range(10), deviation=1.5) <= 1650


@pytest.mark.verify
def test_active_choice_does_not_lose_where_raters_are_noisy():
    assert labels_needed(range(10), deviation=0.7) <= 2100
