"""Rollouts: responses that the policy draws in training, with all that is known of them before learning."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm import backbone
from lm.generate import generate
from lm.logprobs import score_all
from lm.records import Prompt, Response
from lm.tokens import Chat
from policy import losses
from policy.config import PpoConfig
from rewards.features import features


class Rewards(Protocol):
    """What is asked of a reward model; `rewards.reward_model.RewardModel` and `WordReader` are such."""

    trunk_digest: str  # the model that `score_features` reads states of
    frozen_trunk: bool  # whether that model is as it was before it learned rewards

    @property
    def identity(self) -> Mapping[str, Any]:
        """Which reward model gave a reward, with its gain and bias."""

    def score_features(self, features: Tensor) -> Tensor:
        """The rewards (B,) of responses whose features the trunk gave."""

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        """The rewards (B,) of responses, by a forward of its own."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The frozen model that the KL is measured from."""

    model: PreTrainedModel
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Responses to one iteration's prompts, those of a prompt side by side.

    Of each response: lists and (B,). Of each token, all responses end to end: (N,) and (N, d).
    """

    records: list[Prompt]
    prompts: list[list[int]]
    responses: list[list[int]]
    texts: list[str]
    ended: Tensor  # (B,) whether the policy stopped by itself
    rewards: Tensor  # (B,) as the reward model gave them
    scores: Tensor  # (B,) what is learned from: cut at the clip, less for a missing end
    lengths: Tensor  # (B,) in tokens
    logprobs: Tensor  # (N,) under the policy that drew them, at the temperature of sampling
    reference_logprobs: Tensor  # (N,)
    reference_hidden: Tensor  # (N, d) from which the reference's whole distribution can be had again
    values: Tensor  # (N,) before each token; 0 with the baseline `group`
    sampling_gap: float  # mean difference of log-probabilities, drawing against training
    sampling_seconds: float
    scoring_seconds: float
    advantages: Tensor = field(default_factory=lambda: torch.zeros(0))  # (N,) by `with_advantages`
    returns: Tensor = field(default_factory=lambda: torch.zeros(0))  # (N,) what the values are to learn

    @property
    def kl(self) -> Tensor:
        """(B,) the log-ratio to the reference, whose mean estimates the policy's KL in nats a response."""
        return losses.sums(self.logprobs - self.reference_logprobs, self.lengths)

    def with_advantages(self, config: PpoConfig, kl_weight: float) -> Rollouts:
        """How much better each token did than the baseline, computed once for all epochs."""
        penalty = kl_weight if config.kl_in == "reward" else 0.0
        if config.baseline == "group":
            scores = self.scores - penalty * self.kl
            advantages = losses.group_advantages(scores, config.samples_per_prompt)
            if config.scale_advantages:
                advantages = losses.whiten(advantages)  # their mean is 0 already
            return replace(self, advantages=advantages.repeat_interleave(self.lengths))
        rewards = losses.token_rewards(
            self.scores, self.logprobs, self.reference_logprobs, self.lengths, kl_coefficient=penalty
        )
        advantages = losses.gae(
            rewards, self.values, self.lengths, discount=config.discount, smoothing=config.smoothing
        )
        returns = advantages + self.values
        if config.scale_advantages:
            advantages = losses.whiten(advantages)
        return replace(self, advantages=advantages, returns=returns)

    def minibatches(self, config: PpoConfig, chance: random.Random) -> Iterator[list[int]]:
        """The responses of each step of one epoch.

        With the baseline `group` those of a step are about as long, which spares padding.
        """
        rows = list(range(len(self.responses)))
        chance.shuffle(rows)
        if config.baseline == "group":
            rows.sort(key=lambda row: len(self.prompts[row]) + len(self.responses[row]))
        size = config.responses_per_step
        steps = [rows[start : start + size] for start in range(0, len(rows), size)]
        chance.shuffle(steps)
        yield from steps

    def places(self, rows: Sequence[int]) -> Tensor:
        """Where the tokens of these responses are in the flat tensors."""
        ends = self.lengths.cumsum(0).tolist()
        spans = [torch.arange(ends[row] - len(self.responses[row]), ends[row]) for row in rows]
        return torch.cat(spans).to(self.logprobs.device)

    def statistics(self, config: PpoConfig) -> dict[str, float]:
        """What the rollouts say of the policy that drew them; k3 and entropy are estimates from its draws."""
        k3 = losses.k3(self.logprobs, self.reference_logprobs)
        found = {
            "reward": self.rewards.mean(),
            "reward_sd": self.rewards.std(correction=0),
            "kl": self.kl.mean(),
            "kl_k3": losses.sums(k3, self.lengths).mean(),
            "entropy": -self.logprobs.mean(),
            "ended": self.ended.float().mean(),
            "length": self.lengths.float().mean(),
            "reward_clipped": (self.rewards.abs() > config.reward_clip).float().mean(),
        }
        words = sum(len(text.split()) for text in self.texts) / len(self.texts)
        return {name: float(value) for name, value in found.items()} | {
            "words": words,
            "distinct4": distinct4(self.texts),
            "sampling_gap": self.sampling_gap,
            "sampling_seconds": self.sampling_seconds,
            "scoring_seconds": self.scoring_seconds,
        }

    def samples(
        self, count: int, *, policy: str, temperature: float, reward_model: Mapping[str, Any]
    ) -> list[Response]:
        """Some of the responses, to be read; of as many prompts as there are."""
        stride = max(1, len(self.responses) // count)
        logprobs = losses.sums(self.logprobs, self.lengths).tolist()
        reference = losses.sums(self.reference_logprobs, self.lengths).tolist()
        return [
            Response(
                prompt_id=self.records[row].prompt_id,
                messages=self.records[row].messages,
                response=self.texts[row],
                policy=policy,
                logprob=logprobs[row],
                reference_logprob=reference[row],
                reward=float(self.rewards[row]),
                reward_model=reward_model,
                ended=bool(self.ended[row]),
                tokens=tuple(self.responses[row]),
                settings={"temperature": temperature, "top_p": 1.0},
            )
            for row in range(0, len(self.responses), stride)[:count]
        ]


def collect(
    policy: PreTrainedModel,
    reference: Reference,
    reward_model: Rewards,
    records: Sequence[Prompt],
    chat: Chat,
    config: PpoConfig,
    *,
    generator: torch.Generator,
    value_head: nn.Linear | None = None,
) -> Rollouts:
    """Draw responses to the prompts from the policy, and have them scored."""
    began = time.monotonic()
    device = str(policy.device)
    asked = [record for record in records for _ in range(config.samples_per_prompt)]
    prompt_of = [chat.prompt(record.messages) for record in records]
    prompts = [ids for ids in prompt_of for _ in range(config.samples_per_prompt)]
    with backbone.computing(device, config.precision):
        drawn = generate(
            policy,
            prompt_of,
            samples=config.samples_per_prompt,
            temperature=config.temperature,
            max_new_tokens=config.max_new_tokens,
            stop_ids=chat.stop_ids,
            generator=generator,
        )
    responses = [response.tokens for response in drawn]
    logprobs = torch.cat([response.logprobs for response in drawn]).to(device)
    ended = torch.tensor([response.ended for response in drawn], device=device)
    sampled = time.monotonic()
    values, gap = torch.zeros_like(logprobs), 0.0
    with backbone.computing(device, config.precision), torch.no_grad():
        if value_head is not None or config.precision != "float32":
            # Values need a forward, and under bfloat16 drawing and training round differently: then the
            # log-probabilities are those of the numerics that training will have.
            again = score_all(policy, prompts, responses, temperature=config.temperature)
            gap = float((again.logprobs - logprobs).abs().mean())
            logprobs = again.logprobs
            if value_head is not None:
                values = values_of(value_head, again.hidden)
        rewards, reference_logprobs, hidden = judge(reference, reward_model, prompts, responses, config)
    return Rollouts(
        records=asked,
        prompts=prompts,
        responses=responses,
        texts=[chat.text(response) for response in responses],
        ended=ended,
        rewards=rewards,
        scores=scores(rewards, ended, config),
        lengths=torch.tensor([len(response) for response in responses], device=device),
        logprobs=logprobs,
        reference_logprobs=reference_logprobs,
        reference_hidden=hidden,
        values=values,
        sampling_gap=gap,
        sampling_seconds=sampled - began,
        scoring_seconds=time.monotonic() - sampled,
    )


def judge(
    reference: Reference,
    reward_model: Rewards,
    prompts: list[list[int]],
    responses: list[list[int]],
    config: PpoConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards (B,), and the reference's log-probabilities (N,) and states (N, d).

    A reward model that reads the reference's own states needs no forward of its own.
    """
    scored = score_all(reference.model, prompts, responses, temperature=config.temperature)
    if not (reward_model.frozen_trunk and reward_model.trunk_digest == reference.digest):
        return reward_model.score(prompts, responses).float(), scored.logprobs, scored.hidden
    plain = scored
    if config.temperature != 1:  # features are likelihoods at temperature 1, whatever we sample at
        plain = score_all(reference.model, prompts, responses)
    return reward_model.score_features(features(plain)).float(), scored.logprobs, scored.hidden


def scores(rewards: Tensor, ended: Tensor, config: PpoConfig) -> Tensor:
    """What is learned from: rewards within the clip, and less (or a fixed score) where no end came."""
    clipped = rewards.clamp(-config.reward_clip, config.reward_clip)
    penalty = config.missing_end_penalty
    without_end = (
        clipped - penalty if config.missing_end == "subtract" else torch.full_like(clipped, -penalty)
    )
    return torch.where(ended, clipped, without_end)


def values_of(value_head: nn.Linear, hidden: Tensor) -> Tensor:
    """The value head's opinion (N,) of the states (N, d), in fp32."""
    with torch.autocast(hidden.device.type, enabled=False):
        values: Tensor = value_head(hidden.float())[:, 0]
    return values


def generator_of(seed: int, number: int) -> torch.Generator:
    """The generator of the draws with this number in a run with this seed.

    A CPU's generator reads 32 bits of its seed, so both are mixed into so many.
    """
    return torch.Generator().manual_seed(random.Random(f"{seed} draws {number}").getrandbits(32))  # noqa: S311


def distinct4(texts: Sequence[str]) -> float:
    """The share of different ones among all sequences of four words; repetition lowers it."""
    words = [text.split() for text in texts]
    grams = [tuple(row[start : start + 4]) for row in words for start in range(len(row) - 3)]
    return len(set(grams)) / len(grams) if grams else 1.0
