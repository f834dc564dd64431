"""Fine-tuning all weights of a reward model: a linear head on the state at the last token, both learning."""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lm import logprobs
from lm.masters import Masters
from lm.parallel import Processes
from lm.run_directory import EX_TEMPFAIL, RunDirectory, numeric_failure
from rewards import batches
from rewards.batches import Preferences
from rewards.bradley_terry import Ties
from rewards.config import RewardConfig
from rewards.raters import Observed, Raters
from rewards.style import Terms

SMALL = 15_000_000  # parameters; below, a model is fast and forgiving enough for more passes
ADAPTERS = 10  # times the rate of all weights
WARM_UP, FLOOR = 0.03, 0.1  # shares: of the steps, and of the peak at the end
CLIP = 1.0  # of the gradient's norm
ALONE = Processes()
Read = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], Tensor]  # what `Trunk.read` is


@dataclass(frozen=True, slots=True)
class Plan:
    """What the config leaves to the model's size, decided."""

    epochs: int
    learning_rate: float
    steps: int
    adapters: bool

    @classmethod
    def of(
        cls, config: RewardConfig, model: PreTrainedModel, preferences: Preferences, *, adapters: bool
    ) -> "Plan":
        """The plan for this model and these pairs."""
        size = sum(parameter.numel() for parameter in model.parameters())
        epochs = config.epochs or (3 if size <= SMALL else 1)
        each = math.ceil(len(preferences.prompt.unique()) / config.batch_size)
        rate = config.learning_rate or rate_for(size, adapters=adapters)
        return cls(epochs, rate, epochs * each, adapters)


@dataclass(frozen=True, slots=True)
class Spent:
    """What the steps of this process took, without checkpoints."""

    tokens: int  # that went through the model
    seconds: float
    processor_seconds: float


def rate_for(size: int, *, adapters: bool = False) -> float:
    """The peak learning rate for a model of this many parameters; its adapters take ten times as much."""
    table = [(SMALL, 3e-4), (500_000_000, 1e-5), (2_000_000_000, 5e-6)]
    rate = next((rate for limit, rate in table if size <= limit), 3e-6)
    return ADAPTERS * rate if adapters else rate


def checkpointed(model: PreTrainedModel) -> None:
    """Keep only each layer's input for the backward pass, and compute the rest anew."""
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.train()  # transformers keeps to it in training alone; dropout is off anyway


class Learner:
    """A model with a scalar head, and all that its training must remember."""

    def __init__(
        self,
        model: PreTrainedModel,
        preferences: Preferences,
        *,
        ties: Ties,
        named: bool,  # whether raters have something of their own
        terms: Terms,  # of style, fitted and left out of the reward
        seed: int,
        device: str,
        read: Read | None = None,  # left out, a decoder's state at the last token
        precision: str = "float32",
        centring: float = 0.0,
    ) -> None:
        self.model, self.device, self.centring = model, device, centring
        self.read = read or partial(_last, model)
        self.masters = Masters(model, precision)
        self.raters = Raters(preferences, ties=ties, terms=terms, named=named, device=device)
        self.observed = Observed.of(preferences, terms).to(device)
        self.terms = terms
        size = model.config.hidden_size
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(size, generator=generator) / math.sqrt(size + 1)  # N(0, 1/(d+1)), bias 0
        self.weight = weight.to(device).requires_grad_()
        mine = {f"model.{name}": value for name, value in self.masters.weights.items()}
        mine["head.weight"] = self.weight
        theirs = {f"raters.{name}": value for name, value in self.raters.parameters.items()}
        self.parameters: dict[str, Tensor] = mine | theirs
        groups = [{"params": list(mine.values()), "share": True}]
        if theirs:
            groups.append({"params": list(theirs.values()), "share": False})
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, eps=1e-5, weight_decay=0.0, fused=True)

    @property
    def tie_width(self) -> float:
        """The ties' width of an average rater; 0 where ties aren't learned."""
        width = self.raters.log_width
        return 0.0 if width is None else float(width.exp())

    def both(self, preferences: Preferences, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards of the chosen and of the rejected; each response goes through the model once."""
        both = torch.cat([preferences.chosen[pairs], preferences.rejected[pairs]])
        items, places = both.unique(return_inverse=True)
        rewards = self.rewards(preferences, items.tolist())
        ordered = rewards[places.to(rewards.device)]
        return ordered[: len(pairs)], ordered[len(pairs) :]

    def rewards(self, preferences: Preferences, items: list[int]) -> Tensor:
        """Rewards of these responses, not normalised."""
        prompts = [preferences.prompts[item] for item in items]
        responses = [preferences.responses[item] for item in items]
        states = self.read(prompts, responses).float()
        found: Tensor = states @ self.weight
        return found

    def step(self) -> None:
        """Move the weights by their gradients."""
        self.optimizer.step()
        self.masters.push()

    def loss(self, chosen: Tensor, rejected: Tensor, preferences: Preferences, pairs: Tensor) -> Tensor:
        """The pairs' weighted mean of the negative log-likelihood, with the raters' prior.

        And what the config adds for rewards far from 0.
        """
        device = chosen.device
        weight = preferences.weight[pairs].to(device).float()
        losses = self.raters.losses(chosen - rejected, self.observed[pairs.to(device)])
        found = (weight * losses).sum() / weight.sum() + self.raters.prior_share()
        if self.centring:
            found = found + self.centring * (weight * (chosen + rejected).square()).sum() / weight.sum()
        return found

    def save(self, folder: Path) -> None:
        """Weights and optimizer state, exactly."""
        tensors = {name: value.detach() for name, value in self.parameters.items()}
        for name, value in self.parameters.items():
            for key, state in self.optimizer.state.get(value, {}).items():
                tensors[f"{key}:{name}"] = state
        save_file(
            {name: value.contiguous().cpu() for name, value in tensors.items()}, folder / "state.safetensors"
        )

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        tensors = load_file(folder / "state.safetensors")
        for name, value in self.parameters.items():
            value.copy_(tensors[name])
            state = {}
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"{key}:{name}" in tensors:
                    device = "cpu" if key == "step" else value.device
                    state[key] = tensors[f"{key}:{name}"].to(device)
            if state:
                self.optimizer.state[value] = state
        self.masters.push()


def _last(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> Tensor:
    return logprobs.score(model, prompts, responses, with_logprobs=False).last


def fine_tune(
    learner: Learner,
    preferences: Preferences,
    plan: Plan,
    config: RewardConfig,
    directory: RunDirectory,
    *,
    step: int,  # done already
    report: Callable[..., None],
    stop: Callable[[], bool],
    processes: Processes = ALONE,
) -> Spent:
    """Train to the end, with checkpoints; what that took since this process began."""
    tokens = 0
    seconds = processor = 0.0
    for pairs in itertools.islice(_all_steps(preferences, plan, config), step, None):
        began, used = time.monotonic(), time.process_time()
        rate = plan.learning_rate * schedule(step, plan.steps)
        for group in learner.optimizer.param_groups:
            group["lr"] = rate if group["share"] else Raters.RATE * schedule(step, plan.steps)
        loss, accuracy, seen = accumulate(learner, preferences, pairs, config, processes)
        norm = torch.nn.utils.clip_grad_norm_(list(learner.parameters.values()), CLIP)
        if not math.isfinite(loss) or not math.isfinite(float(norm)):
            numeric_failure(f"the loss is {loss} and the gradient's norm {float(norm)} at step {step + 1}")
        learner.step()
        step += 1
        tokens += seen
        seconds += time.monotonic() - began
        processor += time.process_time() - used
        report(
            "training",
            loss=loss,
            accuracy=accuracy,
            learning_rate=rate,
            gradient_norm=float(norm),
            tokens_per_second=seen / (time.monotonic() - began),
        )
        stopping = processes.any(stop())
        if processes.first and (step % config.checkpoint_every == 0 or step == plan.steps or stopping):
            with directory.checkpoint(step) as folder:
                learner.save(folder)
        if stopping:
            sys.exit(EX_TEMPFAIL)
    return Spent(tokens, seconds, processor)


def accumulate(
    learner: Learner,
    preferences: Preferences,
    pairs: Tensor,
    config: RewardConfig,
    processes: Processes = ALONE,
) -> tuple[float, float | None, int]:
    """Leave a step's gradient in the parameters: the loss, the share ordered rightly, and the tokens.

    Each part counts by its share of the step's weight, so that it doesn't matter how the step is parted, nor
    among how many processes.
    """
    learner.optimizer.zero_grad()
    total = float(preferences.weight[pairs].sum())
    loss = right = decided = tokens = 0.0
    padded = not logprobs.packs(learner.model, preferences.prompts, preferences.responses)
    mine = batches.shared_out(preferences, pairs, processes) if processes.size > 1 else pairs
    for part in batches.micro_batches(preferences, mine, config.micro_batch_tokens, padded=padded):
        chosen, rejected = learner.both(preferences, part)
        share = float(preferences.weight[part].sum()) / total
        part_loss = share * learner.loss(chosen, rejected, preferences, part)
        part_loss.backward()
        loss += float(part_loss.detach())
        ordered = (chosen - rejected).detach().cpu()[preferences.decided[part]]
        right += float((ordered > 0).sum() + 0.5 * (ordered == 0).sum())
        decided += len(ordered)
        items = preferences.items(part)
        tokens += sum(len(preferences.prompts[item]) + len(preferences.responses[item]) for item in items)
    if processes.size > 1:
        for value in learner.parameters.values():  # whoever has no part of the step adds nothing
            value.grad = torch.zeros_like(value) if value.grad is None else value.grad
        processes.add_up([value.grad for value in learner.parameters.values() if value.grad is not None])
        loss, right, decided, tokens = processes.total(loss, right, decided, tokens)
    return loss, right / decided if decided else None, int(tokens)


def schedule(step: int, steps: int) -> float:
    """The learning rate's share of its peak: a short linear warm-up, then a cosine to a tenth."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * done)) / 2


def _all_steps(preferences: Preferences, plan: Plan, config: RewardConfig) -> Iterator[Tensor]:
    for epoch in range(plan.epochs):
        yield from batches.steps(preferences, config.batch_size, seed=config.seed, epoch=epoch)
