"""The gates' truth table: passed, not passed, and not known with the reason."""

import copy

import pytest

from rewards.gates import PROBES, check, failed

GOOD = {
    "share_of_ceiling_low": 0.6,
    "agreement": 0.72,
    "ceiling_reason": None,
    "calibration_slope_low": 0.9,
    "calibration_slope_high": 1.1,
    "ece_excess": 0.004,
    "worst_group": 0.9,
    "policy": {"drop": 0.02},
    "style_share": {"length_part": -0.05},
    "probes": {kind: {"count": 100, "clean_preferred": 0.95} for kind in PROBES},
    "learning_curve": {"doubling_gain": 0.01, "reason": None},
    "disagreement": {"ratio": 1.1, "reason": None},
}
GOOD["probes"]["padded"]["falls_or_stays"] = 0.9


def gate(number, *, kl_budget=None, **changes):
    figures = copy.deepcopy(GOOD)
    for path, value in changes.items():
        *outer, last = path.split("__")
        place = figures
        for name in outer:
            place = place[name]
        place[last] = value
    return {found["gate"]: found for found in check(figures, kl_budget=kl_budget)}[number]


def test_a_good_reward_model_passes_all_nine_in_their_order():
    found = check(GOOD)
    assert [each["gate"] for each in found] == [f"G{number}" for number in range(1, 10)]
    assert all(each["passed"] is True for each in found)
    assert failed(found) == []


def test_of_nothing_nothing_is_known_and_each_says_why():
    found = check({})
    assert all(
        each["passed"] is None and each["reason"] and each["value"] in (None, [None, None]) for each in found
    )
    assert failed(found) == []


@pytest.mark.parametrize(
    ("number", "changes", "passed"),
    [
        ("G1", {"share_of_ceiling_low": 0.50}, True),
        ("G1", {"share_of_ceiling_low": 0.49}, False),
        ("G1", {"share_of_ceiling_low": None}, None),
        ("G1", {"share_of_ceiling_low": None, "agreement": 0.49, "ceiling_reason": "chance"}, False),
        ("G1", {"share_of_ceiling_low": 0.6, "kl_budget": 4.0}, True),
        ("G1", {"share_of_ceiling_low": 0.6, "kl_budget": 4.1}, False),
        ("G1", {"share_of_ceiling_low": 0.65, "kl_budget": 8.0}, True),
        ("G2", {"calibration_slope_low": 1.25, "calibration_slope_high": 1.5}, True),
        ("G2", {"calibration_slope_low": 1.26, "calibration_slope_high": 1.5}, False),
        ("G2", {"calibration_slope_low": 0.5, "calibration_slope_high": 0.79}, False),
        ("G2", {"calibration_slope_low": 0.5, "calibration_slope_high": 0.8}, True),
        ("G2", {"calibration_slope_low": None}, None),
        ("G3", {"ece_excess": 0.02}, True),
        ("G3", {"ece_excess": 0.021}, False),
        ("G3", {"ece_excess": -0.01}, True),
        ("G3", {"ece_excess": None}, None),
        ("G4", {"worst_group": 0.8}, True),
        ("G4", {"worst_group": 0.79}, False),
        ("G4", {"worst_group": None}, None),
        ("G5", {"policy__drop": 0.05}, True),
        ("G5", {"policy__drop": 0.06}, False),
        ("G5", {"policy": None}, None),
        ("G6", {"style_share__length_part": 0.11}, False),
        ("G6", {"style_share__length_part": -0.11}, False),
        ("G6", {"probes__padded__falls_or_stays": 0.79}, False),
        ("G6", {"style_share__length_part": None}, None),
        ("G6", {"style_share__length_part": None, "probes__padded__falls_or_stays": 0.5}, False),
        ("G6", {"probes": {}}, None),
        ("G7", {"probes__swapped__clean_preferred": 0.9}, True),
        ("G7", {"probes__swapped__clean_preferred": 0.89}, False),
        ("G7", {"probes__swapped__count": 19}, None),
        ("G7", {"probes__swapped__count": 19, "probes__padded__clean_preferred": 0.5}, False),
        ("G7", {"probes": None}, None),
        ("G8", {"learning_curve__doubling_gain": 0.2}, True),
        ("G8", {"learning_curve": None}, None),
        ("G9", {"disagreement__ratio": 1.3}, True),
        ("G9", {"disagreement__ratio": 1.31}, False),
        ("G9", {"disagreement": None}, None),
        ("G9", {"disagreement": {"ratio": None, "reason": "the reward model has one member"}}, None),
    ],
)
def test_a_gate_is_passed_up_to_its_bound(number, changes, passed):
    found = gate(number, **changes)
    assert found["passed"] is passed
    assert passed is not None or found["reason"]


def test_reasons_name_what_is_wrong_or_missing():
    assert gate("G1", share_of_ceiling_low=None, ceiling_reason="no overlap")["reason"] == "no overlap"
    assert gate("G7", probes__swapped__clean_preferred=0.1)["reason"] == "fails: swapped"
    assert "fewer than 20 texts: shuffled" in gate("G7", probes__shuffled__count=3)["reason"]
    assert gate("G8", learning_curve__doubling_gain=0.031)["reason"] == "labels are the bottleneck"
    assert "--policy-pairs" in gate("G5", policy=None)["reason"]
    assert "one member" in gate("G9", disagreement={"ratio": None, "reason": "one member"})["reason"]
    assert gate("G2", calibration_slope_low=2.0, calibration_slope_high=3.0)["reason"]


def test_an_error_that_chance_may_have_made_says_so():
    few = gate("G3", ece_excess=0.025, ece=0.09, ece_expected_high=0.1)
    many = gate("G3", ece_excess=0.025, ece=0.05, ece_expected_high=0.04)
    assert (few["passed"], many["passed"]) == (False, False)
    assert "more pairs" in few["reason"]
    assert not many["reason"]


def test_those_that_fail_are_named():
    figures = copy.deepcopy(GOOD) | {"ece_excess": 0.5, "worst_group": 0.1, "policy": None}
    assert failed(check(figures)) == ["G3", "G4"]
