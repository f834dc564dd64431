"""Robot raters: they know the true rewards and judge as people do, with noise, habits and lapses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer by positions as shown, the first being 1; groups best first."""

    order: tuple[tuple[int, ...], ...]
    all_bad: bool = False

    def __str__(self) -> str:
        """As the page posts it: `1>2`, `1=2`."""
        return ">".join("=".join(map(str, group)) for group in self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Robot:
    """A rater: what is drawn once for a person, and how an answer comes about.

    With d = reliability * (reward of the first - of the second) + side_bias, Davidson's model says
    P(first) : P(second) : P(tie) = e^(d/2) : e^(-d/2) : tie_width.
    """

    reliability: float = 1.0  # 1 reads rewards as logits; below 0 the scale is taken the wrong way round
    side_bias: float = 0.0  # logits towards the response shown first
    lapse: float = 0.0  # share of answers that don't look at the responses
    lapse_first: float = 0.5  # of these, the share that picks the first
    fatigue: float = 0.0  # what the lapse grows by during a long sitting
    tie_width: float = 0.0
    all_bad_below: float = -math.inf  # a tie of responses that are all worth less is "all bad"
    seconds: float = 8.0  # median for one comparison

    def judge(
        self, rewards: Sequence[float], rng: Generator, *, since_break: int = 0, ties: bool = True
    ) -> Verdict:
        """Answer a comparison of responses with these true rewards, in the order shown."""
        lapse = self.lapse + self.fatigue * (1 - math.exp(-since_break / 60))
        if rng.random() < lapse:
            return self._guess(len(rewards), rng)
        if len(rewards) == 2:
            return self._choose(rewards[0], rewards[1], rng, tie_width=self.tie_width if ties else 0.0)
        return self._rank(rewards, rng)

    def takes(self, rng: Generator) -> float:
        """Seconds that this comparison takes."""
        return self.seconds * float(rng.lognormal(0, 0.35))

    def _choose(self, first: float, second: float, rng: Generator, *, tie_width: float) -> Verdict:
        half = (self.reliability * (first - second) + self.side_bias) / 2
        weights = np.array([1, math.exp(-2 * half), tie_width * math.exp(-half)])  # over e^half
        pick = int(rng.choice(3, p=weights / weights.sum()))
        if pick == 2:
            return Verdict(order=((1, 2),), all_bad=max(first, second) < self.all_bad_below)
        return Verdict(order=((1,), (2,)) if pick == 0 else ((2,), (1,)))

    def _rank(self, rewards: Sequence[float], rng: Generator) -> Verdict:
        """Plackett-Luce, by adding Gumbel noise; for two it is Davidson's model without ties."""
        worth = self.reliability * np.asarray(rewards) + rng.gumbel(size=len(rewards))
        worth[0] += self.side_bias
        return Verdict(order=tuple((int(place) + 1,) for place in np.argsort(-worth)))

    def _guess(self, count: int, rng: Generator) -> Verdict:
        places = [int(place) + 1 for place in rng.permutation(count)]
        if count == 2:
            places = [1, 2] if rng.random() < self.lapse_first else [2, 1]
        return Verdict(order=tuple((place,) for place in places))


def population(name: str, count: int, seed: int) -> list[Robot]:
    """So many robots of a kind, always the same ones for a seed."""
    if name == "clean":
        return [Robot() for _ in range(count)]
    if name != "crowd":
        raise ValueError(f"population must be clean or crowd, not {name!r}")
    rng = np.random.default_rng([seed, 1])
    kinds = [kind for kind, number in _shares(count).items() for _ in range(number)]
    return [_drawn(kinds[place], rng) for place in rng.permutation(count)]


CROWD = {"ordinary": 0.70, "noisy": 0.15, "random": 0.05, "left": 0.05, "reversed": 0.05}


def _shares(count: int) -> dict[str, int]:
    """How many of each kind: the whole part of its share, then the largest remainders."""
    exact = {kind: share * count for kind, share in CROWD.items()}
    found = {kind: int(number + 1e-9) for kind, number in exact.items()}
    by_rest = sorted(exact, key=lambda kind: found[kind] - exact[kind])
    for kind in by_rest[: count - sum(found.values())]:
        found[kind] += 1
    return found


def _drawn(kind: str, rng: Generator) -> Robot:
    """One of the crowd."""
    reliability, lapse, lapse_first, seconds = {
        "ordinary": (rng.lognormal(0, 0.3), rng.beta(2, 38), 0.5, 8 * rng.lognormal(0, 0.3)),
        "noisy": (0.4, 0.15, 0.5, 6 * rng.lognormal(0, 0.3)),
        "random": (1.0, 0.95, 0.5, rng.uniform(1.5, 3)),
        "left": (1.0, 0.95, 0.85, rng.uniform(1.5, 3)),
        "reversed": (-0.7, 0.05, 0.5, 8 * rng.lognormal(0, 0.3)),
    }[kind]
    return Robot(
        reliability=float(reliability),
        side_bias=float(rng.normal(0.15, 0.25)),
        lapse=float(lapse),
        lapse_first=lapse_first,
        fatigue=0.25,
        tie_width=0.5 * float(rng.lognormal(0, 0.5)),
        all_bad_below=0.0,
        seconds=float(seconds),
    )
