"""K18: the agreement of raters, the ceiling that it puts over any reward model, and the share reached."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from rewards.ceiling import agreement, ceiling, share_of_ceiling
from rewards.intervals import share
from tests.rewards.conftest import judged
from worlds.bandit import Bandit
from worlds.robots import population


@pytest.mark.parametrize(
    ("agree", "most"), [(0.6, 0.724), (0.65, 0.774), (0.7, 0.816), (0.73, 0.839), (0.77, 0.867), (0.8, 0.887)]
)
def test_the_ceiling_is_that_of_the_table(agree, most):
    assert ceiling(agree) == pytest.approx(most, abs=5e-4)


def test_there_is_no_ceiling_where_raters_agree_no_more_than_by_chance():
    assert ceiling(0.5) is None


@pytest.mark.parametrize("deviation", [0.5, 1.5, 3.0])
def test_the_best_guess_on_raters_who_follow_bradley_terry_stays_below_the_ceiling(deviation):
    """Sim 11: by 2 to 3.5 points."""
    logits = deviation * torch.linspace(-5, 5, 20001, dtype=torch.float64)
    density = torch.exp(-torch.linspace(-5, 5, 20001, dtype=torch.float64).square() / 2)
    density /= density.sum()
    p = torch.sigmoid(logits)
    agree = float(density @ (p.square() + (1 - p).square()))
    reached = float(density @ torch.maximum(p, 1 - p))
    assert 0.015 < ceiling(agree) - reached < 0.04


def several(seed, units=40, raters=6):
    """Two or three judgments on each of some pairs of responses, a third of the pairs on a shared prompt."""
    rng = np.random.default_rng(seed)
    rows = []
    for unit in range(units):
        for rater in rng.choice(raters, size=rng.integers(1, 4), replace=False):
            rows.append((unit // 3, 2 * unit, 2 * unit + 1, rater, rng.random() < 0.3 + 0.4 * (unit % 2)))
    rng.shuffle(rows)
    return [np.array(column).astype(int) for column in zip(*rows, strict=True)]


def test_agreement_and_its_variance_are_those_of_loops():
    prompt, first, second, rater, won = several(0)
    found = agreement(judged(prompt, won, first=first, second=second, rater=rater)).estimate
    shares, people, prompts = [], [], []
    for unit in sorted(set(first)):
        answers = won[first == unit]
        if len(answers) > 1:
            same = [a == b for a, b in combinations(answers, 2)]
            shares.append(sum(same) / len(same))
            people.append(set(rater[first == unit]))
            prompts.append(prompt[first == unit][0])
    mean = np.mean(shares)
    assert found.value == pytest.approx(mean)
    total = sum(
        (shares[i] - mean) * (shares[j] - mean)
        for i in range(len(shares))
        for j in range(len(shares))
        if people[i] & people[j] or prompts[i] == prompts[j]
    )
    alone = sum((value - mean) ** 2 for value in shares)
    expected = max(total, alone) / len(shares) ** 2 * 6 / 5
    assert found.variance == pytest.approx(expected)


def test_a_rater_who_meets_a_pair_again_is_no_second_rater():
    twice = judged([0, 0], [1, 1], first=[0, 0], second=[1, 1], rater=[3, 3])
    assert agreement(twice).estimate is None
    nobody = judged([0, 0], [1, 1], first=[0, 0], second=[1, 1])
    assert agreement(nobody).estimate is None
    both = judged([0, 0], [1, 0], first=[0, 0], second=[1, 1], rater=[3, 4])
    assert agreement(both).estimate.value == 0


def test_pairs_asked_for_it_are_preferred():
    pairs = judged(
        [0, 0, 1, 1],
        [1, 1, 1, 0],
        first=[0, 0, 2, 2],
        second=[1, 1, 3, 3],
        rater=[0, 1, 0, 1],
        purpose=[1, 1, 0, 0],
        purposes=["active", "overlap"],
    )
    found = agreement(pairs)
    assert (found.source, found.pairs, found.estimate.value) == ("overlap", 1, 1.0)
    assert agreement(pairs.where(pairs.purpose == 0)).source == "all"


def test_without_overlap_the_figures_say_why():
    pairs = judged([0, 1], [1, 1], rater=[0, 1])
    accuracy = share(torch.ones(2, dtype=torch.float64), pairs.weight, pairs)
    found = share_of_ceiling(accuracy, agreement(pairs))
    assert found["share_of_ceiling"] is None
    assert found["ceiling_reason"] == "no two named raters decided between the same two responses"


def test_raters_who_toss_coins_leave_nothing_to_reach():
    pairs = judged([0, 0], [1, 0], first=[0, 0], second=[1, 1], rater=[3, 4])
    accuracy = share(torch.tensor([1.0, 0.0]).double(), pairs.weight, pairs)
    found = share_of_ceiling(accuracy, agreement(pairs))
    assert (found["agreement"], found["ceiling"]) == (0.0, None)
    assert found["ceiling_reason"] == "two raters agree no more often than chance"


def chances(world, robots, prompt, first, second):
    """How likely each robot prefers the first, ties not offered: (pairs, robots)."""
    columns = []
    for robot in robots:
        worth = world.worth(world.other_taste) if robot.other_taste else world.gold
        difference = robot.reliability * (worth[prompt, first] - worth[prompt, second]) + robot.side_bias
        lapse = robot.lapses(30)
        columns.append(lapse * robot.lapse_first + (1 - lapse) / (1 + np.exp(-difference)))
    return np.stack(columns, axis=1)


def crowd_overlap(seed, kind, raters, count):
    """Two judgments each on pairs of a bandit world, and how often two fresh ones of that crowd agree."""
    rng = np.random.default_rng(seed)
    world, robots = Bandit.drawn(seed, prompts=64), population(kind, raters, seed)
    p = chances(world, robots, *world.draw(4000, rng))
    together = p.sum(1) ** 2 - (p**2).sum(1) + (1 - p).sum(1) ** 2 - ((1 - p) ** 2).sum(1)
    truth = float((together / (raters * (raters - 1))).mean())
    prompt, first, second = world.draw(count, rng)
    p = chances(world, robots, prompt, first, second)
    who = np.stack([rng.choice(raters, 2, replace=False) for _ in range(count)])
    won = rng.random(who.shape) < np.take_along_axis(p, who, axis=1)
    pairs = judged(
        prompt.repeat(2),
        won.ravel(),
        first=(256 * prompt + first).repeat(2),
        second=(256 * prompt + second).repeat(2),
        rater=who.ravel(),
    )
    return pairs, truth


def hits(kind, raters, count, worlds):
    found = []
    for seed in range(worlds):
        pairs, truth = crowd_overlap(seed, kind, raters, count)
        low, high = agreement(pairs).estimate.interval()
        found.append((low <= truth <= high, high - low))
    return np.array(found, dtype=float).mean(0)


def test_the_true_agreement_is_in_the_interval():
    covered, width = hits("crowd", 40, 200, 15)
    assert covered >= 0.85
    assert width < 0.2


@pytest.mark.verify
@pytest.mark.parametrize(
    ("kind", "raters", "count"), [("crowd", 40, 200), ("clean", 20, 100), ("crowd", 10, 600)]
)
def test_k18_the_true_agreement_is_in_the_interval_of_ninety_in_a_hundred_worlds(kind, raters, count):
    assert hits(kind, raters, count, 100)[0] >= 0.90


def test_nine_in_ten_lower_bounds_lie_below_the_true_share_of_the_ceiling():
    """Raters with one taste and a lapse; a model that orders 80 % of pairs as the truth does."""
    rng = np.random.default_rng(0)
    logits = 1.6 * rng.normal(size=300_000)
    p = 0.05 + 0.9 / (1 + np.exp(-logits))
    agree = float((p**2 + (1 - p) ** 2).mean())
    reached = float((0.8 * np.maximum(p, 1 - p) + 0.2 * np.minimum(p, 1 - p)).mean())
    truth = (reached - 0.5) / (ceiling(agree) - 0.5)
    below = 0
    for _ in range(200):
        count, overlap = 500, 250
        p = 0.05 + 0.9 / (1 + np.exp(-1.6 * rng.normal(size=count)))
        unit = np.concatenate([np.arange(count), np.arange(overlap)])
        rater = np.concatenate([rng.integers(0, 20, count), rng.integers(20, 40, overlap)])
        won = rng.random(len(unit)) < p[unit]
        says_first = np.where(rng.random(count) < 0.8, p > 0.5, p < 0.5)
        pairs = judged(unit, won, first=2 * unit, second=2 * unit + 1, rater=rater)
        right = torch.tensor(says_first[unit] == won).double()
        bound = share_of_ceiling(share(right, pairs.weight, pairs), agreement(pairs))["share_of_ceiling_low"]
        below += bound is None or bound <= truth
    assert 0.86 <= below / 200 <= 0.99


def test_the_bound_is_no_more_than_the_share_itself():
    for seed in range(20):
        prompt, first, second, rater, won = several(seed)
        won = np.where(np.arange(len(won)) % 5 > 0, first % 4 == 0, won)
        pairs = judged(prompt, won, first=first, second=second, rater=rater)
        accuracy = share(torch.tensor(first % 4 == won).double(), pairs.weight, pairs)
        found = share_of_ceiling(accuracy, agreement(pairs))
        if found["ceiling"]:
            assert found["share_of_ceiling_low"] <= found["share_of_ceiling"] + 1e-12
            assert math.isfinite(found["share_of_ceiling_low"])
