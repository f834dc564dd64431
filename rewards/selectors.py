"""Whether choosing what to ask by what it tells does better than chance, on a project's own judgments.

    python -m rewards.selectors --reward-model DIR --labels pairs.jsonl

One head is fitted to uniformly drawn pairs alone, another to as many judgments of actively chosen ones, on
the same features; both then order uniformly drawn pairs of prompts that neither has seen. Where the active
one was not better in two rounds running, all should be drawn uniformly again (`keeps_active`).
"""

import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from lm import backbone, records
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import Pair, RecordError
from rewards.acquire import read_labels, standardised
from rewards.batches import FOLDS, Numbers, Preferences, longest_row
from rewards.bradley_terry import fit_heads
from rewards.config import SelectorsConfig
from rewards.reward_model import RewardModel

logger = logging.getLogger(__name__)
FEWEST = 20  # judgments of each kind, below which nothing is said
UNIFORM_PURPOSES = ("uniform", "overlap")  # overlap is a coin's choice among the uniform ones


@dataclass(frozen=True, slots=True)
class SelectorCheck:
    """How well two heads that learned from as many judgments order the same uniformly drawn pairs."""

    judgments: int  # that each could learn from, less a fold's
    held_out: int  # pairs ordered
    uniform_accuracy: float
    active_accuracy: float
    standard_error: float  # of the difference; pairs of one prompt are alike

    @property
    def better(self) -> bool:
        """Whether active choice was better."""
        return self.active_accuracy > self.uniform_accuracy


def keeps_active(checks: Sequence[SelectorCheck | None]) -> bool:
    """Whether to go on choosing actively, by the checks of all rounds; a check that is None doesn't count."""
    said = [check.better for check in checks if check is not None]
    return len(said) < 2 or any(said[-2:])


def check(
    rows: Tensor,  # (responses, D): features as `standardised` gives them
    preferences: Preferences,
    *,
    uniform: Tensor,  # (pairs,): bool, of those drawn uniformly
    active: Tensor,  # (pairs,): bool, of those chosen by a score
    penalty: float,
    seed: int,
) -> SelectorCheck | None:
    """The two heads compared, each fold of the prompts held out in turn; None where there is too little."""
    generator = torch.Generator().manual_seed(seed)
    count = min(len(preferences.judgment[those].unique()) for those in (uniform, active))
    if count < FEWEST:
        return None
    folds = preferences.folds(seed)
    drawn = [_judgments(preferences, those, count, generator) for those in (uniform, active)]
    tests, weights = [], []
    for fold in range(FOLDS):
        test = uniform & preferences.decided & (folds == fold)
        train = [those & (folds != fold) for those in drawn]
        if test.any() and all((those & preferences.decided).any() for those in train):
            tests.append(test)
            weights += [preferences.weight * those for those in train]
    if not tests:
        return None
    differences = rows[preferences.chosen] - rows[preferences.rejected]
    heads, _ = fit_heads(differences, preferences.outcomes, torch.stack(weights), penalty)
    logits = heads @ differences.double().T  # (two for each fold, pairs)
    held_out = torch.stack(tests).any(0)
    right = torch.zeros(2, len(preferences), dtype=torch.float64)
    for number, test in enumerate(tests):
        right[:, test] = (logits[2 * number : 2 * number + 2, test].sign() + 1) / 2
    weight = preferences.weight * held_out / preferences.weight[held_out].sum()
    accuracy = right @ weight
    difference = weight * (right[1] - right[0] - (accuracy[1] - accuracy[0]))
    of_prompt = torch.zeros(len(preferences.prompt_ids), dtype=torch.float64)
    of_prompt.index_add_(0, preferences.prompt, difference)
    return SelectorCheck(
        judgments=count,
        held_out=int(held_out.sum()),
        uniform_accuracy=float(accuracy[0]),
        active_accuracy=float(accuracy[1]),
        standard_error=math.sqrt(float(of_prompt.square().sum())),
    )


def purposes(path: Path, preferences: Preferences) -> tuple[Tensor, Tensor]:
    """Which pairs were drawn uniformly, and which were chosen actively, by the file they were read from."""
    found = {
        (pair.messages, frozenset((pair.chosen, pair.rejected))): pair.purpose
        for pair in records.read(path, Pair)
    }
    pairs = zip(preferences.chosen.tolist(), preferences.rejected.tolist(), strict=True)
    texts = preferences.texts
    of_pairs = [found[preferences.asked[one], frozenset((texts[one], texts[other]))] for one, other in pairs]
    return (
        torch.tensor([purpose in UNIFORM_PURPOSES for purpose in of_pairs]),
        torch.tensor([purpose == "active" for purpose in of_pairs]),
    )


def compare(config: SelectorsConfig) -> SelectorCheck | None:
    """Read, extract and compare."""
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(config.reward_model, device=device)
    limit = longest_row(reward_model.model, config.max_length)
    labels = read_labels(config.labels, reward_model, max_length=limit)
    assert labels is not None  # noqa: S101, the file is given
    uniform, active = purposes(config.labels, labels)
    with backbone.computing(device, config.precision):
        features = reward_model.features(labels.prompts, labels.responses).cpu().double()
    numbers = Numbers()
    prompt = torch.tensor([numbers.of(messages) for messages in labels.asked])
    rows = standardised(features, prompt, dimensions=config.dimensions)
    return check(rows, labels, uniform=uniform, active=active, penalty=config.penalty, seed=config.seed)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    config = parse(SelectorsConfig, argv)
    try:
        found = compare(config)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    if found is None:
        print(f"there are fewer than {FEWEST} judgments of uniform pairs, or of active ones")
        return
    for name, value in asdict(found).items():
        print(f"{name:18} {value:.4f}" if isinstance(value, float) else f"{name:18} {value}")
    print(f"{'better':18} {'active' if found.better else 'uniform'}")


def _judgments(preferences: Preferences, those: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Of these pairs, those of `count` judgments drawn at random."""
    present = preferences.judgment[those].unique()
    kept = present[torch.randperm(len(present), generator=generator)[:count]]
    return those & torch.isin(preferences.judgment, kept)


if __name__ == "__main__":
    main()
