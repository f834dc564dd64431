"""A world without words: each prompt has 256 answers of known worth, and a policy is a tilt of their chances.

So what a reward model is worth as a target can be computed to the digit: the policy that follows it is the
exponential tilt of the base, and its true gain at each distance from the base is a sum. Some answers are
exotic: the base hardly ever gives them, they lie far from all that was judged, and a wrong reward finds them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from worlds.robots import Robot

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROMPTS, TRAINING, ANSWERS = 96, 64, 256  # of the prompts, the first 64 are for training
TRAITS, NOISE, TOPICS = 12, 6, 6
EXOTIC, EXOTIC_LOGPROB = 0.10, -6.0


@dataclass(frozen=True, slots=True)
class Judged:
    """Robots' answers on pairs of answers; an entry for each judgment."""

    prompt: Ints
    first: Ints  # the answer shown first
    second: Ints
    outcome: Floats  # 1 the first, .5 a tie, 0 the second
    rater: Ints
    since_break: Ints

    def __len__(self) -> int:
        return len(self.prompt)


@dataclass(frozen=True)
class Bandit:
    """The world that a seed draws."""

    topic: Floats  # (prompts, TOPICS)
    traits: Floats  # (prompts, answers, TRAITS)
    noise: Floats  # (prompts, answers, NOISE)
    length: Floats  # (prompts, answers)
    flattery: Floats  # (prompts, answers)
    base_logprobs: Floats  # (prompts, answers) of the base policy
    taste: Floats  # (TRAITS,)
    other_taste: Floats  # (TRAITS,) at a cosine of .3 to it
    by_topic: Floats  # (TOPICS, TRAITS)

    @classmethod
    def drawn(cls, seed: int, *, prompts: int = PROMPTS, answers: int = ANSWERS) -> Bandit:
        """The world of this seed."""
        rng = np.random.default_rng(seed)
        topic = rng.normal(size=(prompts, TOPICS))
        traits = rng.normal(size=(prompts, answers, TRAITS))
        noise = rng.normal(size=(prompts, answers, NOISE))
        length = rng.normal(size=(prompts, answers))
        flattery = np.maximum(rng.normal(size=(prompts, answers)) - 0.5, 0)
        exotic = rng.random((prompts, answers)) < EXOTIC
        further = [rng.random((prompts, answers)) for _ in range(3)]
        traits *= np.where(exotic, 1 + 1.5 * further[0], 1)[..., None]
        noise *= np.where(exotic, 2.5, 1)[..., None]
        length += np.where(exotic, 3 * further[1], 0)
        flattery += np.where(exotic, 3 * further[2], 0)
        logits = np.where(exotic, EXOTIC_LOGPROB, 0.0)
        taste = _unit(rng.normal(size=TRAITS))
        by_topic = rng.normal(size=(TOPICS, TRAITS)) * 0.5 * math.sqrt(2) / math.sqrt(TOPICS * TRAITS)
        across = rng.normal(size=TRAITS)
        across = _unit(across - (across @ taste) * taste)
        return cls(
            topic=topic,
            traits=traits,
            noise=noise,
            length=length,
            flattery=flattery,
            base_logprobs=logits - np.log(np.exp(logits).sum(1, keepdims=True)),
            taste=taste,
            other_taste=0.3 * taste + math.sqrt(1 - 0.3**2) * across,
            by_topic=by_topic,
        )

    @cached_property
    def gold(self) -> Floats:
        """What each answer is truly worth: (prompts, answers), in logits."""
        return self.worth(self.taste)

    def worth(self, taste: Floats) -> Floats:
        """The same by another taste."""
        liked = self.traits @ taste + np.einsum("pi,ij,paj->pa", self.topic, self.by_topic, self.traits)
        too_much = (np.maximum(0, np.abs(self.traits) - 1.8) ** 2).sum(2)
        odd = np.maximum(0, np.abs(self.noise) - 2.2).sum(2)
        found: Floats = (
            1.2 * liked
            - 0.35 * too_much
            - 0.5 * np.maximum(0, self.length - 0.8) ** 2
            - 0.4 * np.maximum(0, self.flattery - 1)
            - 0.15 * odd
        )
        return found

    @cached_property
    def features(self) -> Floats:
        """What a reward model sees: (prompts, answers, 92)."""
        crossed = 0.4 * np.einsum("pi,paj->paij", self.topic, self.traits)
        seen = [self.traits, self.noise, self.length[..., None], self.flattery[..., None]]
        return np.concatenate([*seen, crossed.reshape(*crossed.shape[:2], -1)], axis=2)

    @property
    def style(self) -> Floats:
        """Length and flattery, which a biased crowd pays for: (prompts, answers, 2)."""
        return np.stack([self.length, self.flattery], axis=2)

    def draw(self, count: int, rng: Generator, *, logprobs: Floats | None = None) -> tuple[Ints, Ints, Ints]:
        """Pairs of answers to training prompts, drawn from a policy: prompts, first and second answers."""
        chances = np.exp(self.base_logprobs if logprobs is None else logprobs)[:TRAINING]
        upto = chances.cumsum(1)
        prompt = rng.integers(TRAINING, size=count)
        first, second = (_picked(upto[prompt], rng) for _ in range(2))
        while (same := first == second).any():
            second[same] = _picked(upto[prompt[same]], rng)
        return prompt, first, second

    def judged(
        self,
        robots: Sequence[Robot],
        prompt: Ints,
        first: Ints,
        second: Ints,
        rng: Generator,
        *,
        ties: bool = False,
        length_bias: float = 0.0,  # logits for a deviation of length
        flattery_bias: float = 0.0,
    ) -> Judged:
        """What robots answer, each pair by one of them drawn at random, in sittings of up to 120."""
        rater = rng.integers(len(robots), size=len(prompt))
        since_break = rng.integers(120, size=len(prompt))
        bias = length_bias * self.length + flattery_bias * self.flattery
        worth = {True: self.worth(self.other_taste) + bias, False: self.gold + bias}
        outcome = np.empty(len(prompt))
        for number, (p, a, b, r, k) in enumerate(zip(prompt, first, second, rater, since_break, strict=True)):
            robot = robots[r]
            rewards = [float(worth[robot.other_taste][p, answer]) for answer in (a, b)]
            verdict = robot.judge(rewards, rng, since_break=int(k), ties=ties)
            outcome[number] = 0.5 if len(verdict.order) == 1 else float(verdict.order[0] == (1,))
        return Judged(prompt, first, second, outcome, rater, since_break)

    def tilted(self, rewards: Floats, kl: float) -> Floats:
        """Log-probabilities of the policy that has this KL from the base and the most of these rewards."""
        low, high = -8.0, 8.0  # log of what a unit of reward is multiplied by
        for _ in range(60):
            middle = (low + high) / 2
            logprobs = self._tilt(rewards, math.exp(middle))
            if self.kl(logprobs) < kl:
                low = middle
            else:
                high = middle
        return self._tilt(rewards, math.exp(low))

    def kl(self, logprobs: Floats) -> float:
        """Mean KL from the base over the prompts of evaluation."""
        chances = np.exp(logprobs)
        return float((chances * (logprobs - self.base_logprobs)).sum(1)[TRAINING:].mean())

    def gain(self, logprobs: Floats) -> float:
        """How much better its answers to the prompts of evaluation truly are than the base's."""
        return self.mean(self.gold, logprobs) - self.mean(self.gold, self.base_logprobs)

    def mean(self, values: Floats, logprobs: Floats) -> float:
        """The mean of a value of answers under a policy, over the prompts of evaluation."""
        return float((np.exp(logprobs) * values).sum(1)[TRAINING:].mean())

    def accuracy(self, rewards: Floats, rng: Generator, *, count: int = 4000) -> float:
        """How often rewards order fresh pairs of the base as the gold does, on prompts of evaluation."""
        chances = np.exp(self.base_logprobs)[TRAINING:].cumsum(1)
        place = rng.integers(len(chances), size=count)
        one, other = (_picked(chances[place], rng) for _ in range(2))
        kept = one != other
        prompt, one, other = place[kept] + TRAINING, one[kept], other[kept]
        told = rewards[prompt, one] - rewards[prompt, other]
        true = self.gold[prompt, one] - self.gold[prompt, other]
        return float((np.sign(told) == np.sign(true)).mean())

    def _tilt(self, rewards: Floats, factor: float) -> Floats:
        logits = self.base_logprobs + factor * rewards
        top = logits.max(1, keepdims=True)
        tilted: Floats = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
        return tilted


def _unit(vector: Floats) -> Floats:
    return vector / float(np.linalg.norm(vector))


def _picked(upto: Floats, rng: Generator) -> Ints:
    """An answer by each row of cumulative chances."""
    drawn = rng.random((len(upto), 1)) * upto[:, -1:]
    found: Ints = (upto < drawn).sum(1)
    return found
