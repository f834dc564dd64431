"""Train a policy against a reward model by PPO, within a KL budget.

    python -m policy.ppo --policy DIR --reward-model DIR --prompts prompts.jsonl --output DIR

An iteration draws responses (`policy.rollouts`), compares each with its baseline and takes a few clipped
steps (`policy.losses`). The KL from the reference is looked at before each iteration's first step; the run
ends where it is beyond the budget, with the last policy that was within it.
"""

import json
import logging
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from lm import backbone
from lm.config import EX_CONFIG, ConfigError
from lm.logprobs import LOGITS_BYTES, Scored, exact_kl, score
from lm.records import Prompt, RecordError, read, write
from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, command, numeric_failure
from lm.tokens import Chat
from policy import losses, optimizer_state
from policy.config import PpoConfig
from policy.learned_temperature import LearnedTemperature
from policy.readers import reader
from policy.rollouts import Reference, Rewards, Rollouts, collect, generator_of, values_of
from rewards.reward_model import RewardModel

SHOWN = 20  # rollouts of the saved policy kept to be read

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What a run has done so far, over all its attempts."""

    kl_weight: float
    kls: list[float] = field(default_factory=list)  # of each iteration's rollouts, before its steps
    episodes: int = 0
    tokens: int = 0
    seconds: float = 0.0
    kept: dict[str, float] = field(default_factory=dict)  # figures of the policy that would be saved now


class Learner:
    """All that changes in training: what a checkpoint holds."""

    def __init__(self, policy: PreTrainedModel, config: PpoConfig) -> None:
        self.policy, self.config = policy, config
        self.value_head = new_value_head(policy) if config.baseline == "value" else None
        parameters = list(policy.parameters())
        self.rate = config.learning_rate or learning_rate(sum(each.numel() for each in parameters), config)
        groups: list[dict[str, Any]] = [{"params": parameters, "peak": self.rate}]
        if self.value_head is not None:
            peak = config.value_learning_rate or 10 * self.rate
            groups.append({"params": list(self.value_head.parameters()), "peak": peak})
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        self.optimizer = torch.optim.AdamW(
            groups, lr=self.rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
        )
        self.temperature = LearnedTemperature(policy, config.temperature_rate)
        self.progress = Progress(config.kl_weight)
        self.within = weights_of(policy)  # the last policy seen within the budget

    def step(self, factor: float) -> float:
        """One step of the optimizer at this share of its peak rates; the gradient's norm before the clip."""
        self.temperature.observe()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_norm))
        if not math.isfinite(norm):
            numeric_failure(f"the gradient's norm is {norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.optimizer.step()
        self.temperature.step(factor)
        return norm

    def keep(self, rollouts: Rollouts, iteration: int) -> None:
        """Take the policy for the one to be saved, with what its rollouts say of it."""
        self.within = weights_of(self.policy)
        self.progress.kept = {"iterations": iteration, **rollouts.statistics(self.config)}

    def save(self, folder: Path) -> None:
        """Write all of it."""
        save_file(weights_of(self.policy), folder / "policy.safetensors")
        save_file(self.within, folder / "within.safetensors")
        if self.value_head is not None:
            save_file(self.value_head.state_dict(), folder / "value_head.safetensors")
        optimizer_state.save(self.optimizer, folder / "optimizer.safetensors")
        state = {**asdict(self.progress), "temperature": self.temperature.state()}
        (folder / "progress.json").write_text(json.dumps(state), encoding="utf-8")

    def load(self, folder: Path) -> None:
        """Take all of it up again."""
        set_weights(self.policy, load_file(folder / "policy.safetensors"))
        self.within = load_file(folder / "within.safetensors", device=str(self.policy.device))
        if self.value_head is not None:
            self.value_head.load_state_dict(load_file(folder / "value_head.safetensors"))
        optimizer_state.load(self.optimizer, folder / "optimizer.safetensors")
        state = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
        self.temperature.restore(state.pop("temperature"))
        self.progress = Progress(**state)


def train(
    learner: Learner,
    reference: Reference,
    reward_model: Rewards,
    prompts: Sequence[Prompt],
    chat: Chat,
    config: PpoConfig,
    directory: RunDirectory,
) -> str:
    """Iterate until there are enough iterations or the budget is spent; says which of the two."""
    saved = directory.latest_checkpoint()
    if saved:
        learner.load(saved.path)
    iteration = directory.resume(saved.step if saved else 0)
    progress, stop = learner.progress, StopSignal()
    while True:
        rollouts = collect(
            learner.policy,
            reference,
            reward_model,
            drawn_prompts(prompts, iteration, config),
            chat,
            config,
            generator=generator_of(config.seed, iteration),
            value_head=learner.value_head,
        )
        statistics = rollouts.statistics(config)
        if not all(map(math.isfinite, statistics.values())):
            numeric_failure(f"the rollouts of iteration {iteration + 1} give {statistics}")
        progress.seconds += rollouts.sampling_seconds + rollouts.scoring_seconds
        progress.kls.append(statistics["kl"])
        spent = budget_is_spent(progress.kls, config.kl_budget)
        if iteration == 0 or (is_within(progress.kls, config.kl_budget) and not spent):
            learner.keep(rollouts, iteration)
            shown = rollouts.samples(
                SHOWN,
                policy=directory.path.name,
                temperature=config.temperature,
                reward_model=reward_model.identity,
            )
            write(directory.path / "samples.jsonl", shown)
        if spent:
            return "budget"
        if iteration == config.iterations:  # these rollouts only measured the last policy
            return "iterations"
        iteration += 1
        rollouts = rollouts.with_advantages(config, progress.kl_weight)
        trained = update(learner, reference, rollouts, config, iteration)
        if config.kl_target is not None:
            progress.kl_weight = losses.adapted(
                progress.kl_weight,
                kl=statistics["kl"],
                target=config.kl_target,
                episodes=len(rollouts.responses),
            )
        progress.episodes += len(rollouts.responses)
        progress.tokens += sum(map(len, rollouts.prompts)) + len(rollouts.logprobs)
        progress.seconds += trained["training_seconds"]
        metrics: dict[str, Any] = {**statistics, **trained}
        directory.report(step=iteration, total=config.iterations, **metrics)
        if iteration % config.checkpoint_every == 0 or stop:
            with directory.checkpoint(iteration) as folder:
                learner.save(folder)
        if stop:
            sys.exit(EX_TEMPFAIL)


def update(
    learner: Learner, reference: Reference, rollouts: Rollouts, config: PpoConfig, iteration: int
) -> dict[str, float]:
    """Learn from one iteration's rollouts; the metrics of the last epoch, and of the very first step."""
    began = time.monotonic()
    chance = random.Random(f"{config.seed} {iteration}")  # noqa: S311
    factor = min(1.0, iteration / config.warm_up)
    found: dict[str, float] = {}
    for epoch in range(config.epochs):
        sums: dict[str, float] = {}
        steps = 0
        for rows in rollouts.minibatches(config, chance):
            learner.optimizer.zero_grad()
            step = backward(learner, reference, rollouts, rows, config)
            step["gradient_norm"] = learner.step(factor)
            if not found:
                found["first_approxkl"] = step["approxkl"]  # 0: training computes what drawing did
            for name, value in step.items():
                sums[name] = sums.get(name, 0.0) + value
            steps += 1
        found |= {name: value / steps for name, value in sums.items()}
        found["epochs"] = epoch + 1
        if found["approxkl"] > config.approxkl_limit:
            break
    learner.optimizer.zero_grad()
    if learner.value_head is not None:
        found["explained_variance"] = losses.explained_variance(rollouts.values, rollouts.returns)
    return found | {
        "kl_coefficient": learner.progress.kl_weight,
        "temperature_scale": learner.temperature.scale,
        "learning_rate": learner.rate * factor,
        "training_seconds": time.monotonic() - began,
    }


def backward(
    learner: Learner, reference: Reference, rollouts: Rollouts, rows: list[int], config: PpoConfig
) -> dict[str, float]:
    """The gradient of one step's loss, and its statistics.

    Everything is a sum over tokens divided by all tokens of the step, so how many rows fit into one forward
    changes nothing.
    """
    count = sum(len(rollouts.responses[row]) for row in rows)
    sums: dict[str, float] = {}
    for start in range(0, len(rows), config.batch_size):
        part = rows[start : start + config.batch_size]
        with backbone.computing(str(learner.policy.device), config.precision):
            terms = token_terms(learner, reference, rollouts, part, config)
        loss = terms["policy_loss"]
        if config.kl_in == "loss":
            loss = loss + learner.progress.kl_weight * terms["kl_loss"]
        if "value_loss" in terms:
            loss = loss + config.value_coefficient * terms["value_loss"]
        total = loss.sum() / count
        if not torch.isfinite(total):
            numeric_failure(f"the loss is {float(total)}")
        total.backward()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach().sum()) / count
    return sums


def token_terms(
    learner: Learner, reference: Reference, rollouts: Rollouts, rows: list[int], config: PpoConfig
) -> dict[str, Tensor]:
    """Each token's losses and statistics, (N,) each, with gradients to the policy and the value head."""
    places = rollouts.places(rows)
    old, advantages = rollouts.logprobs[places], rollouts.advantages[places]
    exact = config.kl_in == "loss"
    scored = score(
        learner.policy,
        [rollouts.prompts[row] for row in rows],
        [rollouts.responses[row] for row in rows],
        temperature=config.temperature,
        with_logprobs=not exact,
    )
    terms: dict[str, Tensor] = {}
    logprobs = scored.logprobs
    if exact:
        logprobs, terms["kl_loss"] = logprobs_and_kl(
            learner.policy,
            reference.model,
            scored,
            rollouts.reference_hidden[places],
            temperature=config.temperature,
        )
    terms["policy_loss"], clipped = losses.policy_loss(logprobs, old, advantages, clip=config.clip)
    terms["clipfrac"] = clipped.float()
    terms["approxkl"] = losses.half_squared(logprobs.detach(), old)
    if learner.value_head is not None:
        terms["value_loss"] = losses.value_loss(
            values_of(learner.value_head, scored.hidden),
            rollouts.values[places],
            rollouts.returns[places],
            clip=config.value_clip,
        )
    return terms


def logprobs_and_kl(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    scored: Scored,
    reference_hidden: Tensor,
    *,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """Each token's log-probability, and the whole KL from the reference where it was drawn: (N,) each.

    Of large vocabularies only a chunk's logits are in memory; they are computed again for the gradient.
    """

    def of(hidden: Tensor, other: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        logits = backbone.logits(policy, hidden) / temperature
        reference_logits = backbone.logits(reference, other) / temperature
        taken = logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)
        return taken, exact_kl(logits, reference_logits)

    size = max(1, LOGITS_BYTES // (4 * policy.get_output_embeddings().weight.shape[0]))
    rows = (scored.hidden, reference_hidden, scored.tokens)
    if len(scored.tokens) <= size:
        return of(*rows)
    chunks = zip(*(tensor.split(size) for tensor in rows), strict=True)
    logprobs, kls = zip(*(checkpoint(of, *chunk, use_reentrant=False) for chunk in chunks), strict=True)
    return torch.cat(logprobs), torch.cat(kls)


def is_within(kls: Sequence[float], budget: float | None) -> bool:
    """Whether the last policy keeps the budget, by its own rollouts and by the last two iterations' mean.

    One iteration alone is too noisy to trust when it is low.
    """
    return budget is None or max(kls[-1], _recent(kls)) <= budget


def budget_is_spent(kls: Sequence[float], budget: float | None) -> bool:
    """Whether to stop before learning from the rollouts whose KL is the last of these.

    The first two iterations tell little, and one alone is too noisy to end a run, but twice the budget is
    too much at any time.
    """
    if budget is None:
        return False
    return kls[-1] > 2 * budget or (len(kls) > 2 and _recent(kls) > budget)


def _recent(kls: Sequence[float]) -> float:
    """The mean of the last two iterations."""
    recent = kls[-2:]
    return sum(recent) / len(recent)


def drawn_prompts(prompts: Sequence[Prompt], iteration: int, config: PpoConfig) -> list[Prompt]:
    """The prompts of an iteration: all in a random order, then all in another, and so on.

    What is drawn follows from the seed and the iteration alone, so a resumed run needs no more.
    """
    chosen = []
    first = iteration * config.prompts_per_iteration
    orders: dict[int, list[int]] = {}
    for cursor in range(first, first + config.prompts_per_iteration):
        turn, place = divmod(cursor, len(prompts))
        if turn not in orders:
            orders[turn] = list(range(len(prompts)))
            random.Random(f"{config.seed} prompts {turn}").shuffle(orders[turn])  # noqa: S311
        chosen.append(prompts[orders[turn][place]])
    return chosen


def learning_rate(parameters: int, config: PpoConfig) -> float:
    """A peak rate for a model of this size: measured at a million, published at 124 million and a billion."""
    small = 1.5e-4 if config.baseline == "group" else 3e-4
    return small * min(1.0, float((1e6 / parameters) ** 0.57))


def new_value_head(policy: PreTrainedModel) -> nn.Linear:
    """A head whose values are 0 at first, so that they can't mislead."""
    width = policy.get_output_embeddings().weight.shape[1]
    head = nn.Linear(int(width), 1, device=policy.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def weights_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """A copy of the parameters; tied ones are there once."""
    return {name: weight.detach().clone().contiguous() for name, weight in model.named_parameters()}


def set_weights(model: PreTrainedModel, weights: dict[str, Tensor]) -> None:
    """Put a copy of the parameters back."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(weights[name])


def run(config: PpoConfig, directory: RunDirectory) -> None:
    """Load what the config names, train, and write model and result."""
    device = backbone.pick_device(config.device)
    prompts = list(read(directory.find(config.prompts), Prompt))
    if not prompts:
        raise ConfigError(f"prompts is {str(config.prompts)!r}, which holds no prompt")
    start = directory.find(config.policy)
    origin = directory.find(config.reference) if config.reference else start
    chat = Chat.load(start)
    if Chat.load(origin).tokenizer.get_vocab() != chat.tokenizer.get_vocab():
        raise ConfigError(
            f"reference is {str(origin)!r}, whose tokens are not those of the policy {str(start)!r}"
        )
    reference = Reference(backbone.load(origin, device=device).requires_grad_(False), backbone.digest(origin))
    reward_model = reader(
        RewardModel.load(directory.find(config.reward_model), device=device),
        chat,
        (prompt.messages for prompt in prompts),
    )
    learner = Learner(backbone.load(start, device=device), config)
    stopped = train(learner, reference, reward_model, prompts, chat, config, directory)
    save_result(learner, chat, directory, stopped)


def save_result(learner: Learner, chat: Chat, directory: RunDirectory, stopped: str) -> None:
    """Write the last policy within the budget, and what its rollouts said of it."""
    set_weights(learner.policy, learner.within)
    backbone.save(learner.policy, chat, directory.path / "model")
    if learner.value_head is not None:
        save_file(learner.value_head.state_dict(), directory.path / "value_head.safetensors")
    progress = learner.progress
    seconds = max(progress.seconds, 1e-9)
    directory.write_result(
        {
            **progress.kept,
            "stopped": stopped,
            "episodes": progress.episodes,
            "kl_by_iteration": progress.kls,
            "kl_coefficient": progress.kl_weight,
            "learning_rate": learner.rate,
            "temperature_scale": learner.temperature.scale,
            "seconds": seconds,
            "examples_per_second": progress.episodes / seconds,
            "tokens_per_second": progress.tokens / seconds,
            "peak_memory_bytes": backbone.peak_memory_bytes(str(learner.policy.device)),
        }
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    config, directory, _ = command(PpoConfig, argv)
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        run(config, directory)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
