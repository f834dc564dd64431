"""Checklist 37 (equal scores count half) and 42: the figures, against sums written out by hand."""

import math

import pytest
import torch

from rewards import evaluate
from rewards.batches import read_pairs
from rewards.evaluate import calibration_error, calibration_slope, measure
from tests.rewards.conftest import pair
from tests.torch_models import tiny_chat


@pytest.fixture
def decided(pairs_file):
    """Four prompts; in the first the chosen response is longer, in the rest as long."""
    pairs = [
        pair(0, "The lamp is red and made of wood.", "Red."),
        *(pair(i, f"Red {i}.", f"Blue {i}.") for i in (1, 2, 3)),
    ]
    return read_pairs(pairs_file(pairs), tiny_chat(), max_length=100)


def test_equal_rewards_count_half(decided):
    found = measure(torch.tensor([1.0, 0.0, -1.0, 2.0]), decided)
    assert found["eval_accuracy"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)


def test_log_loss_and_brier_score_are_their_sums(decided):
    logits = [1.0, 0.0, -1.0, 2.0]
    p = [1 / (1 + math.exp(-value)) for value in logits]
    found = measure(torch.tensor(logits), decided)
    assert found["log_loss"] == pytest.approx(sum(-math.log(value) for value in p) / 4)
    assert found["brier"] == pytest.approx(sum((1 - value) ** 2 for value in p) / 4)


def test_longer_wins_and_pairs_of_like_length_stand_beside_the_accuracy(decided):
    found = measure(torch.tensor([1.0, 1.0, 1.0, -1.0]), decided)
    assert found["longer_wins"] > 0.5
    assert found["length_matched_pairs"] == int(
        sum(
            len(decided.responses[a]) == len(decided.responses[b])
            for a, b in zip(decided.chosen, decided.rejected, strict=True)
        )
    )


def test_ties_and_pairs_without_a_prediction_are_left_out(pairs_file):
    pairs = read_pairs(pairs_file([pair(0), pair(1, tie=True), pair(2)]), tiny_chat(), max_length=100)
    assert measure(torch.tensor([1.0, -9.0, math.nan]), pairs)["eval_pairs"] == 1
    assert measure(torch.full((3,), math.nan), pairs)["eval_accuracy"] is None


def test_pairs_of_one_prompt_that_go_alike_widen_the_interval(pairs_file):
    alike = [pair(i // 10, f"Red {i}.", f"Blue {i}.") for i in range(200)]
    apart = [pair(i, f"Red {i}.", f"Blue {i}.") for i in range(200)]
    logits = torch.where(torch.arange(200) // 10 % 4 == 0, -1.0, 1.0)
    widths = []
    for pairs in (alike, apart):
        found = measure(logits, read_pairs(pairs_file(pairs), tiny_chat(), max_length=100))
        assert found["eval_accuracy_low"] < 0.75 < found["eval_accuracy_high"]
        widths.append(found["eval_accuracy_high"] - found["eval_accuracy_low"])
    assert widths[0] > 2 * widths[1]
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(0.75 * 0.25 / 200), abs=0.01)


def test_the_slope_finds_how_much_too_sure_a_model_is():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(8000, generator=generator, dtype=torch.float64)
    won = torch.rand(8000, generator=generator, dtype=torch.float64) < torch.sigmoid(truth)
    towards_chosen = torch.where(won, truth, -truth)
    assert calibration_slope(towards_chosen, torch.ones(8000)) == pytest.approx(1.0, abs=0.1)
    assert calibration_slope(3 * towards_chosen, torch.ones(8000)) == pytest.approx(1 / 3, abs=0.04)
    right = calibration_error(towards_chosen, torch.ones(8000, dtype=torch.float64))
    assert right < 0.02 < calibration_error(3 * towards_chosen, torch.ones(8000, dtype=torch.float64))


def test_a_folder_without_a_reward_model_is_refused(tiny, pairs_file, capsys, caplog):
    with pytest.raises(SystemExit) as end:
        evaluate.main(["--reward-model", str(tiny), "--pairs", str(pairs_file([pair(0)]))])
    assert end.value.code == 78
    assert "is no reward model" in caplog.text
