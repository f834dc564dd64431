"""How well rewards order what raters ordered, and how much their differences may be believed.

    python -m rewards.evaluate --reward-model DIR --pairs F [--output DIR]

All figures are over pairs that raters decided: given that, Davidson's probability is Bradley-Terry's.
"""

import logging
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lm import backbone
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import RecordError
from lm.run_directory import RunDirectory, command
from rewards.batches import Preferences, longest_row, read_pairs
from rewards.bradley_terry import fit_head
from rewards.config import EvaluateConfig
from rewards.reward_model import RewardModel

logger = logging.getLogger(__name__)
BINS = 10
MATCHED = 0.1  # responses whose lengths differ by at most this share count as equally long
Z = 1.96


def measure(logits: Tensor, preferences: Preferences) -> dict[str, Any]:
    """The figures of log-odds (pairs,) of the chosen response; pairs without a finite one are left out."""
    kept = preferences.decided & logits.isfinite()
    pairs, logits = preferences.where(kept), logits[kept].double()
    if not len(pairs):
        return {"eval_pairs": 0, "eval_accuracy": None}
    weight = pairs.weight / pairs.weight.sum()
    right = ordered(logits)
    low, high = interval(right, pairs)
    losses = torch.nn.functional.softplus(-logits)
    wrong = torch.sigmoid(-logits)  # the probability given to the outcome that didn't come
    lengths = pairs.lengths
    chosen, rejected = lengths[pairs.chosen], lengths[pairs.rejected]
    matched = (chosen - rejected).abs() <= MATCHED * torch.maximum(chosen, rejected)
    slope = calibration_slope(logits, pairs.weight)
    return {
        "eval_pairs": len(pairs),
        "eval_prompts": len(pairs.prompt.unique()),
        "eval_accuracy": float(weight @ right),
        "eval_accuracy_low": low,
        "eval_accuracy_high": high,
        "longer_wins": float(weight @ ordered((chosen - rejected).double())),
        "length_matched_pairs": int(matched.sum()),
        "length_matched_accuracy": _mean(right[matched], pairs.weight[matched]),
        "log_loss": float(weight @ losses),
        "brier": float(weight @ wrong.square()),
        "ece": calibration_error(logits, pairs.weight),
        "calibration_slope": slope,
        "temperature": 1 / slope if slope > 0 else None,
    }


def ordered(differences: Tensor) -> Tensor:
    """1 where the chosen is above, .5 where the two are equal, else 0."""
    return (differences.sign() + 1) / 2


def interval(right: Tensor, pairs: Preferences) -> tuple[float, float]:
    """A 95 % interval for the accuracy that knows that pairs of one prompt are alike.

    Wilson's, with as many pairs as would give the variance that shows between prompts.
    """
    weight = pairs.weight / pairs.weight.sum()
    accuracy = float(weight @ right)
    prompts, places = pairs.prompt.unique(return_inverse=True)
    count = len(prompts)
    between = torch.zeros(count, dtype=torch.float64).index_add(0, places, weight * (right - accuracy))
    variance = float(between.square().sum()) * count / max(1, count - 1)
    spread = accuracy * (1 - accuracy)
    size = min(spread / variance, len(pairs)) if variance > 0 and spread > 0 else count
    middle = (accuracy + Z * Z / (2 * size)) / (1 + Z * Z / size)
    half = Z / (1 + Z * Z / size) * math.sqrt(spread / size + Z * Z / (4 * size * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration_slope(logits: Tensor, weight: Tensor) -> float:
    """The s in P(chosen) = sigmoid(s * logits): 1 is right, below 1 the model is too sure.

    A ridge so weak that it shows only where the pairs are separated, when no finite slope fits best.
    """
    size = float(logits.square().mean().sqrt())
    if size == 0:
        return 0.0
    slope, _ = fit_head(logits[:, None] / size, torch.ones(len(logits)), weight, penalty=0.01)
    return float(slope) / size


def calibration_error(logits: Tensor, weight: Tensor) -> float:
    """Mean distance of confidence and accuracy over ten bins with equally many pairs."""
    confidence, right = torch.sigmoid(logits.abs()), ordered(logits)
    total = 0.0
    for places in confidence.argsort(stable=True).tensor_split(BINS):
        total += abs(float((weight * (confidence - right))[places].sum()))
    return total / float(weight.sum())


def logits_of(reward_model: RewardModel, preferences: Preferences) -> Tensor:
    """The log-odds that the reward model gives the chosen response of each pair."""
    rewards = reward_model.score(preferences.prompts, preferences.responses).cpu()
    return (rewards[preferences.chosen] - rewards[preferences.rejected]) * reward_model.logits_per_reward


def evaluate(config: EvaluateConfig, find: Any = lambda path: path) -> dict[str, Any]:
    """Read, score and measure."""
    began = time.monotonic()
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(find(config.reward_model), device=device)
    limit = longest_row(reward_model.model, config.max_length)
    preferences = read_pairs(find(config.pairs), reward_model.chat, max_length=limit)
    with backbone.computing(device, config.precision):
        logits = logits_of(reward_model, preferences)
    seconds = time.monotonic() - began
    return {
        **preferences.counts(),
        **measure(logits, preferences),
        "seconds": seconds,
        "examples_per_second": len(preferences) / seconds,
        "tokens_per_second": preferences.tokens / seconds,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures; with --output they are also a run's result."""
    words = list(sys.argv[1:] if argv is None else argv)
    directory: RunDirectory | None = None
    if any(word.partition("=")[0] == "--output" for word in words):
        config, directory, _ = command(EvaluateConfig, words)
    else:
        config = parse(EvaluateConfig, words)
    try:
        result = evaluate(config, directory.find if directory else lambda path: path)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    for name, value in result.items():
        print(f"{name:26} {value:.4f}" if isinstance(value, float) else f"{name:26} {value}")
    if directory:
        directory.report(step=1, total=1, phase="evaluating", accuracy=result["eval_accuracy"])
        directory.write_result(result)


def _mean(values: Tensor, weight: Tensor) -> float | None:
    return float(weight @ values / weight.sum()) if len(values) else None


if __name__ == "__main__":
    main()
