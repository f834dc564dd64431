"""Robots whose reliability, habits and fatigue are known: the figures must say what was put in."""

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.stats import spearmanr

from annotate.quality.figures import log_odds_slope, share, slope_within
from annotate.quality.project import quality
from annotate.quality.reliability import Common, Evidence, care, sequential_test, trust
from tests.annotate.robot_judgments import label
from worlds.robots import Robot, population

SEEDS = range(10)
COMMON = Common(repeats=0.8, agreement=0.7, care=0.9)
NOTHING = np.array([])


def inside(found: dict, expected: float) -> bool:
    return found["low"] <= expected <= found["high"]


@cache
def crowd(seed: int):
    robots = population("crowd", 20, seed)
    rows, expected = label(robots, each=300, gold_share=0.08, seed=seed)
    return robots, rows, expected, quality(rows, resamples=300, seed=seed)


def of_comparisons(rows, expected):
    """The chances of the judgments of each ordinary pair."""
    found = {}
    for row, chance in zip(rows, expected, strict=True):
        if row.purpose == "uniform":
            found.setdefault(row.comparison, []).append(chance)
    return [chances for chances in found.values() if len(chances) > 1]


def coverage(expected_of, figure_of) -> int:
    """In how many of ten worlds the expected value lies within the interval."""
    return sum(inside(figure_of(crowd(seed)[3]), expected_of(*crowd(seed)[:3])) for seed in SEEDS)


def test_the_left_share_comes_out_as_put_in():
    def expected(robots, rows, chances):
        return sum(c.first for c in chances) / sum(1 - c.tie for c in chances)

    assert coverage(expected, lambda found: found["answers"]["left_share"]) >= 9


def test_the_tie_share_comes_out_as_put_in():
    def expected(robots, rows, chances):
        return np.mean([c.tie for c in chances])

    assert coverage(expected, lambda found: found["answers"]["tie_share"]) >= 9


def test_raw_agreement_comes_out_as_put_in():
    def expected(robots, rows, chances):
        return np.mean(
            [
                a.low * b.low
                + a.high * b.high
                + a.tie * b.tie
                + (a.tie * (1 - b.tie) + b.tie * (1 - a.tie)) / 2
                for a, b in of_comparisons(rows, chances)
            ]
        )

    assert coverage(expected, lambda found: found["agreement"]["raw"]) >= 9


def test_alpha_comes_out_as_put_in():
    def expected(robots, rows, chances):
        answers = np.array(
            [[[c.low, c.high, c.tie] for c in pair] for pair in of_comparisons(rows, chances)]
        )  # (comparisons, 2 raters, 3 answers)
        same = (answers[:, 0] * answers[:, 1]).sum(axis=1).mean()
        by_chance = (answers.mean(axis=(0, 1)) ** 2).sum()
        return 1 - (1 - same) / (1 - by_chance)

    assert coverage(expected, lambda found: found["agreement"]["alpha"]) >= 9


def test_the_gold_pass_rate_comes_out_as_put_in():
    def expected(robots, rows, chances):
        return np.mean([c.low for row, c in zip(rows, chances, strict=True) if row.gold])

    assert coverage(expected, lambda found: found["care"]["gold_pass_rate"]) >= 9


def test_self_consistency_comes_out_as_put_in():
    def expected(robots, rows, chances):
        first = {
            (row.rater, row.comparison): c
            for row, c in zip(rows, chances, strict=True)
            if row.repeats is None
        }
        return np.mean(
            [
                a.low * b.low
                + a.high * b.high
                + a.tie * b.tie
                + (a.tie * (1 - b.tie) + b.tie * (1 - a.tie)) / 2
                for row, a in zip(rows, chances, strict=True)
                if row.repeats is not None
                for b in [first[row.rater, row.repeats]]
            ]
        )

    assert coverage(expected, lambda found: found["care"]["self_consistency"]) >= 9


@pytest.mark.parametrize("liking", [0.0, 1.5])
def test_a_liking_for_length_comes_out_as_put_in(liking):
    robots = [replace(robot, length_bias=liking) for robot in population("crowd", 12, 3)]
    rows, chances = label(robots, each=300, seed=3)
    decided = [(row, c) for row, c in zip(rows, chances, strict=True) if len(row.order) == 2]
    ratio = np.array([np.log(row.length[0] / row.length[1]) for row, _ in decided])
    expected = log_odds_slope(  # the slope that the chances themselves have, their noise left out
        ratio,
        np.array([c.first / (1 - c.tie) for _, c in decided]),
        clusters=np.zeros(len(decided), dtype=int),
    )
    found = quality(rows)["answers"]["length_effect"]
    assert inside(found, expected.value)
    assert (found["low"] > 0) == bool(liking)


def test_fatigue_comes_out_as_put_in():
    robots = [replace(robot, fatigue=0.8) for robot in population("crowd", 20, 5)]
    rows, chances = label(robots, each=400, gold_share=0.3, repeat_share=0, seed=5)
    golds = [(row, c) for row, c in zip(rows, chances, strict=True) if row.gold]
    rater = np.unique([row.rater for row, _ in golds], return_inverse=True)[1]
    since = np.array([row.since_break / 100 for row, _ in golds])
    expected = slope_within(since, np.array([c.low for _, c in golds]), cells=rater, clusters=rater)
    found = quality(rows)["fatigue"]["golds"]
    assert inside(found["per_100_comparisons"], expected.value)
    assert found["per_100_comparisons"]["high"] < 0
    # the robots take ten seconds for each, so 100 comparisons are 1000 seconds
    assert found["per_hour"]["value"] == pytest.approx(found["per_100_comparisons"]["value"] * 3.6, rel=1e-4)


def test_robots_that_do_not_tire_show_no_fatigue():
    rows, _ = label(population("clean", 20, 0), each=200, seed=0)
    assert inside(quality(rows)["fatigue"]["together"]["per_100_comparisons"], 0)


def test_weights_follow_the_care_that_was_put_in():
    attention, weights = [], []
    for seed in SEEDS:
        robots, _, _, found = crowd(seed)
        for rater in found["raters"]:
            robot = robots[int(rater["rater"][1:])]
            kind = "spam" if robot.lapse > 0.5 else "reversed" if robot.reliability < 0 else "other"
            if kind == "spam":
                assert rater["weight"] < 0.65, rater
            elif kind == "reversed":
                assert rater["weight"] < 0.35, rater
            else:
                attention.append((1 - robot.lapses(60)) * np.tanh(robot.reliability))
                weights.append(rater["weight"])
    assert spearmanr(attention, weights).statistic > 0.6
    assert np.mean(weights) > 0.8


def test_each_interval_of_care_holds_what_was_put_in():
    held = []
    careful = np.log(0.92 / 0.08) / 6  # passes 92 of 100 golds, whose rewards are 6 apart
    for lapse, seed in product((0.0, 0.3, 0.6, 0.9), range(5)):
        robots = [Robot(lapse=lapse, reliability=careful)] * 8
        rows, _ = label(robots, each=300, gold_share=0.1, seed=seed)
        held += [
            rater["care"]["low"] <= 1 - lapse <= rater["care"]["high"] for rater in quality(rows)["raters"]
        ]
    assert np.mean(held) > 0.85


def test_a_minority_with_its_own_taste_keeps_its_weight_and_nobody_of_it_is_paused():
    found = {"majority": [], "minority": [], "spam": []}
    for seed in SEEDS:
        robots = population("minority", 40, seed)
        rows, _ = label(robots, each=300, gold_share=0.08, cosine=0.0, seed=seed)
        for rater in quality(rows, resamples=100)["raters"]:
            robot = robots[int(rater["rater"][1:])]
            kind = "spam" if robot.lapse > 0.5 else "minority" if robot.other_taste else "majority"
            found[kind].append(rater)
    weights = {kind: [rater["weight"] for rater in raters] for kind, raters in found.items()}
    agreement = {kind: np.mean([r["agreement"]["value"] for r in raters]) for kind, raters in found.items()}
    assert len(weights["minority"]) == 100
    assert agreement["minority"] < agreement["majority"] - 0.03  # they do disagree
    assert not {rater["action"] for rater in found["minority"]} & {"pause", "message"}
    assert np.mean(weights["minority"]) == pytest.approx(np.mean(weights["majority"]), abs=0.03)
    for rater in found["minority"]:
        if rater["gold_pass_rate"]["value"] >= 0.9 and rater["repeats"]["state"] != "poor":
            assert rater["weight"] > 0.75, rater
    assert max(weights["spam"]) < np.quantile(weights["minority"], 0.1)
    assert np.mean([rater["action"] == "pause" for rater in found["spam"]]) >= 0.8


def test_a_careful_minority_is_read_as_a_different_taste():
    robots = [Robot(reliability=2, other_taste=number < 5) for number in range(20)]
    rows, _ = label(robots, each=400, cosine=0.0, gold_share=0.06, repeat_share=0.1, seed=1)
    readings = {rater["rater"]: rater["reading"] for rater in quality(rows)["raters"]}
    assert {readings[f"r{number:03}"] for number in range(5)} == {"different taste"}
    assert sum(readings[f"r{number:03}"] == "careful" for number in range(5, 20)) >= 13


def evidence(*, golds=(0, 0), repeats=(0, 0), firsts=(50, 100), agreement=(0, 0), fast=(0, 10)) -> Evidence:
    """So many right of so many, spread evenly over time."""

    def spread(right: int, n: int) -> np.ndarray:
        return np.diff(np.floor(np.arange(n + 1) * right / n)) if n else NOTHING

    return Evidence(
        golds=spread(*golds),
        gold_chance=0.5,
        repeats=spread(*repeats),
        firsts=spread(*firsts),
        agreement=spread(*agreement),
        too_fast=share(*fast),
    )


@pytest.mark.parametrize(
    ("known", "reading", "action"),
    [
        ({"golds": (24, 25), "repeats": (18, 20), "agreement": (70, 100)}, "careful", "none"),
        ({"golds": (24, 25), "repeats": (18, 20), "agreement": (45, 100)}, "different taste", "none"),
        ({"golds": (24, 25), "repeats": (10, 20)}, "guessing on hard items", "retrain"),
        ({"golds": (13, 25), "repeats": (10, 20)}, "not reading", "pause"),
        ({"golds": (13, 25), "firsts": (90, 100)}, "not reading", "pause"),
        ({"golds": (13, 25), "fast": (95, 100)}, "not reading", "pause"),
        ({"golds": (4, 25), "repeats": (18, 20), "agreement": (30, 100)}, "reversed scale", "message"),
        ({"golds": (2, 3)}, "not enough data", "none"),
        ({"repeats": (18, 20), "agreement": (30, 100)}, "reversed scale", "message"),
        ({"repeats": (18, 20), "agreement": (55, 100)}, "different taste", "none"),
        ({"agreement": (45, 100)}, "not enough data", "none"),
        ({}, "not enough data", "none"),
    ],
)
def test_unreliable_is_told_from_different(known, reading, action):
    found = trust(evidence(**known), COMMON)
    assert (found.reading, found.action) == (reading, action)


@pytest.mark.parametrize("agreed", [0, 20, 50, 70, 100])
def test_disagreement_never_lowers_a_weight_and_agreement_may_raise_it(agreed):
    for golds, repeats in product([(0, 0), (24, 25), (15, 25)], [(0, 0), (18, 20), (10, 20)]):
        known = {"golds": golds, "repeats": repeats}
        alone = care(evidence(**known), COMMON).value
        assert care(evidence(**known, agreement=(agreed, 100)), COMMON).value >= alone
    assert care(evidence(agreement=(70, 100)), COMMON).value > care(evidence(), COMMON).value


def test_with_nothing_known_the_weight_is_the_priors():
    found = care(evidence(firsts=(0, 0)), COMMON)
    assert found.value == pytest.approx(0.9 * 5 / 6 + 0.1 / 6, abs=0.005)
    assert found.n == 0


def test_who_always_takes_the_first_has_a_low_weight_and_a_slight_bias_costs_nothing():
    slight, strong = (care(evidence(firsts=(firsts, 200)), COMMON).value for firsts in (108, 190))
    assert slight > 0.75
    assert strong < 0.5
    proven = care(evidence(golds=(25, 25), repeats=(20, 20), firsts=(140, 200)), COMMON).value
    assert proven > 0.85


@pytest.mark.parametrize(
    ("rate", "flagged", "asked"),
    [(0.95, 0.001, 9.3), (0.92, 0.006, 11.5), (0.85, 0.10, 18.6), (0.60, 0.96, 12.6), (0.50, 0.99, 8.8)],
)
def test_the_test_on_golds_flags_as_often_and_as_soon_as_known(rate, flagged, asked):
    rng = np.random.default_rng(3)
    found = [sequential_test((rng.random(400) < rate).astype(float)) for _ in range(4000)]
    assert np.mean([state == "poor" for state, _ in found]) == pytest.approx(flagged, abs=0.02)
    assert np.mean([needed for _, needed in found]) == pytest.approx(asked, rel=0.06)


def test_the_ceiling_lies_above_what_a_perfect_model_reaches():
    robots = [Robot() for _ in range(30)]
    rows, chances = label(robots, each=200, gold_share=0, repeat_share=0, seed=2)
    perfect = np.mean([max(c.low, c.high) for c in chances])
    found = quality(rows)["agreement"]
    assert found["ceiling"]["high"] > perfect
    assert perfect > found["decided"]["value"]
