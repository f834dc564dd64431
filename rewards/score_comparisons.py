"""Score comparisons that wait for raters, so that the most telling ones can be asked first.

    python -m rewards.score_comparisons --reward-model DIR --comparisons F [--labels F] --output DIR

The best is followed by the best given that one, and so on; the rest get what they would add to all of those.
So the order of the scores is an order to ask in. A comparison of more than two responses counts with all of
its pairs, each weighing 1 / (K - 1).
"""

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import torch

from lm import backbone, records
from lm.config import EX_CONFIG, ConfigError
from lm.records import RecordError, WaitingComparison
from lm.run_directory import RunDirectory, command
from rewards.acquire import gains_of, read_labels
from rewards.batches import Items, longest_row
from rewards.config import ScoreComparisonsConfig
from rewards.information import Gains, greedy
from rewards.reward_model import RewardModel

logger = logging.getLogger(__name__)
SCORED = "scored.jsonl"


def in_order(gains: Gains, count: int) -> list[float]:
    """A score for each candidate whose order is the one to ask in, `count` of them looked at in turn."""
    free = torch.ones(len(gains), dtype=torch.bool)
    places, told = greedy(gains, count, allowed=free)
    scores = gains.now().tolist()
    for place, score in zip(places, told, strict=True):
        scores[place] = score
    return scores


def score(config: ScoreComparisonsConfig, directory: RunDirectory) -> dict[str, Any]:
    """Read, score and write; the run's result."""
    began = time.monotonic()
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(directory.find(config.reward_model), device=device)
    limit = longest_row(reward_model.model, config.max_length)
    labels = read_labels(
        directory.find(config.labels) if config.labels else None, reward_model, max_length=limit
    )
    items = Items(reward_model.chat)
    found = list(records.read(directory.find(config.comparisons), WaitingComparison))
    scored: list[WaitingComparison] = []
    pairs: list[tuple[int, int, int, float]] = []  # candidate, places of its responses, weight
    for line in found:
        places = [items.add(line.messages, text) for text in line.responses]
        if max(map(items.length, places)) > limit:
            continue
        weight = 1 / (len(places) - 1)
        pairs += [(len(scored), one, other, weight) for one, other in combinations(places, 2)]
        scored.append(line)
    directory.report(step=0, total=len(scored), phase="features")
    if pairs:
        owner, first, second, weights = zip(*pairs, strict=True)
        with backbone.computing(device, config.precision):
            gains = gains_of(
                reward_model,
                items,
                labels,
                first=torch.tensor(first),
                second=torch.tensor(second),
                owner=torch.tensor(owner),
                weights=torch.tensor(weights),
                penalty=config.penalty,
                dimensions=config.dimensions,
            )
        scores = in_order(gains, config.count)
        scored = [replace(line, score=value) for line, value in zip(scored, scores, strict=True)]
    records.write(directory.path / SCORED, scored)
    directory.report(step=len(scored), total=len(scored), phase="scored")
    seconds = time.monotonic() - began
    return {
        "comparisons": len(found),
        "scored": len(scored),
        "over_long": len(found) - len(scored),
        "judgments": labels.judgments if labels else None,
        "seconds": seconds,
        "examples_per_second": len(scored) / seconds,
        "tokens_per_second": sum(map(items.length, range(len(items.texts)))) / seconds,
        "peak_memory_bytes": backbone.peak_memory_bytes(device),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out one run directory."""
    config, directory, _ = command(ScoreComparisonsConfig, argv)
    directory.resume(0)
    try:
        result = score(config, directory)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    except OSError as error:
        logger.error("%s: %s", error.filename, error.strerror)
        sys.exit(EX_CONFIG)
    directory.write_result(result)


if __name__ == "__main__":
    main()
