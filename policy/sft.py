"""Supervised fine-tuning: imitate demonstrations, the best of one's own samples, or rows of conversations."""

import json
import logging
import math
import random
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from lm import backbone
from lm.config import EX_CONFIG, ConfigError
from lm.logprobs import score, score_all
from lm.records import Demonstration, RecordError, Response, read
from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, command, numeric_failure
from lm.tokens import Chat
from policy import optimizer_state, packing
from policy.auxiliary import Readouts
from policy.config import SftConfig
from policy.learned_temperature import LearnedTemperature
from policy.readers import WordReader, reader
from policy.row_training import (
    MODEL,
    RowSettings,
    RowTraining,
    load_model,
    save_model,
)
from rewards.reward_model import RewardModel

POOL = 16  # batches that are sorted by length together
MEASURED = 256  # sequences that the loss before and after is measured on

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Sequences:
    """What is imitated, as tokens, and what is to be said of how it was chosen."""

    prompts: list[list[int]]
    responses: list[list[int]]
    figures: dict[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.prompts)

    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [len(prompt) + len(response) for prompt, response in self.pairs()]

    def pairs(self) -> Iterable[tuple[list[int], list[int]]]:
        """Each prompt with its response."""
        return zip(self.prompts, self.responses, strict=True)

    def of(self, rows: Sequence[int]) -> tuple[list[list[int]], list[list[int]]]:
        """Prompts and responses of these rows."""
        return [self.prompts[row] for row in rows], [self.responses[row] for row in rows]

    def no_longer_than(self, limit: int) -> "Sequences":
        """Those that fit, and how many do not."""
        kept = [row for row, length in enumerate(self.lengths()) if length <= limit]
        return Sequences(*self.of(kept), {**self.figures, "dropped": len(self) - len(kept)})


def demonstrated(path: Path, chat: Chat) -> Sequences:
    """The sequences of a demonstrations.jsonl."""
    found = list(read(path, Demonstration))
    return Sequences(
        [chat.prompt(item.messages) for item in found], [chat.response(item.response) for item in found]
    )


def best_of(
    samples: Path, reward_model: RewardModel | WordReader, chat: Chat, config: SftConfig
) -> Sequences:
    """The sample with the highest reward of each prompt, as it was drawn."""
    responses = list(read(samples / "responses.jsonl", Response))
    groups: dict[str, list[int]] = {}
    for row, response in enumerate(responses):
        if response.tokens is None or response.ended is None or response.messages is None:
            raise ConfigError(
                f"samples is {str(samples)!r}, whose response {row + 1} lacks messages, tokens or ended; "
                "it must be a run of policy.sample"
            )
        groups.setdefault(response.prompt_id, []).append(row)
    if not groups:
        raise ConfigError(f"samples is {str(samples)!r}, which holds no response")
    chosen_from = []
    for prompt_id, rows in list(groups.items())[: config.max_prompts]:
        if len(rows) < config.best_of:
            raise ConfigError(
                f"best_of is {config.best_of}, but prompt {prompt_id!r} has {len(rows)} samples"
            )
        chosen_from.append(rows[: config.best_of])
    used = [row for rows in chosen_from for row in rows]
    prompts: list[list[int]] = []
    for rows in chosen_from:
        prompt = chat.prompt(responses[rows[0]].messages or ())
        prompts += [prompt] * len(rows)
    drawn = [list(responses[row].tokens or ()) for row in used]
    rewards = _rewards(samples, reward_model, used, len(responses), prompts, drawn)
    ended = torch.tensor([bool(responses[row].ended) for row in used])
    rewards = (rewards - config.missing_end_penalty * ~ended).view(-1, config.best_of)
    best = rewards.argmax(1)
    rows = [group * config.best_of + int(place) for group, place in enumerate(best)]
    figures = {
        "mean_reward": float(rewards.mean()),
        "mean_reward_chosen": float(rewards.max(1).values.mean()),
        "samples": len(used),
    }
    return Sequences([prompts[row] for row in rows], [drawn[row] for row in rows], figures)


def _rewards(
    samples: Path,
    reward_model: RewardModel | WordReader,
    used: list[int],
    count: int,
    prompts: list[list[int]],
    responses: list[list[int]],
) -> Tensor:
    """The rewards: of features from when the samples were drawn if they are of the same trunk."""
    file = samples / "features.safetensors"
    if file.is_file() and reward_model.frozen_trunk:
        trunk = json.loads((samples / "result.json").read_text(encoding="utf-8")).get("trunk")
        if trunk == reward_model.trunk_digest:
            features = load_file(file)["features"]
            if len(features) != count:
                raise ConfigError(f"{file} holds features of {len(features)} responses, not of {count}")
            return reward_model.score_features(features[used]).cpu()
    logger.info("no features of the reward model's trunk; the samples go through it now")
    return reward_model.score(prompts, responses).cpu()


def plan(lengths: Sequence[int], *, batch_size: int, epochs: int, seed: int) -> list[list[int]]:
    """The rows of every step: each epoch has its own order, and rows of a batch are about as long."""
    steps = []
    for epoch in range(epochs):
        chance = random.Random(f"{seed} epoch {epoch}")  # noqa: S311
        order = list(range(len(lengths)))
        chance.shuffle(order)
        batches = []
        for start in range(0, len(order), batch_size * POOL):
            pool = sorted(order[start : start + batch_size * POOL], key=lambda row: lengths[row])
            batches += [pool[first : first + batch_size] for first in range(0, len(pool), batch_size)]
        chance.shuffle(batches)
        steps += batches
    return steps


@dataclass(slots=True)
class Progress:
    """What a run has done so far, over all its attempts."""

    step: int = 0
    seconds: float = 0.0
    sequences: int = 0
    tokens: int = 0
    loss_before: float = math.nan


class Imitation:
    """A model on its way to responding as the sequences do."""

    def __init__(self, model: PreTrainedModel, chat: Chat, sequences: Sequences, config: SftConfig) -> None:
        self.model, self.chat, self.sequences, self.config = model, chat, sequences, config
        self.device = model.device.type
        self.parameters = list(model.parameters())
        self.rate = config.learning_rate or learning_rate(sum(each.numel() for each in self.parameters))
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.rate, betas=(0.9, 0.95), eps=1e-5, weight_decay=0.0
        )
        self.temperature = LearnedTemperature(model, config.temperature_rate)
        self.steps = plan(
            sequences.lengths(), batch_size=config.batch_size or 32, epochs=config.epochs, seed=config.seed
        )
        self.progress = Progress()

    def run(self, directory: RunDirectory) -> dict[str, Any]:
        """Take the steps that are left, and say what came of them."""
        stop = StopSignal()
        config, progress = self.config, self.progress
        since, counted = time.monotonic(), progress.seconds
        if not progress.step:
            progress.loss_before = self.measured()
        total = len(self.steps)
        self.model.train()
        for rows in self.steps[progress.step :]:
            share = self.share(progress.step)
            loss, norm = self.train_step(rows, share)
            progress.step += 1
            progress.sequences += len(rows)
            progress.tokens += sum(map(len, (*self.sequences.of(rows)[0], *self.sequences.of(rows)[1])))
            progress.seconds = counted + time.monotonic() - since
            stopping = bool(stop)  # asked once, so that nobody leaves without a checkpoint
            last = progress.step == total
            if progress.step % config.report_every == 0 or last:
                directory.report(
                    step=progress.step,
                    total=total,
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=self.rate * share,
                    temperature_scale=self.temperature.scale,
                    tokens_per_second=progress.tokens / progress.seconds,
                )
            if progress.step % config.checkpoint_every == 0 or stopping or last:
                with directory.checkpoint(progress.step) as folder:
                    self.save(folder)
            if stopping and not last:
                sys.exit(EX_TEMPFAIL)
        self.model.eval()
        return self.result()

    def share(self, step: int) -> float:
        """The share of the peak rates at a step, counted from 0: up, then down a line."""
        warmed = min(1.0, (step + 1) / self.config.warmup_steps) if self.config.warmup_steps else 1.0
        least = 0.05 if self.config.final_rate_share is None else self.config.final_rate_share
        return warmed * max(least, 1 - step / len(self.steps))

    def train_step(self, rows: list[int], share: float) -> tuple[float, float]:
        """One step on these rows; gives the mean loss of their tokens and the gradient's norm."""
        size = self.config.micro_batch or len(rows)
        tokens = sum(len(self.sequences.responses[row]) for row in rows)
        total = 0.0
        for start in range(0, len(rows), size):
            with backbone.computing(self.device, self.config.precision):
                scored = score(self.model, *self.sequences.of(rows[start : start + size]))
            loss = -scored.logprobs.sum() / tokens  # of the whole step, so the parts add up exactly
            loss.backward()
            total += float(loss.detach())
        self.temperature.observe()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.config.gradient_norm))
        if not math.isfinite(total + norm):
            numeric_failure(f"step {self.progress.step + 1} has loss {total} and gradient norm {norm}")
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * share
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.temperature.step(share)
        return total, norm

    def measured(self) -> float:
        """The mean loss of the tokens of some sequences, always the same ones."""
        rows = random.Random(f"{self.config.seed} measured").sample(  # noqa: S311
            range(len(self.sequences)), min(MEASURED, len(self.sequences))
        )
        with backbone.computing(self.device, self.config.precision):
            return -float(score_all(self.model, *self.sequences.of(rows)).logprobs.mean())

    def save(self, folder: Path) -> None:
        """Write all that the run needs to go on; the order of the sequences follows from the seed."""
        backbone.save(self.model, self.chat, folder / MODEL)
        optimizer_state.save(self.optimizer, folder / "adamw.safetensors")
        state = {"progress": asdict(self.progress), "temperature": self.temperature.state()}
        (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Take up optimizer and progress; the model was loaded from the same folder."""
        optimizer_state.load(self.optimizer, folder / "adamw.safetensors")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        self.progress = Progress(**state["progress"])
        self.temperature.restore(state["temperature"])

    def result(self) -> dict[str, Any]:
        """The figures of the run."""
        progress = self.progress
        seconds = max(progress.seconds, 1e-9)
        return {
            "loss_before": progress.loss_before,
            "loss_after": self.measured(),
            "sequences": len(self.sequences),
            "steps": progress.step,
            **self.sequences.figures,
            "norm_scale": self.temperature.scale,
            "learning_rate": self.rate,
            "seconds": seconds,
            "examples_per_second": progress.sequences / seconds,
            "tokens_per_second": progress.tokens / seconds,
            "peak_memory_bytes": backbone.peak_memory_bytes(self.device),
        }


def learning_rate(parameters: int) -> float:
    """A peak rate for a model of this size: measured at a million, and 3e-5 at 124 million, as published."""
    return 5e-4 * min(1.0, float((1e6 / parameters) ** 0.57))


def imitate(config: SftConfig, directory: RunDirectory) -> None:
    """Fine-tune on sequences, from the last checkpoint or from the start; write model and result."""
    device = backbone.pick_device(config.device)
    start = directory.find(config.model)
    chat = Chat.load(start)
    checkpoint = directory.latest_checkpoint()
    directory.resume(checkpoint.step if checkpoint else 0)
    model = backbone.load(checkpoint.path / MODEL if checkpoint else start, device=device)
    training = Imitation(model, chat, _sequences(config, directory, chat, model), config)
    if checkpoint:
        training.restore(checkpoint.path)
    result = training.run(directory)
    backbone.save(model, chat, directory.path / MODEL)
    directory.write_result(result)


def _sequences(config: SftConfig, directory: RunDirectory, chat: Chat, model: PreTrainedModel) -> Sequences:
    if config.demonstrations:
        source = directory.find(config.demonstrations)
        found = demonstrated(source, chat)
    elif config.samples and config.reward_model:
        source, folder = directory.find(config.samples), directory.find(config.reward_model)
        asked = (sample.messages or () for sample in read(source / "responses.jsonl", Response))
        reward_model = reader(RewardModel.load(folder, device=model.device.type), chat, asked)
        found = best_of(source, reward_model, chat, config)
    else:
        raise ConfigError("neither demonstrations nor samples are given")
    context = int(getattr(model.config, "max_position_embeddings", 0) or sys.maxsize)
    limit = min(config.max_length or context, context)
    kept = found.no_longer_than(limit)
    if not len(kept):
        raise ConfigError(f"{source}: none of its {len(found)} sequences has at most {limit} tokens")
    return kept


def train_on_rows(config: SftConfig, corpus: Path, directory: RunDirectory) -> None:
    """Fine-tune on rows, from the last checkpoint or from the start; write model and result."""
    settings = RowSettings(
        corpus=directory.find(corpus),
        tokens=config.tokens,
        max_length=config.max_length or 128,
        batch_size=config.batch_size or 16,
        matrix_rate=config.matrix_rate,
        learning_rate=config.learning_rate or 1e-3,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        constant_share=0.0,
        final_rate_share=0.02 if config.final_rate_share is None else config.final_rate_share,
        auxiliary_weight=config.auxiliary_weight,
        checkpoint_every=config.checkpoint_every,
        report_every=config.report_every,
        compile=config.compile,
        device=backbone.pick_device(config.device),
    )
    settings.check_corpus()
    checkpoint = directory.latest_checkpoint()
    directory.resume(checkpoint.step if checkpoint else 0)
    start = checkpoint.path / MODEL if checkpoint else directory.find(config.model)
    model, chat, readouts = load_model(start)
    if readouts is None and not checkpoint and config.auxiliary_weight:
        torch.manual_seed(config.seed)
        names = packing.property_names(settings.corpus)
        readouts = Readouts(names, model.config.hidden_size) if names else None
    training = RowTraining(model, chat, readouts, settings)
    if checkpoint:
        training.restore(checkpoint.path)
    result = training.run(directory)
    save_model(training.model, chat, training.readouts, directory.path / MODEL)
    directory.write_result(result)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    config, directory, _ = command(SftConfig, argv)
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        if config.rows:
            train_on_rows(config, config.rows, directory)
        else:
            imitate(config, directory)
    except (ConfigError, RecordError, OSError, SafetensorError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
