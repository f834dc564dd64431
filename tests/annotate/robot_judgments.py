"""Judgments by robots in memory, with what each of their answers was expected to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from annotate.judged import Judged
from worlds.robots import Robot

BREAK_AFTER = 120
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Expected:
    """The chances of one judgment, by response: the lower id, the higher one, a tie; and of the first."""

    low: float
    high: float
    tie: float
    first: float


def label(
    robots: Sequence[Robot],
    *,
    each: int = 200,
    overlap: int = 2,
    gold_share: float = 0.05,
    repeat_share: float = 0.05,
    cosine: float = 0.3,
    spread: float = 1.2,
    seed: int = 0,
) -> tuple[list[Judged], list[Expected]]:
    """Let the robots judge `each` ordinary pairs, with golds and swapped repeats among them.

    The two tastes have this cosine; what a gold asks is far beyond taste. Only pairs that are clear to the
    rater are repeated, as the product does.
    """
    rng = np.random.default_rng([seed, 77])
    pairs = math.ceil(len(robots) * each / overlap)
    taste = rng.normal(0, spread, (pairs, 2))
    other = cosine * taste + math.sqrt(1 - cosine**2) * rng.normal(0, spread, (pairs, 2))
    lengths = np.exp(rng.normal(4.5, 0.6, (pairs, 2))).astype(int) + 10
    seats: list[list[int]] = [[] for _ in robots]
    for pair in range(pairs):
        for robot in rng.choice(len(robots), min(overlap, len(robots)), replace=False):
            seats[robot].append(pair)
    rows, chances = [], []
    extra = pairs
    for number, robot in enumerate(robots):
        tasks: list[tuple[str, int]] = [("uniform", pair) for pair in seats[number]]
        worth = other if robot.other_taste else taste
        gaps = np.abs(worth[:, 0] - worth[:, 1])
        tasks += [("gold", -1)] * round(gold_share * each)
        tasks = [tasks[place] for place in rng.permutation(len(tasks))]
        early, late = tasks[: len(tasks) // 2], tasks[len(tasks) // 2 :]
        clear = [pair for _, pair in early if pair >= 0 and gaps[pair] > np.quantile(gaps, 2 / 3)]
        late += [("repeat", pair) for pair in clear[: round(repeat_share * each)]]
        tasks = early + [late[place] for place in rng.permutation(len(late))]
        sides: dict[int, bool] = {}
        for turn, (purpose, pair) in enumerate(tasks):
            extra += purpose != "uniform"
            comparison = extra if purpose != "uniform" else pair
            ids = [2 * comparison, 2 * comparison + 1] if purpose == "gold" else [2 * pair, 2 * pair + 1]
            rewards = [3.0, -3.0] if purpose == "gold" else [float(value) for value in worth[pair]]
            size = [100, 100] if purpose == "gold" else [int(length) for length in lengths[pair]]
            swap = not sides[pair] if purpose == "repeat" else bool(rng.random() < 0.5)
            if purpose == "uniform":
                sides[pair] = swap
            gold = ((ids[0],), (ids[1],)) if purpose == "gold" else None
            if swap:
                ids, rewards, size = ids[::-1], rewards[::-1], size[::-1]
            since = turn % BREAK_AFTER
            verdict = robot.judge(rewards, rng, since_break=since, lengths=size)
            found = robot.chances(rewards, since_break=since, lengths=size)
            first, second = found["1>2"], found["2>1"]
            low, high = (second, first) if swap else (first, second)
            chances.append(Expected(low, high, found["1=2"], first))
            rows.append(
                Judged(
                    rater=f"r{number:03}",
                    comparison=comparison,
                    prompt=pair,
                    purpose=purpose,
                    shown=tuple(ids),
                    order=tuple(tuple(ids[place - 1] for place in group) for group in verdict.order),
                    all_bad=verdict.all_bad,
                    reason="" if purpose == "uniform" else purpose,
                    simulated=True,
                    active_ms=round(1000 * robot.takes(rng)),
                    length=tuple(size),
                    since_break=since,
                    minutes_since_break=since / 6,
                    gold=gold,
                    repeats=pair if purpose == "repeat" else None,
                    at=(BEGIN + timedelta(seconds=10 * turn)).isoformat(),
                )
            )
    return rows, chances
