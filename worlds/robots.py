"""Robot raters: they know the true rewards and judge as people do, with noise, habits and lapses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

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

    With d = reliability * (reward of the first - of the second) + side_bias
           + length_bias * log(length of the first / of the second),
    Davidson's model says P(first) : P(second) : P(tie) = e^(d/2) : e^(-d/2) : tie_width.
    A robot can't tell a gold from other comparisons: its pass rate is what `chances` says of the rewards.
    """

    reliability: float = 1.0  # 1 reads rewards as logits; below 0 the scale is taken the wrong way round
    side_bias: float = 0.0  # logits towards the response shown first
    lapse: float = 0.0  # share of answers that don't look at the responses
    lapse_first: float = 0.5  # of these, the share that picks the first
    fatigue: float = 0.0  # what the lapse grows by during a long sitting
    tie_width: float = 0.0
    length_bias: float = 0.0  # logits for a response that is e times as long
    lazy_ties: float = 0.0  # share of pairs tied without weighing them, where a tie is offered
    care_below: float = 1.0  # of three or more: what is left of the reliability below the first place
    other_taste: bool = False  # of the world's two tastes it has the other one
    all_bad_below: float = -math.inf  # a tie of responses that are all worth less is "all bad"
    seconds: float = 8.0  # median for one comparison

    def judge(
        self,
        rewards: Sequence[float],
        rng: Generator,
        *,
        since_break: int = 0,
        ties: bool = True,
        lengths: Sequence[int] = (),
    ) -> Verdict:
        """Answer a comparison of responses with these true rewards, in the order shown."""
        if rng.random() < self.lapses(since_break):
            return self._guess(len(rewards), rng)
        worth = self._worth(rewards, lengths)
        if len(rewards) > 2:
            return self._rank(worth, rng)
        if ties and self.lazy_ties and rng.random() < self.lazy_ties:
            return Verdict(order=((1, 2),))
        return self._choose(worth, rewards, rng, tie_width=self.tie_width if ties else 0.0)

    def lapses(self, since_break: int = 0) -> float:
        """The share of answers that don't look at the responses, so long after a break."""
        return min(1.0, self.lapse + self.fatigue * (1 - math.exp(-since_break / 60)))

    def chances(
        self,
        rewards: Sequence[float],
        *,
        since_break: int = 0,
        ties: bool = True,
        lengths: Sequence[int] = (),
    ) -> dict[str, float]:
        """How likely each answer on a pair is: what figures are held against."""
        lapse, lazy = self.lapses(since_break), self.lazy_ties if ties else 0.0
        first, second, tie = self._shares(
            self._worth(rewards, lengths), tie_width=self.tie_width if ties else 0.0
        )
        looked = (1 - lapse) * (1 - lazy)
        return {
            "1>2": lapse * self.lapse_first + looked * first,
            "2>1": lapse * (1 - self.lapse_first) + looked * second,
            "1=2": (1 - lapse) * lazy + looked * tie,
        }

    def takes(self, rng: Generator) -> float:
        """Seconds that this comparison takes."""
        return self.seconds * float(rng.lognormal(0, 0.35))

    def _worth(self, rewards: Sequence[float], lengths: Sequence[int]) -> list[float]:
        """What each response is worth to this robot, in logits, the one shown first being favoured."""
        worth = [self.reliability * reward for reward in rewards]
        worth[0] += self.side_bias
        if self.length_bias and lengths:
            worth = [
                value + self.length_bias * math.log(max(length, 1))
                for value, length in zip(worth, lengths, strict=True)
            ]
        return worth

    def _shares(self, worth: Sequence[float], *, tie_width: float) -> list[float]:
        """Davidson's model: the first wins, the second wins, a tie."""
        half = (worth[0] - worth[1]) / 2
        top = abs(half)
        weights = [math.exp(half - top), math.exp(-half - top), tie_width * math.exp(-top)]
        return [weight / sum(weights) for weight in weights]

    def _choose(
        self, worth: Sequence[float], rewards: Sequence[float], rng: Generator, *, tie_width: float
    ) -> Verdict:
        pick = int(rng.choice(3, p=self._shares(worth, tie_width=tie_width)))
        if pick == 2:
            return Verdict(order=((1, 2),), all_bad=max(rewards) < self.all_bad_below)
        return Verdict(order=((1,), (2,)) if pick == 0 else ((2,), (1,)))

    def _rank(self, worth: Sequence[float], rng: Generator) -> Verdict:
        """Plackett-Luce, by adding Gumbel noise; for two it is Davidson's model without ties."""
        noisy = np.asarray(worth) + rng.gumbel(size=len(worth))
        places = [int(place) for place in np.argsort(-noisy)]
        if self.care_below < 1:
            below = self.care_below * np.asarray(worth) + rng.gumbel(size=len(worth))
            places[1:] = sorted(places[1:], key=lambda place: -below[place])
        return Verdict(order=tuple((place + 1,) for place in places))

    def _guess(self, count: int, rng: Generator) -> Verdict:
        places = [int(place) + 1 for place in rng.permutation(count)]
        if count == 2:
            places = [1, 2] if rng.random() < self.lapse_first else [2, 1]
        return Verdict(order=tuple((place,) for place in places))


CROWD = {"ordinary": 0.70, "noisy": 0.15, "random": 0.05, "left": 0.05, "reversed": 0.05}
POPULATIONS: dict[str, dict[str, float]] = {
    "clean": {"clean": 1},
    "crowd": CROWD,
    "minority": {"ordinary": 0.65, "minority": 0.25, "random": 0.05, "left": 0.05},
    "padded": {f"padded {kind}": share for kind, share in CROWD.items()},  # they like length for itself
    "tied": {"somewhat lazy": 0.5, "lazy": 0.5},  # about 40 % ties
    "rankers": {"ranker": 1},  # careful about the best one, careless below
    "patient": CROWD | {"random": 0, "left": 0, "patient random": 0.05, "patient left": 0.05},
    "coin": {"coin": 1},
}


def population(name: str, count: int, seed: int) -> list[Robot]:
    """So many robots of a kind, always the same ones for a seed."""
    if name not in POPULATIONS:
        raise ValueError(f"population must be one of {', '.join(POPULATIONS)}, not {name!r}")
    rng = np.random.default_rng([seed, 1])
    kinds = [kind for kind, number in _numbers(POPULATIONS[name], count).items() for _ in range(number)]
    return [_drawn(kinds[place], rng) for place in rng.permutation(count)]


def _numbers(shares: Mapping[str, float], count: int) -> dict[str, int]:
    """How many of each kind: the whole part of its share, then the largest remainders."""
    exact = {kind: share * count for kind, share in shares.items()}
    found = {kind: int(number + 1e-9) for kind, number in exact.items()}
    by_rest = sorted(exact, key=lambda kind: found[kind] - exact[kind])
    for kind in by_rest[: count - sum(found.values())]:
        found[kind] += 1
    return found


def _drawn(kind: str, rng: Generator) -> Robot:
    """One of a population."""
    if kind == "clean":
        return Robot()
    if kind == "coin":
        return Robot(lapse=1.0, seconds=float(rng.uniform(1.5, 3)))
    if kind.startswith("padded "):
        liking = max(0.0, float(rng.normal(1.5, 0.4)))
        return replace(_drawn(kind.removeprefix("padded "), rng), length_bias=liking)
    if kind.startswith("patient "):
        return replace(_drawn(kind.removeprefix("patient "), rng), seconds=float(8 * rng.lognormal(0, 0.3)))
    others: dict[str, dict[str, Any]] = {
        "minority": {"other_taste": True},
        "somewhat lazy": {"tie_width": 0.6, "lazy_ties": 0.15},
        "lazy": {"tie_width": 0.6, "lazy_ties": 0.4},
        "ranker": {"care_below": 0.3},
    }
    if kind in others:
        return replace(_drawn("ordinary", rng), **others[kind])
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
