"""How well rewards order what raters ordered, how far they may be believed, and what they could be fooled by.

    python -m rewards.evaluate --reward-model DIR --pairs F [--policy-pairs F] [--policy-samples F]
                               [--bench F] [--output DIR]

The figures are over pairs that raters decided: given that, Davidson's probability is Bradley-Terry's. They
are what the gates of `rewards.gates` judge. With --output the pairs worth reading are written beside the
result.
"""

import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm import backbone
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import RecordError
from lm.run_directory import RunDirectory, command
from rewards import (
    calibration,
    ceiling,
    disagreement,
    gates,
    probes,
    reward_bench,
    style_share,
    subsets,
    tables,
    to_read,
)
from rewards.batches import NOBODY, Preferences, longest_row, read_pairs, read_samples
from rewards.config import EvaluateConfig
from rewards.intervals import Estimate, share
from rewards.reward_model import RewardModel
from rewards.subsets import longer_wins, ordered

logger = logging.getLogger(__name__)
UNIFORM = ("uniform", "overlap")  # purposes of comparisons that were asked without regard to their answer


@dataclass(frozen=True, slots=True)
class Scored:
    """Preferences, and what a reward model says of them."""

    pairs: Preferences
    features: Tensor  # (responses, D)
    rewards: Tensor  # (responses,)
    log_odds: Tensor  # (pairs,) of the chosen response

    def where(self, kept: Tensor) -> "Scored":
        """Only these pairs."""
        return Scored(self.pairs.where(kept), self.features, self.rewards, self.log_odds[kept])


def measure(logits: Tensor, preferences: Preferences, *, seed: int = 0) -> dict[str, Any]:
    """The figures of log-odds (pairs,) of the chosen response; pairs without a finite one are left out."""
    kept = preferences.decided & logits.isfinite()
    pairs, logits = preferences.where(kept), logits[kept].double()
    if not len(pairs):
        return {"eval_pairs": 0, "eval_accuracy": None}
    weight = pairs.weight.double() / pairs.weight.sum()
    right = ordered(logits)
    accuracy = share(right, pairs.weight, pairs)
    low, high = accuracy.interval()
    losses = torch.nn.functional.softplus(-logits)
    wrong = torch.sigmoid(-logits)  # the probability given to the outcome that didn't come
    matched = subsets.part(right, pairs, subsets.length_matched(pairs))
    reached = ceiling.share_of_ceiling(accuracy, ceiling.agreement(preferences))
    groups = subsets.by_group(right, pairs, accuracy, reached["ceiling"])
    return {
        "eval_pairs": len(pairs),
        "eval_prompts": len(pairs.prompt.unique()),
        "eval_raters": len(pairs.rater[pairs.rater != NOBODY].unique()),
        "eval_clustered_by": accuracy.clustered_by,
        "eval_accuracy": accuracy.value,
        "eval_accuracy_low": low,
        "eval_accuracy_high": high,
        "longer_wins": float(weight @ longer_wins(pairs)),
        "length_matched_pairs": matched["pairs"],
        "length_matched_accuracy": matched["accuracy"],
        "length_matched_low": matched["low"],
        "length_matched_high": matched["high"],
        "log_loss": float(weight @ losses),
        "brier": float(weight @ wrong.square()),
        **calibration.fit_line(logits, pairs).figures(),
        **reached,
        "worst_group": subsets.worst_group(groups),
        "by_strength": subsets.by_strength(right, pairs),
        "by_agreement": subsets.by_agreement(right, pairs, preferences),
        "by_group": groups,
        **calibration.reliability(logits, pairs.weight, seed=seed),
    }


def headline(preferences: Preferences) -> tuple[Tensor, str]:
    """Which pairs the figures are of, and in a word: "uniform" or "all".

    Those judged on the whole, and of comparisons that were not chosen for being hard or known: what is chosen
    by what the model thinks of it says little of how good the model is elsewhere. All, if that leaves none.
    """
    known = [number for number, name in enumerate(preferences.purposes) if name in UNIFORM]
    uniform = torch.isin(preferences.purpose, torch.tensor([NOBODY, *known]))
    on_the_whole = preferences.criterion == NOBODY
    for which, name in ((uniform & on_the_whole, "uniform"), (on_the_whole, "all")):
        if (which & preferences.decided).any():
            return which, name
    return torch.ones(len(preferences), dtype=torch.bool), "all"


def logits_of(reward_model: RewardModel, preferences: Preferences) -> Tensor:
    """The log-odds that the reward model gives the chosen response of each pair."""
    return scored(reward_model, preferences).log_odds


def scored(reward_model: RewardModel, preferences: Preferences) -> Scored:
    """Each response through the model once."""
    features = reward_model.features(preferences.prompts, preferences.responses)
    rewards = reward_model.score_features(features).cpu()
    differences = rewards[preferences.chosen] - rewards[preferences.rejected]
    return Scored(preferences, features.cpu(), rewards, differences * reward_model.logits_per_reward)


def evaluate(
    config: EvaluateConfig, find: Callable[[Path], Path] = lambda path: path, output: Path | None = None
) -> dict[str, Any]:
    """Read, score and measure; what is worth reading goes to the folder `output`."""
    began = time.monotonic()
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(find(config.reward_model), device=device)
    limit = longest_row(reward_model.model, config.max_length)
    read = partial(read_pairs, chat=reward_model.chat, max_length=limit)
    result: dict[str, Any] = {}
    count = tokens = 0
    with backbone.computing(device, config.precision):
        if config.pairs:
            pairs = read(find(config.pairs))
            count, tokens = len(pairs), pairs.tokens
            result |= {**pairs.counts(), **_of_pairs(config, find, reward_model, pairs, output)}
            result["learning_curve"] = _learning_curve(find(config.reward_model))
            result["gates"] = gates.check(result, kl_budget=config.kl_budget)
        if config.bench:
            items = reward_bench.read(find(config.bench))
            count += len(items)
            result["bench"] = reward_bench.score(
                items, reward_model.chat, reward_model.score, max_length=limit
            )
    seconds = time.monotonic() - began
    return {
        **result,
        "seconds": seconds,
        "examples_per_second": count / seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_bytes": backbone.peak_memory_bytes(device),
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
        place = (directory.find, directory.path) if directory else ()
        result = evaluate(config, *place)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    print(tables.laid_out(result))
    if directory:
        directory.report(step=1, total=1, phase="evaluating", accuracy=result.get("eval_accuracy"))
        directory.write_result(result)


def _of_pairs(
    config: EvaluateConfig,
    find: Callable[[Path], Path],
    reward_model: RewardModel,
    pairs: Preferences,
    output: Path | None,
) -> dict[str, Any]:
    """The figures that need the model and its features beside the pairs."""
    everything = scored(reward_model, pairs)
    which, stratum = headline(pairs)
    main = everything.where(which)
    members = reward_model.head.members(everything.features.to(reward_model.device)).cpu()
    decided = everything.where(pairs.decided)
    right = ordered(decided.log_odds)
    found = {
        **measure(main.log_odds, main.pairs, seed=config.seed),
        "stratum": stratum,
        "by_purpose": subsets.by_name(right, decided.pairs, "purpose", pairs.purposes),
        "by_criterion": subsets.by_name(right, decided.pairs, "criterion", pairs.criteria),
        "style_share": {
            **style_share.explained(everything.rewards, pairs),
            **style_share.beyond_content(
                main.log_odds, main.features, main.pairs, main.pairs.folds(config.seed)
            ),
        },
        "probes": _probes(config, reward_model, main.pairs),
        "policy": _policy(config, find, reward_model, main),
        "disagreement": _disagreement(config, find, reward_model, main.pairs, members),
    }
    if output:
        deviations = disagreement.of_pairs(members, pairs.chosen, pairs.rejected)
        to_read.write(output, to_read.MISTAKES, to_read.mistakes(everything.log_odds, pairs))
        disputed = to_read.disputed(deviations, everything.log_odds, pairs)
        to_read.write(output, to_read.DISPUTED, disputed)
    return found


def _probes(config: EvaluateConfig, reward_model: RewardModel, pairs: Preferences) -> dict[str, Any]:
    drawn = probes.draw(
        pairs,
        reward_model.chat,
        max_length=longest_row(reward_model.model, config.max_length),
        seed=config.seed,
        count=config.probes,
        flattery=config.flattery or probes.FLATTERY,
    )
    return probes.measure(drawn, reward_model.chat, reward_model.score, reward_model.logits_per_reward)


def _policy(
    config: EvaluateConfig, find: Callable[[Path], Path], reward_model: RewardModel, main: Scored
) -> dict[str, Any] | None:
    """The accuracy on pairs of the current policy, and how far below that of the other pairs it is."""
    if config.policy_pairs is None:
        return None
    limit = longest_row(reward_model.model, config.max_length)
    theirs = scored(reward_model, read_pairs(find(config.policy_pairs), reward_model.chat, max_length=limit))
    which, _ = headline(theirs.pairs)
    there = theirs.where(which & theirs.pairs.decided)
    here = main.where(main.pairs.decided)
    figures = subsets.part(
        ordered(there.log_odds), there.pairs, torch.ones(len(there.pairs), dtype=torch.bool)
    )
    return {**figures, **_drop(_accuracy(here), _accuracy(there))}


def _accuracy(found: Scored) -> Estimate:
    return share(ordered(found.log_odds), found.pairs.weight, found.pairs)


def _drop(here: Estimate, there: Estimate) -> dict[str, float]:
    """How far the second is below the first, with a 95 % interval by Newcombe's (1998) squares.

    As if other raters judged the second; the same ones judging both would make it narrower.
    """
    (low, high), (there_low, there_high) = here.interval(), there.interval()
    drop = here.value - there.value
    return {
        "drop": drop,
        "drop_low": drop - math.hypot(here.value - low, there_high - there.value),
        "drop_high": drop + math.hypot(high - here.value, there.value - there_low),
    }


def _disagreement(
    config: EvaluateConfig,
    find: Callable[[Path], Path],
    reward_model: RewardModel,
    pairs: Preferences,
    members: Tensor,
) -> dict[str, Any] | None:
    """The members' disagreement on the policy's samples beside the base's, or beside the pairs'."""
    if config.policy_samples is None:
        return None
    on_policy = _on_samples(find(config.policy_samples), reward_model)
    if config.base_samples:
        on_base = _on_samples(find(config.base_samples), reward_model)
    else:
        on_base = float(disagreement.of_pairs(members, pairs.chosen, pairs.rejected).mean())
    return disagreement.compared(on_policy, on_base, members.shape[1])


def _on_samples(path: Path, reward_model: RewardModel) -> float | None:
    file = path / "responses.jsonl" if path.is_dir() else path
    found, prompts, responses = read_samples(
        file, reward_model.chat, max_length=longest_row(reward_model.model)
    )
    members = reward_model.head.members(reward_model.features(prompts, responses)).cpu()
    return disagreement.of_samples(members, [record.prompt_id for record in found])


def _learning_curve(reward_model: Path) -> dict[str, Any] | None:
    """What the training found, if the reward model is a run that says so."""
    run = RunDirectory(reward_model)
    return run.result().get("learning_curve") if run.has_result() else None


if __name__ == "__main__":
    main()
