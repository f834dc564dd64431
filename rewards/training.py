"""The training of a reward model, from config to saved result."""

import logging
import math
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from lm import backbone
from lm.parallel import Processes
from lm.run_directory import EX_TEMPFAIL, Checkpoint, RunDirectory, numeric_failure
from lm.tokens import Layout
from rewards import adapters, calibration, disagreement, features, head, labels, learning_curve, to_read
from rewards.batches import FOLDS, Preferences, compact, longest_row, read_pairs, read_samples
from rewards.config import RewardConfig
from rewards.evaluate import measure, scored
from rewards.fine_tuning import Learner, Plan, Spent, checkpointed, fine_tune
from rewards.head import Head
from rewards.joint import rater_errors, style_found
from rewards.raters import Observed, Raters
from rewards.raters import table as raters_of
from rewards.reward_model import RewardModel, trunk_digest
from rewards.style import Terms
from rewards.trunks import Reads, Trunk

logger = logging.getLogger(__name__)
FEW = 500  # judgments; below, fine-tuning was no better than the head and far slower
LEAST_SLOPE = 0.05  # calibration can't make a model less sure than this share of what it claims


@dataclass(frozen=True, slots=True)
class Given:
    """What the run starts from, read and checked."""

    folder: Path
    digest: str
    chat: Layout
    reads: Reads  # of the model when it is trained
    device: str
    pairs: Preferences
    eval_pairs: Preferences | None
    samples: Path | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained reward model, the log-odds that it claims for unseen pairs, and the tokens it took."""

    reward_model: RewardModel
    figures: dict[str, Any]
    tokens: int
    mistakes: list[dict[str, Any]]  # worth reading, as rewards.to_read makes them
    disputed: list[dict[str, Any]]


class Progress:
    """The steps of all phases, counted together."""

    def __init__(self, directory: RunDirectory, *, step: int, total: int, stop: Callable[[], bool]) -> None:
        self.directory, self.step, self.total, self.stop = directory, step, total, stop

    def __call__(self, phase: str, **metrics: float | int | str | None) -> None:
        """Say that a step of this phase is done."""
        self.step += 1
        self.directory.report(step=self.step, total=self.total, phase=phase, **metrics)

    def pause(self) -> None:
        """End the process if it has been asked to; what has no checkpoint takes seconds to do again."""
        if self.stop():
            sys.exit(EX_TEMPFAIL)


def train(config: RewardConfig, directory: RunDirectory, stop: Callable[[], bool]) -> dict[str, Any]:
    """Carry out the run; gives its result, the model being saved."""
    began = time.monotonic()
    processes = Processes.joined(backbone.pick_device(config.device))
    processes.wait()  # until the first has swept the directory
    checkpoint = directory.latest_checkpoint()
    step = directory.resume(checkpoint.step if checkpoint else 0)
    device = processes.device
    path = directory.find(config.model)
    trunk = Trunk.load(path, device=device, pooling=config.pooling)
    folder, model, chat = backbone.local_folder(path), trunk.model, trunk.chat
    longest = longest_row(model, config.max_length)
    read = partial(read_pairs, chat=chat, max_length=longest, simulated=config.simulated)
    given = Given(
        folder=folder,
        digest=trunk_digest(folder),
        chat=chat,
        reads=trunk.reads,
        device=device,
        pairs=read(directory.find(config.pairs)),
        eval_pairs=read(directory.find(config.eval_pairs)) if config.eval_pairs else None,
        samples=directory.find(config.samples) if config.samples else None,
    )
    methods = _methods(config, given.pairs)
    trained_on, held_out = _split(given, config.seed)
    tuned = next((name for name in methods if name != "head"), None)
    plan = Plan.of(config, model, trained_on, adapters=tuned == "lora") if tuned else None
    feature_steps = math.ceil(len(given.pairs.responses) / features.CHUNK) + 2
    total = (plan.steps if plan else 0) + (feature_steps if "head" in methods else 0)
    progress = Progress(directory, step=step, total=total, stop=stop)

    found: dict[str, Candidate] = {}
    if plan and tuned:
        learner, spent = train_weights(
            config, given, trained_on, model, plan, checkpoint, progress=progress, processes=processes
        )
        processes.leave()
        if not processes.first:
            return {}  # the first measures and saves
        trunk = whole_model(config, given, learner, directory)
        found[tuned] = measured(config, given, learner, trunk, trained_on, held_out, spent)
        if "head" in methods:
            model = backbone.load_trunk(folder, device=device)  # the other one has moved
    if "head" in methods:
        found["head"] = train_head(config, given, model, held_out, progress=progress)
    name = max(found, key=lambda name: (found[name].figures["eval_accuracy"] or 0, name == "head"))
    best = found[name]
    best.reward_model.save(directory.path / "model")
    to_read.write(directory.path, to_read.MISTAKES, best.mistakes)
    to_read.write(directory.path, to_read.DISPUTED, best.disputed)
    seconds = time.monotonic() - began
    return {
        "train": name,
        **{f"{name}_accuracy": each.figures["eval_accuracy"] for name, each in found.items()},
        **given.pairs.counts(),
        **best.figures,
        "gain": best.reward_model.head.gain,
        "bias": best.reward_model.head.bias,
        "tie_width": best.reward_model.tie_width,
        "logits_per_reward": best.reward_model.logits_per_reward,
        "members": len(best.reward_model.head.weights),
        "trunk": best.reward_model.trunk_digest,
        "epochs": plan.epochs if plan and name == tuned else None,
        "learning_rate": plan.learning_rate if plan and name == tuned else None,
        "processes": processes.size,
        "seconds": seconds,
        "examples_per_second": len(given.pairs) * (plan.epochs if plan and name == tuned else 1) / seconds,
        "tokens_per_second": sum(each.tokens for each in found.values()) / seconds,
        "peak_memory_bytes": backbone.peak_memory_bytes(device),
    }


def train_head(
    config: RewardConfig, given: Given, model: PreTrainedModel, held_out: Tensor, *, progress: Progress
) -> Candidate:
    """Fit the head to all pairs; its figures are of heads that have not seen the prompt."""
    pairs = given.pairs
    total = len(pairs.responses)
    trunk = Trunk(model, given.chat, given.reads).frozen()

    def show(done: int) -> None:
        progress("features", responses=done, of=total)
        progress.pause()

    def extract(prompts: list[list[int]], responses: list[list[int]], progress: Any = None) -> Tensor:
        with backbone.computing(given.device, config.precision):
            return trunk.read_all(
                prompts, responses, batch_tokens=config.micro_batch_tokens, progress=progress
            )

    states = extract(pairs.prompts, pairs.responses, show)
    reference, tokens = states, pairs.tokens
    if given.samples:
        stored = _stored_features(given.samples, given.digest)
        if stored is not None:
            reference = stored
        else:
            prompts, responses = _samples(config, given, model)
            reference = extract(prompts, responses)
            tokens += sum(map(len, prompts)) + sum(map(len, responses))
    if not bool(states.isfinite().all()) or not bool(reference.isfinite().all()):
        numeric_failure("the model's features are not all finite")
    progress("fitting", members=config.members)
    found = head.fit(
        states,
        pairs,
        reference,
        folds=pairs.folds(config.seed),
        penalty=config.penalty,
        members=config.members,
        pessimism=config.pessimism,
        ties=config.ties,
        seed=config.seed,
        raters=config.raters,
        terms=Terms.counted(pairs.texts, pairs.chosen, pairs.rejected) if config.style_terms else None,
        groups=config.groups,
    )
    fitted, tie_width, unseen = found.head, found.tie_width, found.unseen
    if found.raters.names:
        made = labels.soft_labels(found.raters, found.observed, found.differences, pairs)
        labels.write(progress.directory.path / labels.FILE, made, pairs)
    figures, slope = _measure(unseen, pairs)
    progress("members", members=config.members, tie_width=tie_width, accuracy=figures["eval_accuracy"])
    if "full" in _methods(config, pairs) and given.eval_pairs is None:  # compare on the same pairs
        figures = _measure(unseen, pairs, only=held_out)[0]
    reward_model = RewardModel(
        fitted,
        folder=given.folder,
        trunk_digest=given.digest,
        frozen_trunk=True,
        reads=trunk.reads,
        tie_width=tie_width,
        logits_per_reward=fitted.claimed_logits * slope,
        device=given.device,
        model=model,
        chat=given.chat,
    )
    mistakes = to_read.mistakes(unseen * slope, pairs)
    if given.eval_pairs:
        figures, mistakes = _fresh(reward_model, given.eval_pairs, config)
    fit = learning_curve.of_head(states, pairs, penalty=config.penalty, ties=config.ties)
    curve = learning_curve.curve(pairs, pairs.folds(config.seed), fit, seed=config.seed)
    deviations = disagreement.of_pairs(fitted.members(states), pairs.chosen, pairs.rejected)
    disputed = to_read.disputed(deviations, unseen * slope, pairs)
    figures |= {**found.figures, "learning_curve": curve}
    return Candidate(reward_model, figures, tokens, mistakes, disputed)


def train_weights(
    config: RewardConfig,
    given: Given,
    trained_on: Preferences,
    model: PreTrainedModel,
    plan: Plan,
    checkpoint: Checkpoint | None,
    *,
    progress: Progress,
    processes: Processes,
) -> tuple[Learner, Spent]:
    """Fine-tune the model, all of it or adapters beside it, from the last checkpoint on."""
    if plan.adapters:
        adapters.add(model, config.lora_rank, seed=config.seed)
    if config.gradient_checkpointing:
        checkpointed(model)
    terms = Terms.none(len(trained_on))
    if config.style_terms:
        terms = Terms.counted(trained_on.texts, trained_on.chosen, trained_on.rejected)
    learner = Learner(
        model,
        trained_on,
        read=Trunk(model, given.chat, given.reads).read,
        ties=config.ties,
        named=config.raters,
        terms=terms,
        seed=config.seed,
        device=given.device,
        precision=config.precision,
        centring=config.centring,
    )
    if checkpoint:
        learner.load(checkpoint.path)
    spent = fine_tune(
        learner,
        trained_on,
        plan,
        config,
        progress.directory,
        step=checkpoint.step if checkpoint else 0,
        report=progress,
        stop=progress.stop,
        processes=processes,
    )
    return learner, spent


def whole_model(config: RewardConfig, given: Given, learner: Learner, directory: RunDirectory) -> Trunk:
    """What was trained as a model by itself, in float32; adapters are saved and merged."""
    model = learner.model
    if config.gradient_checkpointing:
        model.activation_checkpointing_disable()
    if adapters.weights_in(model):
        trained = {name: value.detach() for name, value in learner.masters.weights.items()}
        adapters.save(trained, directory.path / "adapter", config.lora_rank)
        fresh = backbone.load_trunk(given.folder, device=given.device)
        model = adapters.merged(fresh, trained, config.lora_rank)
    else:
        learner.masters.restore()
    return Trunk(model.eval(), given.chat, given.reads)


def measured(
    config: RewardConfig,
    given: Given,
    learner: Learner,
    trunk: Trunk,
    trained_on: Preferences,
    held_out: Tensor,
    spent: Spent,
) -> Candidate:
    """The reward model with its figures, of the held-out prompts or of the evaluation's pairs."""
    states = partial(trunk.read_all, batch_tokens=config.micro_batch_tokens)
    with torch.no_grad(), backbone.computing(given.device, config.precision):
        reference = states(*_samples(config, given, trunk.model))
        unseen = compact(given.pairs.where(held_out)) if held_out.any() else None
        found = states(unseen.prompts, unseen.responses) if unseen else None
        learned = states(trained_on.prompts, trained_on.responses)
    weight = learner.weight.detach()
    nothing, one = torch.zeros_like(weight), torch.ones_like(weight)
    fitted = Head.normalised(nothing, one, weight[None], reference=reference, pessimism=config.pessimism)
    figures: dict[str, Any] = {"eval_accuracy": None}
    mistakes: list[dict[str, Any]] = []
    slope = 1.0
    if unseen and found is not None:
        rewards = (fitted(found) * fitted.claimed_logits).cpu()
        log_odds = rewards[unseen.chosen] - rewards[unseen.rejected]
        figures, slope = _measure(log_odds, unseen)
        mistakes = to_read.mistakes(log_odds * slope, unseen)
    reward_model = RewardModel(
        fitted,
        folder=given.folder,
        trunk_digest=given.digest,
        frozen_trunk=False,
        reads=trunk.reads,
        tie_width=learner.tie_width,
        logits_per_reward=fitted.claimed_logits * slope,
        device=given.device,
        model=trunk.model,
        chat=given.chat,
    )
    if given.eval_pairs:
        figures, mistakes = _fresh(reward_model, given.eval_pairs, config)
    told = (learned @ weight).cpu()
    figures |= judged_by(learner, trained_on, told[trained_on.chosen] - told[trained_on.rejected])
    figures |= {
        "training_seconds": spent.seconds,
        "training_processor_seconds": spent.processor_seconds,
        "learning_curve": {
            "reason": "not computed for a fine-tuning: it would take a training for each point"
        },
    }
    return Candidate(reward_model, figures, spent.tokens, mistakes, disputed=[])


def judged_by(learner: Learner, trained_on: Preferences, differences: Tensor) -> dict[str, Any]:
    """What the raters are like and what they pay for style, as fitted with these log-odds of the pairs."""
    terms = learner.terms
    raters = Raters(
        trained_on,
        ties=learner.raters.ties,
        terms=terms,
        named=bool(learner.raters.names),
        style_penalty=learner.raters.style_penalty,
        dtype=torch.float64,
    )
    with torch.no_grad():
        for name, value in raters.parameters.items():
            value.copy_(learner.raters.parameters[name])
    observed, told = Observed.of(trained_on, terms), differences.double()
    one = torch.ones(1, dtype=torch.float64)
    figures: dict[str, Any] = {
        "raters": raters_of(
            raters, head.judgments_by_rater(trained_on), rater_errors(raters, observed, told)
        ),
        "style": style_found(raters, observed, terms, told[:, None], one, one),
    }
    if "below_best" in raters.parameters:
        figures["scale_below_best"] = float(raters.below_best.detach())
    return figures


def _methods(config: RewardConfig, pairs: Preferences) -> tuple[str, ...]:
    if config.train == "auto":
        return ("head",) if pairs.judgments < FEW else ("head", "full")
    return (config.train,)


def _split(given: Given, seed: int) -> tuple[Preferences, Tensor]:
    """The pairs that all weights are trained on, and which pairs are held out: a fifth of the prompts.

    With pairs to evaluate on, all are trained on. So they are where a fold leaves nothing to learn from.
    """
    folds = given.pairs.folds(seed)
    for fold in range(FOLDS):
        held_out = folds == fold
        if given.eval_pairs is None and held_out.any() and given.pairs.where(~held_out).decided.any():
            return given.pairs.where(~held_out), held_out
    return given.pairs, torch.zeros(len(given.pairs), dtype=torch.bool)


def _measure(logits: Tensor, pairs: Preferences, only: Tensor | None = None) -> tuple[dict[str, Any], float]:
    """Figures of claimed log-odds on unseen pairs, and the slope that makes them right.

    The slope is reported as it was; log-loss, Brier score and calibration error are of what is saved, the
    log-odds times the slope.
    """
    if only is not None:
        logits = torch.where(only, logits, torch.nan)
    before = measure(logits, pairs)
    if before["eval_accuracy"] is None:
        return before, 1.0
    slope = max(LEAST_SLOPE, before["calibration_slope"])
    after = measure(logits * slope, pairs)
    return {**after, **{name: before[name] for name in calibration.LINE}}, slope


def _fresh(
    reward_model: RewardModel, pairs: Preferences, config: RewardConfig
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures on pairs that had no part in the training, and the worst mistakes."""
    with backbone.computing(reward_model.device, config.precision):
        found = scored(reward_model, pairs)
    return measure(found.log_odds, pairs), to_read.mistakes(found.log_odds, pairs)


def _stored_features(samples: Path, digest: str) -> Tensor | None:
    """The features that policy.sample stored, if they are of the same model."""
    run = RunDirectory(samples)
    stored = run.path / "features.safetensors"
    if not stored.is_file() or not run.has_result() or run.result().get("trunk") != digest:
        return None
    return load_file(stored)["features"].float()


def _samples(
    config: RewardConfig, given: Given, model: PreTrainedModel
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the responses whose rewards are normalised: drawn by policy.sample, or else the pairs'."""
    prompts, responses = given.pairs.prompts, given.pairs.responses
    if given.samples:
        file = given.samples / "responses.jsonl" if given.samples.is_dir() else given.samples
        _, prompts, responses = read_samples(file, given.chat, max_length=longest_row(model))
    chance = random.Random(config.seed)  # noqa: S311 which samples, no secret
    count = min(config.reference_samples, len(prompts))
    places = sorted(chance.sample(range(len(prompts)), count))
    return [prompts[place] for place in places], [responses[place] for place in places]
