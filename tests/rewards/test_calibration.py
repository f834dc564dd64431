"""K19 and the ECE figures of Sim 11: what a calibrated model looks like, and one that is not."""

import math

import pytest
import torch

from rewards.calibration import BINS, fit_line, reliability
from tests.rewards.conftest import judged


def drawn(count, seed, *, deviation=1.5, slope=1.0, side=0.0, raters=20):
    """True log-odds towards the chosen response, claimed as if they were 1/slope times as large."""
    generator = torch.Generator().manual_seed(seed)
    truth = deviation * torch.randn(count, generator=generator, dtype=torch.float64)
    shown = torch.where(torch.rand(count, generator=generator) < 0.5, 1, -1)  # of the first response
    won = torch.rand(count, generator=generator, dtype=torch.float64) < torch.sigmoid(truth + side * shown)
    rater = torch.randint(raters, (count,), generator=generator)
    pairs = judged(torch.arange(count) // 2, won, rater=rater, side=torch.where(won, shown, -shown))
    return torch.where(won, truth, -truth) / slope, pairs


def test_the_line_is_where_the_likelihood_is_flat():
    logits, pairs = drawn(300, 0, side=0.4)
    line = fit_line(logits, pairs)
    parameters = torch.tensor([line.slope, line.side], dtype=torch.float64, requires_grad=True)
    columns = torch.stack([logits, pairs.side.double()], dim=1)
    torch.nn.functional.logsigmoid(columns @ parameters).sum().backward()
    assert parameters.grad.abs().max() < 0.05  # but for the ridge; at (1, 0) it is
    assert float((columns * torch.sigmoid(-logits)[:, None]).sum(0).abs().max()) > 5


def test_slope_and_side_are_found():
    logits, pairs = drawn(8000, 1, slope=1 / 3, side=0.5)
    line = fit_line(logits, pairs)
    assert line.slope == pytest.approx(1 / 3, abs=0.03)
    assert line.side == pytest.approx(0.5, abs=0.08)
    assert line.slope_interval[0] < 1 / 3 < line.slope_interval[1]
    assert line.side_interval[0] < 0.5 < line.side_interval[1]
    assert line.figures()["temperature"] == pytest.approx(1 / line.slope)


def test_where_nobody_knows_the_side_there_is_no_intercept():
    logits, pairs = drawn(200, 2)
    pairs = judged(pairs.prompt, torch.ones(200))
    figures = fit_line(logits, pairs).figures()
    assert figures["side_intercept"] is None
    assert figures["side_intercept_low"] is None


def test_a_model_that_sees_no_difference_has_slope_0():
    pairs = judged(torch.arange(20), torch.ones(20))
    assert fit_line(torch.zeros(20), pairs).figures()["calibration_slope"] == 0
    assert fit_line(torch.zeros(20), pairs).figures()["temperature"] is None


def test_pairs_that_are_separated_have_a_finite_slope_and_a_wide_interval():
    pairs = judged(torch.arange(30), torch.ones(30))
    line = fit_line(torch.ones(30), pairs)
    assert 1 < line.slope < 50


def test_the_slopes_interval_covers_1():
    hits = 0
    for seed in range(100):
        low, high = fit_line(*drawn(400, seed)).slope_interval
        hits += low <= 1 <= high
    assert hits >= 90


def scaled(seed, learned_from):
    """Too sure by 3; a temperature fitted to some judgments, then 1 000 fresh ones."""
    before = fit_line(*drawn(learned_from, 2 * seed, slope=3)).slope
    logits, pairs = drawn(1000, 2 * seed + 1, slope=3)
    low, high = fit_line(logits * before, pairs).slope_interval
    return low <= 1 <= high


def test_k19_after_temperature_scaling_the_interval_holds_1():
    assert sum(scaled(seed, 5000) for seed in range(40)) >= 36


@pytest.mark.verify
def test_k19_in_two_hundred_runs():
    assert sum(scaled(seed, 5000) for seed in range(200)) >= 180


@pytest.mark.parametrize(
    ("count", "expected", "high"),
    [(200, 0.074, 0.103), (500, 0.046, 0.066), (1000, 0.033, 0.048), (5000, 0.015, 0.021)],
)
def test_the_error_by_chance_alone_is_that_of_simulation_11(count, expected, high):
    logits, pairs = drawn(count, 4)
    found = reliability(logits, pairs.weight)
    assert found["ece_expected"] == pytest.approx(expected, rel=0.08)
    assert found["ece_expected_high"] == pytest.approx(high, rel=0.10)


def test_a_calibrated_model_has_no_error_beyond_chance_and_one_too_sure_has():
    excess = [reliability(*_weighted(drawn(500, seed)), seed=seed)["ece_excess"] for seed in range(40)]
    assert sum(excess) / len(excess) == pytest.approx(0, abs=0.006)
    too_sure = [reliability(*_weighted(drawn(500, seed, slope=0.5)))["ece_excess"] for seed in range(10)]
    assert min(too_sure) > 0.02


def _weighted(found):
    return found[0], found[1].weight


def test_the_calibration_error_is_its_sum():
    logits = torch.linspace(-2, 3, 47, dtype=torch.float64)
    weight = torch.linspace(0.5, 1, 47, dtype=torch.float64)
    rows = sorted(
        (
            (1 / (1 + math.exp(-abs(value))), float(value > 0), each)
            for value, each in zip(logits, weight, strict=True)
        ),
        key=lambda row: row[0],
    )
    sizes = [47 // BINS + (number < 47 % BINS) for number in range(BINS)]
    total, begin = 0.0, 0
    for size in sizes:
        bin_rows = rows[begin : begin + size]
        total += abs(sum(float(w) * (confidence - right) for confidence, right, w in bin_rows))
        begin += size
    found = reliability(logits, weight)
    assert found["ece"] == pytest.approx(total / float(weight.sum()))
    assert [row["pairs"] for row in found["reliability"]] == sizes


def test_the_curves_points_are_shares_with_intervals_and_a_band_of_chance():
    logits, pairs = drawn(2000, 7)
    rows = reliability(logits, pairs.weight)["reliability"]
    assert all(row["low"] <= row["right"] <= row["high"] for row in rows)
    within = sum(row["chance_low"] <= row["right"] <= row["chance_high"] for row in rows)
    assert within >= 7
    assert [row["confidence"] for row in rows] == sorted(row["confidence"] for row in rows)


def test_the_same_seed_draws_the_same_replicates():
    logits, pairs = drawn(100, 8)
    assert reliability(logits, pairs.weight, seed=3) == reliability(logits, pairs.weight, seed=3)
    assert (
        reliability(logits, pairs.weight, seed=3)["ece_expected"]
        != reliability(logits, pairs.weight, seed=4)["ece_expected"]
    )
