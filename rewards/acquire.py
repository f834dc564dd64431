"""Choose the pairs whose judgments would tell a reward model most, and some at random to measure by.

    python -m rewards.acquire --reward-model DIR --responses F [--labels F] --output comparisons.jsonl

A share of the pairs is drawn uniformly and carries its exact probability. The others are chosen greedily by
what they add to all that was judged before (`rewards.information`). That is no draw: nothing is estimated
from them. With a temperature they are drawn too, the more telling ones with a larger chance, which is kept.
"""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor

from lm import backbone, records
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import Comparison, Message, RecordError, Response
from lm.run_directory import RunDirectory
from rewards.batches import NOBODY, Items, Numbers, Preferences, longest_row, read_pairs
from rewards.config import AcquireConfig
from rewards.information import Gains, Strategy, covariance, greedy
from rewards.reward_model import RewardModel
from rewards.sampling import inclusion, systematic

logger = logging.getLogger(__name__)
UNIFORM, ACTIVE, SAMPLED = "uniform", "active", "sampled"  # strata
NARROW = 1e-4  # added to the features' deviations, so that a constant feature divides by no zero


@dataclass(frozen=True, slots=True)
class Chosen:
    """A candidate to ask about, and the chance that it had."""

    place: int
    stratum: str
    probability: float  # 1 in the stratum "active", where it is no chance
    score: float  # nats, given all that was judged or chosen before


@dataclass(frozen=True, slots=True)
class Candidates:
    """Pairs that could be asked, as places of their responses."""

    items: Items
    prompt_ids: list[str]  # of each pair
    first: list[int]
    second: list[int]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def prompts(self) -> Tensor:
        """The number of each pair's prompt."""
        numbers = Numbers()
        return torch.tensor([numbers.of(name) for name in self.prompt_ids])

    def line(self, chosen: Chosen) -> Comparison:
        """The line of comparisons.jsonl that asks a chosen one."""
        one, other = self.first[chosen.place], self.second[chosen.place]
        return Comparison(
            prompt_id=self.prompt_ids[chosen.place],
            messages=self.items.asked[one],
            responses=(self.items.texts[one], self.items.texts[other]),
            purpose="uniform" if chosen.stratum == UNIFORM else "active",
            stratum=chosen.stratum,
            probability=chosen.probability,
            score=chosen.score,
        )


def choose(
    gains: Gains,
    prompts: Tensor,  # (candidates,)
    *,
    count: int,
    uniform_share: float,
    per_prompt: int,
    temperature: float | None,
    seed: int,
) -> list[Chosen]:
    """The batch: first what is drawn uniformly, then what tells most given that.

    The chances of the stratum "sampled" are those given the uniform ones, among all the others.
    """
    size = len(gains)
    if count > size:
        raise ConfigError(f"count is {count}, but there are {size} pairs to choose from")
    generator = torch.Generator().manual_seed(seed)
    number = math.ceil(count * uniform_share - 1e-9)
    first_gains = gains.now()
    uniform = torch.randperm(size, generator=generator)[:number].tolist()
    chosen = [Chosen(place, UNIFORM, number / size, float(first_gains[place])) for place in uniform]
    if number == count:
        return chosen
    for place in uniform:
        gains.take(place)
    rest = torch.ones(size, dtype=torch.bool)
    rest[uniform] = False
    room = int(torch.bincount(prompts[rest]).clamp_max(per_prompt).sum())
    if count - number > room:
        raise ConfigError(
            f"count is {count} and per_prompt {per_prompt}: beside {number} drawn uniformly, at most {room} "
            "can be chosen; lower count or raise per_prompt"
        )
    if temperature is None:
        places, told = greedy(gains, count - number, allowed=rest, group=prompts, most=per_prompt)
        return chosen + [Chosen(place, ACTIVE, 1.0, gain) for place, gain in zip(places, told, strict=True)]
    left = rest.nonzero()[:, 0]
    score = gains.now()[left]
    deviation = float(score.std(correction=0)) or 1.0
    appetite = ((score - score.max()) / (temperature * deviation)).exp()
    chances = inclusion(appetite, prompts[left], count - number, most=per_prompt)
    drawn = systematic(chances, prompts[left], generator)
    return chosen + [
        Chosen(int(left[place]), SAMPLED, min(1.0, float(chances[place])), float(score[place]))
        for place in drawn.tolist()
    ]


def acquire(config: AcquireConfig) -> tuple[list[Comparison], str]:
    """Read, score, choose; the lines of the batch, and a sentence about it."""
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(config.reward_model, device=device)
    limit = longest_row(reward_model.model, config.max_length)
    pool = read_candidates(config, reward_model, max_length=limit)
    labels = read_labels(config.labels, reward_model, max_length=limit)
    found = without_judged(pool, labels)
    judgments = labels.judgments if labels else _judgments_of(config.reward_model)
    few = judgments is not None and judgments < config.uniform_below
    with backbone.computing(device, config.precision):
        gains = gains_of(
            reward_model,
            found.items,
            labels,
            first=torch.tensor(found.first),
            second=torch.tensor(found.second),
            penalty=config.penalty,
            dimensions=config.dimensions,
            strategy=config.strategy,
        )
    chosen = choose(
        gains,
        found.prompts,
        count=config.count,
        uniform_share=1.0 if few else config.uniform_share,
        per_prompt=config.per_prompt,
        temperature=config.temperature,
        seed=config.seed,
    )
    uniform = sum(one.stratum == UNIFORM for one in chosen)
    said = (
        f"{len(chosen)} of {len(found)} pairs: {uniform} uniform, {len(chosen) - uniform} by what they tell"
    )
    if few:
        said += f"; there are {judgments} judgments, and below {config.uniform_below} all are drawn uniformly"
    return [found.line(one) for one in chosen], said


def gains_of(
    reward_model: RewardModel,
    items: Items,
    labels: Preferences | None,
    *,
    first: Tensor,  # (N,): places of the responses of each pair
    second: Tensor,
    penalty: float,
    dimensions: int,
    strategy: Strategy = "d-optimal",
    owner: Tensor | None = None,
    weights: Tensor | None = None,
) -> Gains:
    """What judgments on pairs would tell, after those that were judged; each response is read once."""
    places: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}

    def place_of(prompt: list[int], response: list[int]) -> int:
        return places.setdefault((tuple(prompt), tuple(response)), len(places))

    pool = torch.tensor(list(map(place_of, items.prompts, items.responses)))
    judged = torch.tensor(list(map(place_of, labels.prompts, labels.responses))) if labels else None
    prompts = [list(prompt) for prompt, _ in places]
    responses = [list(response) for _, response in places]
    features = reward_model.features(prompts, responses)
    logits = reward_model.score_features(features).cpu().double() * reward_model.logits_per_reward
    numbers = Numbers()
    rows = standardised(
        features.cpu().double(),
        torch.tensor([numbers.of(prompt) for prompt, _ in places]),
        dimensions=dimensions,
    )
    past = rows[:0], logits[:0], logits[:0]
    if labels and judged is not None:
        better, worse = judged[labels.chosen], judged[labels.rejected]
        past = rows[better] - rows[worse], torch.sigmoid(logits[better] - logits[worse]), labels.weight
    one, other = pool[first], pool[second]
    return Gains(
        rows[one] - rows[other],
        logits[one] - logits[other],
        covariance(*past, penalty),
        owner=owner,
        weights=weights,
        strategy=strategy,
    )


def standardised(features: Tensor, prompt: Tensor, *, dimensions: int) -> Tensor:
    """Features of deviation 1; of more than `dimensions`, the directions in which responses differ most.

    What all responses to a prompt share cancels in every pair, so the directions are those within prompts.
    """
    rows = features / (features.std(0, correction=0) + NARROW)
    if rows.shape[1] <= dimensions:
        return rows
    count = torch.bincount(prompt)[:, None]
    mean = rows.new_zeros(len(count), rows.shape[1]).index_add_(0, prompt, rows) / count
    within = rows - mean[prompt]
    directions: Tensor = torch.linalg.eigh(within.T @ within).eigenvectors  # the strongest come last
    return rows @ directions[:, -dimensions:]


def read_labels(path: Path | None, reward_model: RewardModel, *, max_length: int) -> Preferences | None:
    """The preferences judged so far, as to which response is better on the whole."""
    if path is None:
        return None
    found = read_pairs(path, reward_model.chat, max_length=max_length)
    return found.where(found.criterion == NOBODY)


def read_candidates(config: AcquireConfig, reward_model: RewardModel, *, max_length: int) -> Candidates:
    """All pairs of different responses to one prompt, or those of a file; over-long ones are left out."""
    items = Items(reward_model.chat)
    prompt_ids: list[str] = []
    first: list[int] = []
    second: list[int] = []
    over_long = 0
    file = config.responses or config.comparisons
    assert file is not None  # noqa: S101, the config refuses that
    pairs = _pairs_of_responses(file) if config.responses else _pairs_of_comparisons(file)
    for prompt_id, messages, one, other in pairs:
        places = items.add(messages, one), items.add(messages, other)
        if max(map(items.length, places)) > max_length:
            over_long += 1
            continue
        prompt_ids.append(prompt_id)
        first.append(places[0])
        second.append(places[1])
    if over_long:
        logger.warning("%d pairs are left out: over %d tokens", over_long, max_length)
    if not first:
        name = "responses" if config.responses else "comparisons"
        raise ConfigError(
            f"{name} is {str(file)!r}, where no prompt has two different responses"
            + (f" of at most {max_length} tokens" if over_long else "")
        )
    return Candidates(items, prompt_ids, first, second)


def without_judged(found: Candidates, labels: Preferences | None) -> Candidates:
    """Those that nobody has judged."""
    if labels is None:
        return found
    pairs = zip(labels.chosen.tolist(), labels.rejected.tolist(), strict=True)
    judged = {
        (labels.asked[one], frozenset((labels.texts[one], labels.texts[other]))) for one, other in pairs
    }
    items = found.items
    kept = [
        place
        for place, (one, other) in enumerate(zip(found.first, found.second, strict=True))
        if (items.asked[one], frozenset((items.texts[one], items.texts[other]))) not in judged
    ]
    if not kept:
        raise ConfigError(f"all {len(found)} pairs are judged already")
    return Candidates(
        items,
        [found.prompt_ids[place] for place in kept],
        [found.first[place] for place in kept],
        [found.second[place] for place in kept],
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Choose one batch."""
    config = parse(AcquireConfig, argv)
    try:
        lines, said = acquire(config)
        records.write(config.output, lines)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    except OSError as error:
        logger.error("%s: %s", error.filename, error.strerror)
        sys.exit(EX_CONFIG)
    print(f"{said}: {config.output}")


Pairs = Iterator[tuple[str, tuple[Message, ...], str, str]]


def _pairs_of_responses(path: Path) -> Pairs:
    asked: dict[str, tuple[Message, ...]] = {}
    texts: dict[str, dict[str, None]] = {}
    for number, record in enumerate(records.read(path, Response), start=1):
        if record.messages is None:
            raise ConfigError(f"responses is {str(path)!r}, whose record {number} has no messages")
        if asked.setdefault(record.prompt_id, record.messages) != record.messages:
            raise ConfigError(
                f"responses is {str(path)!r}, whose record {number} gives the prompt_id {record.prompt_id!r} "
                "to other messages than an earlier one"
            )
        if record.response.strip():  # nobody can be shown nothing
            texts.setdefault(record.prompt_id, {})[record.response] = None
    for prompt_id, different in texts.items():
        for one, other in combinations(different, 2):
            yield prompt_id, asked[prompt_id], one, other


def _pairs_of_comparisons(path: Path) -> Pairs:
    seen = set()
    for number, record in enumerate(records.read(path, Comparison), start=1):
        if len(record.responses) != 2 or record.responses[0] == record.responses[1]:
            raise ConfigError(
                f"comparisons is {str(path)!r}, whose record {number} has not two different responses"
            )
        one, other = record.responses
        same = (record.prompt_id, frozenset(record.responses))
        if same not in seen:
            seen.add(same)
            yield record.prompt_id, record.messages, one, other


def _judgments_of(reward_model: Path) -> int | None:
    """How many judgments a run has trained it on, where that is known."""
    run = RunDirectory(reward_model)
    found = run.result().get("judgments") if run.has_result() else None
    return found if isinstance(found, int) else None


if __name__ == "__main__":
    main()
