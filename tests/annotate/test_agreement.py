import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import evalica
import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from annotate.judged import Judged
from annotate.measure_config import MeasureConfig
from annotate.quality.agreement import (
    agreement_between,
    alpha,
    alphas,
    ceiling,
    first_order_agreement,
    gwet,
    ratings,
    raw_agreement,
)
from annotate.quality.columns import columns
from annotate.quality.figures import difference, log_odds_slope, mean, median, share, slope_within
from annotate.quality.project import quality
from lm.records import RecordError, parse, write

NONE = float("nan")
# Krippendorff's four observers and twelve units, with one unit that a single observer saw.
FOUR_OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]
THREE_OBSERVERS = [
    [NONE] * 5 + [3, 4, 1, 2, 1, 1, 3, 3, NONE, 3],
    [1, NONE, 2, 1, 3, 3, 4, 3] + [NONE] * 7,
    [NONE, NONE, 2, 1, 3, 4, 4, NONE, 2, 1, 1, 3, 3, NONE, 4],
]


def counted(observers: list[list[float]]) -> np.ndarray:
    """How many observers gave each value, a row for each unit."""
    values = sorted({value for row in observers for value in row if not math.isnan(value)})
    return np.array([[column.count(value) for value in values] for column in zip(*observers, strict=True)])


def once(table: np.ndarray) -> np.ndarray:
    return np.ones((1, len(table)), dtype=np.int64)


def judged(rater: str, comparison: int, winner: str, **changes) -> Judged:
    """A pair's judgment by hand: low, high or tie, of the response ids."""
    low, high = 2 * comparison, 2 * comparison + 1
    order = {"low": ((low,), (high,)), "high": ((high,), (low,)), "tie": ((low, high),)}[winner]
    values = {
        "rater": rater,
        "comparison": comparison,
        "prompt": comparison,
        "purpose": "uniform",
        "shown": (low, high),
        "order": order,
        "at": f"2026-01-05T10:{comparison % 60:02}:00+00:00",
    }
    return Judged(**{**values, **changes})


@pytest.mark.parametrize(
    ("observers", "level", "published"),
    [
        (FOUR_OBSERVERS, "nominal", 0.743),
        (FOUR_OBSERVERS, "ordinal", 0.815),
        (THREE_OBSERVERS, "nominal", 0.691),
        (THREE_OBSERVERS, "ordinal", 0.807),
    ],
)
def test_alpha_is_the_published_one_with_raters_missing(observers, level, published):
    table = counted(observers)
    assert alphas(table, once(table), level)[0] == pytest.approx(published, abs=6e-4)
    assert alpha(table, level, resamples=100, chance=np.random.default_rng(0)).value == pytest.approx(
        published, abs=6e-4
    )


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
@pytest.mark.parametrize("seed", range(5))
def test_the_alpha_that_is_drawn_anew_is_the_librarys(level, seed):
    rng = np.random.default_rng(seed)
    table = rng.multinomial(rng.integers(2, 6), [0.5, 0.2, 0.2, 0.1], size=40)
    table[:5] = np.eye(4, dtype=int)[rng.integers(0, 4, 5)]  # one rater alone
    expected = evalica.alpha(pd.DataFrame(ratings(table)), level).alpha
    assert alphas(table, once(table), level)[0] == pytest.approx(expected, abs=1e-12)


def test_an_interval_of_alpha_is_that_of_drawing_comparisons():
    rng = np.random.default_rng(1)
    table = rng.multinomial(2, [0.7, 0.2, 0.1], size=60)
    table[::2] = table[::2].max(axis=1, keepdims=True) * np.eye(3, dtype=int)[rng.integers(0, 3, 30)]
    table = table[table.sum(axis=1) == 2]
    found = alpha(table, "nominal", resamples=4000, chance=np.random.default_rng(2))
    slow = []
    for _ in range(1000):
        drawn = table[rng.integers(0, len(table), len(table))]
        slow.append(evalica.alpha(pd.DataFrame(ratings(drawn))).alpha)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, (0.025, 0.975))), abs=0.03)


def test_gwets_coefficient_is_the_published_one():
    table = counted(FOUR_OBSERVERS)
    assert first_order_agreement(table, once(table))[0] == pytest.approx(0.77544, abs=5e-6)


def test_gwets_coefficient_by_hand_where_nearly_all_say_the_same():
    table = np.array([[2, 0]] * 18 + [[1, 1]] * 2)
    found = gwet(table, resamples=500, chance=np.random.default_rng(0))
    common = 2 * 0.95 * 0.05
    assert found.value == pytest.approx((0.9 - common) / (1 - common))
    assert found.low < found.value < found.high <= 1
    even = np.array([[2, 0]] * 10 + [[0, 2]] * 10)
    assert gwet(even, resamples=100, chance=np.random.default_rng(0)).value is None


def test_raw_agreement_by_hand_with_ties_and_a_rater_alone():
    table = np.array(
        [
            [3, 0, 0],  # three the same: 1
            [1, 1, 0],  # opposite: 0
            [1, 0, 1],  # a winner and a tie: 1/2
            [0, 0, 2],  # two ties: 1
            [2, 0, 1],  # pairs: 1, 1/2, 1/2
            [1, 0, 0],  # nobody to agree with
        ]
    )
    found = raw_agreement(table, tie=2)
    assert (found.value, found.n) == (pytest.approx((1 + 0 + 0.5 + 1 + 2 / 3) / 5), 5)
    decided = raw_agreement(table[:, :2], tie=None)
    assert (decided.value, decided.n) == (pytest.approx((1 + 0 + 1) / 3), 3)
    assert 0 <= found.low < found.value < found.high <= 1


def test_agreement_between_two_groups_by_hand():
    one = np.array([[2, 0, 0], [1, 0, 1], [1, 0, 0]])
    other = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert agreement_between(one, other, tie=2).value == pytest.approx((0.5 + 0.75) / 2)


@pytest.mark.parametrize(
    ("agreement", "highest"),
    [(0.60, 0.724), (0.65, 0.774), (0.70, 0.816), (0.73, 0.839), (0.77, 0.867), (0.80, 0.887), (0.4, 0.5)],
)
def test_the_human_ceiling_follows_from_agreement(agreement, highest):
    assert ceiling(share(agreement * 1000, 1000)).value == pytest.approx(highest, abs=5e-4)


def test_wilsons_interval_is_wilsons():
    found = share(8, 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert share(0, 0).value is None
    assert share(10, 10).high == 1


def test_a_median_lies_between_the_order_statistics_that_hold_it():
    found = median(np.arange(1.0, 101))
    assert (found.value, found.low, found.high) == (50.5, 40, 61)
    assert median(np.array([3.0])).value == 3


def test_a_mean_and_a_difference_have_students_and_welchs_intervals():
    values = np.array([1.0, 2, 3, 4])
    half = 3.182446 * values.std(ddof=1) / 2
    assert mean(values).high == pytest.approx(2.5 + half)
    found = difference(values, values + 1)
    assert found.value == -1
    assert found.high - found.low == pytest.approx(2 * 2.446912 * math.sqrt(2 * values.var(ddof=1) / 4))


def test_the_slope_of_two_lengths_is_the_logarithm_of_the_odds_ratio():
    x = np.repeat([0.0, 1.0], 100)
    won = np.r_[np.repeat([1.0, 0.0], [40, 60]), np.repeat([1.0, 0.0], [70, 30])]
    found = log_odds_slope(x, won, clusters=np.zeros(200, dtype=int))
    error = math.sqrt(1 / 40 + 1 / 60 + 1 / 70 + 1 / 30)
    assert found.value == pytest.approx(math.log(70 / 30 / (40 / 60)), rel=2e-3)
    assert found.high - found.value == pytest.approx(1.972 * error, rel=5e-3)


def test_a_slope_stays_finite_where_the_longer_one_always_wins():
    x = np.linspace(-1, 1, 100)
    found = log_odds_slope(x, (x > 0).astype(float), clusters=np.zeros(100, dtype=int))
    assert 5 < found.value < 100


def test_a_slope_within_raters_does_not_see_differences_between_them():
    x = np.arange(100.0) % 50
    rater = np.repeat([0, 1], 50)
    y = 0.5 - 0.01 * x + 5 * rater + np.random.default_rng(0).normal(0, 0.01, 100)
    found = slope_within(x, y, cells=rater, clusters=rater)
    assert found.low < -0.01 < found.high
    assert found.high - found.low < 0.001


def ranked(rater: str, groups: list[list[int]], *, shown=(1, 2, 3, 4), comparison=1) -> Judged:
    order = tuple(tuple(group) for group in groups)
    at = "2026-01-05T10:00:00+00:00"
    return Judged(
        rater=rater, comparison=comparison, prompt=1, purpose="uniform", shown=shown, order=order, at=at
    )


def test_rankings_agree_as_kendalls_tau_says_with_ties():
    levels = {"a": [1, 2, 3, 4], "b": [1, 2, 2, 3], "c": [4, 3, 2, 1], "d": [2, 1, 1, 1]}
    rows = []
    for number in range(3):  # more than one comparison, so that there is an interval
        for rater, level in levels.items():
            groups = [[i + 1 for i in range(4) if level[i] == value] for value in sorted(set(level))]
            rows.append(ranked(rater, groups, comparison=number, shown=(3, 1, 4, 2)))
    expected = np.mean([kendalltau(levels[one], levels[other])[0] for one, other in combinations(levels, 2)])
    found = quality(rows)["rankings"]["tau"]
    assert (found["value"], found["n"]) == (pytest.approx(expected, abs=1e-6), 3)


def test_rankings_are_compared_by_what_both_raters_ordered():
    full = [ranked("a", [[1], [2], [3], [4]], comparison=number) for number in range(2)]
    top = [ranked("b", [[2], [1]], comparison=number) for number in range(2)]
    found = quality(full + top)["rankings"]
    assert found["tau"]["value"] == -1  # of 1 and 2 alone
    assert found["best"]["value"] == 0


def test_answers_are_coded_by_response_whichever_side_it_was_on():
    rng = np.random.default_rng(0)
    rows = [
        judged(rater, comparison, ["low", "high", "tie"][rng.integers(3)], strength=int(rng.integers(4)))
        for rater, comparison in product("abc", range(40))
    ]
    turned = [replace(row, shown=row.shown[::-1]) if rng.random() < 0.5 else row for row in rows]
    straight, mixed = quality(rows), quality(turned)
    assert straight["agreement"] == mixed["agreement"]
    assert straight["answers"]["left_share"] != mixed["answers"]["left_share"]


def test_strength_is_ordinal_and_points_to_a_response():
    rows = [
        judged(rater, comparison, "low" if comparison % 2 else "high", strength=1 + comparison % 3)
        for rater, comparison in product("ab", range(30))
    ]
    found = quality(rows)["agreement"]
    assert found["alpha_strength"]["value"] == found["alpha"]["value"] == 1
    turned = [replace(row, order=row.order[::-1]) if row.rater == "b" else row for row in rows]
    assert quality(turned)["agreement"]["alpha_strength"]["value"] < -0.5
    assert quality(turned)["agreement"]["decided"]["value"] == 0


def test_shares_are_counted_by_hand():
    rows = [
        judged("a", 1, "low", active_ms=1500, length=(10, 10)),  # too fast: under two seconds
        judged("a", 2, "high", active_ms=4000, length=(10, 10)),
        judged("a", 3, "tie", active_ms=4000, length=(300, 300)),  # a third of 25 seconds is more
        judged("a", 4, "tie", all_bad=True),
        judged("b", 1, "low", active_ms=9000, length=(300, 300)),
    ]
    found = quality(rows, skips={"a": 1})
    answers, time = found["answers"], found["time"]
    assert (answers["left_share"]["value"], answers["left_share"]["n"]) == (pytest.approx(2 / 3, abs=1e-6), 3)
    assert (answers["tie_share"]["value"], answers["all_bad_share"]["value"]) == (0.4, 0.2)
    assert (time["too_fast_share"]["value"], time["too_fast_share"]["n"]) == (0.5, 4)
    assert time["active_seconds"]["value"] == 4
    assert found["care"]["skip_share"]["value"] == pytest.approx(1 / 6, abs=1e-6)
    assert found["raters"][0]["skip_share"]["value"] == 0.2


def test_golds_and_swapped_repeats_are_counted_by_hand():
    gold = ((10,), (11,))
    rows = [
        judged("a", 1, "low"),
        judged("a", 2, "high"),
        judged("a", 3, "tie"),
        judged("a", 5, "low", gold=gold, purpose="gold"),
        judged("b", 5, "tie", gold=gold, purpose="gold"),
        judged("a", 21, "low", shown=(3, 2), order=((2,), (3,)), repeats=1),  # the same: 1
        judged("a", 22, "low", shown=(5, 4), order=((4,), (5,)), repeats=2),  # the other: 0
        judged("a", 23, "low", shown=(7, 6), order=((6,), (7,)), repeats=3),  # from a tie: 1/2
        judged("b", 21, "low", shown=(3, 2), order=((2,), (3,)), repeats=1),  # never saw the first
    ]
    found = quality(rows)
    assert found["care"]["gold_pass_rate"]["value"] == 0.5
    assert (found["care"]["self_consistency"]["value"], found["care"]["self_consistency"]["n"]) == (0.5, 3)
    assert found["agreement"]["raw"]["n"] == 0  # a gold that two judged is no overlap


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_judgments_have_figures_without_values_and_no_fault(count):
    rows = [judged("ab"[number % 2], number // 2, "low") for number in range(count)]
    found = json.loads(json.dumps(quality(rows), allow_nan=False))
    assert found["counts"]["received"] == found["counts"]["used"] == count
    assert found["agreement"]["alpha"] == {"value": None, "low": None, "high": None, "n": count // 2}
    assert found["answers"]["tie_share"]["n"] == count


def test_what_all_say_alike_has_agreement_but_no_alpha():
    rows = [judged(rater, comparison, "low") for rater, comparison in product("ab", range(30))]
    found = quality(rows)["agreement"]
    assert found["raw"]["value"] == found["ac1"]["value"] == 1
    assert found["alpha"]["value"] is None


def test_counts_close_with_each_reason():
    rows = [
        *(judged("a", number, "low") for number in range(10)),
        *(judged("a", 10 + number, "low", reason="late", counted=False, late=True) for number in range(2)),
        judged("a", 20, "low", reason="withdrawn", counted=False),
        judged("a", 21, "low", reason="gold", gold=((42,), (43,))),
        judged("b", 0, "low", reason="excluded", counted=False),
        judged("c", 0, "low", simulated=True),
    ]
    found = quality(rows)["counts"]
    assert found["left_out"] == {"excluded": 1, "gold": 1, "late": 2, "withdrawn": 1}
    assert found["received"] == found["used"] + sum(found["left_out"].values()) == 16
    assert (found["measured"], found["raters"], found["excluded_raters"]) == (12, 2, 1)
    people = quality(rows, people_only=True)["counts"]
    assert people["left_out"]["simulated"] == 1
    assert people["received"] == people["used"] + sum(people["left_out"].values()) == 16


def test_an_excluded_rater_has_figures_and_counts_for_nobody_else():
    rows = [judged(rater, number, "low") for rater, number in product("ab", range(20))]
    out = [judged("x", number, "high", reason="excluded", counted=False) for number in range(20)]
    found = quality(rows + out)
    assert found["agreement"] == quality(rows)["agreement"]
    raters = {rater["rater"]: rater for rater in found["raters"]}
    assert raters["x"]["excluded"]
    assert raters["x"]["agreement"]["value"] == 0
    assert (raters["a"]["agreement"]["value"], raters["a"]["agreement"]["n"]) == (1, 20)


def grouped(people: dict[str, int]) -> list[Judged]:
    """Each group prefers another response."""
    return [
        judged(f"{group}{person}", number, "low" if group == "north" else "high", group=group)
        for group, count in people.items()
        for person in range(count)
        for number in range(12)
    ]


def test_groups_of_ten_are_set_side_by_side_and_smaller_ones_are_not_shown():
    found = quality(grouped({"north": 10, "south": 12, "east": 9}))["groups"]
    assert [(group["group"], group["raters"]) for group in found["shown"]] == [("north", 10), ("south", 12)]
    assert found["hidden"] == 1
    assert "east" not in json.dumps(found)
    (pair,) = found["differences"]
    assert (pair["groups"], pair["agreement"]["value"]) == (["north", "south"], 0)
    assert pair["left_share"]["value"] == 1
    assert all(group["agreement"]["value"] == 1 for group in found["shown"])


def test_one_large_group_alone_is_not_shown():
    found = quality(grouped({"north": 30, "south": 9}))["groups"]
    assert found == {"shown": [], "differences": [], "hidden": 2}


def test_columns_are_in_the_order_of_time():
    rows = [judged("a", number, "low", since_break=number) for number in (5, 3, 9)]
    assert list(columns(rows)[0].since_break) == [3, 5, 9]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shown", [2]),
        ("shown", [2, 2]),
        ("order", []),
        ("order", [[2], []]),
        ("order", [[2], [2]]),
        ("order", [[7], [3]]),
        ("gold", [[7]]),
        ("length", [5]),
        ("active_ms", -1),
        ("strength", 4),
    ],
)
def test_a_judgment_that_no_page_could_send_is_refused_with_its_field(field, value):
    line = json.dumps(judged("a", 1, "low").to_json() | {field: value}).encode()
    with pytest.raises(RecordError, match=field):
        parse(line, Judged)


def measure(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "annotate.measure", "--output", directory, "--project", "shop"],
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_command_writes_a_result_once_and_the_same_again(tmp_path):
    rows = [
        judged(rater, number, "low" if number % 3 else "high") for rater, number in product("abc", range(30))
    ]
    results = []
    for name in ("one", "two"):
        (tmp_path / name / "input").mkdir(parents=True)
        write(tmp_path / name / "input" / "judged.jsonl", rows)
        (tmp_path / name / "input" / "skips.json").write_text('{"a": 3}')
        done = measure(tmp_path / name)
        assert done.returncode == 0, done.stderr
        results.append(json.loads((tmp_path / name / "result.json").read_text()))
    assert results[0].pop("seconds") < 20
    results[1].pop("seconds")
    assert results[0] == results[1]
    assert results[0]["project"] == "shop"
    assert results[0]["counts"]["received"] == 90
    assert results[0]["care"]["skip_share"]["n"] == 93


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("judged.jsonl", "{}\n", "judged.jsonl, line 1: rater: is missing"),
        ("skips.json", '{"a": -1}', "skips.json must hold a number of skips for each rater"),
        ("skips.json", "nonsense", "skips.json is no JSON"),
    ],
)
def test_bad_input_ends_the_command_for_good_with_one_line(tmp_path, file, text, told):
    (tmp_path / "input").mkdir()
    write(tmp_path / "input" / "judged.jsonl", [judged("a", 1, "low")])
    (tmp_path / "input" / file).write_text(text)
    done = measure(tmp_path)
    assert done.returncode == 78
    assert told in done.stderr
    assert not (tmp_path / "result.json").exists()


def test_without_judgments_the_command_says_so(tmp_path):
    assert measure(tmp_path).returncode == 78


@pytest.mark.parametrize("bad", [{"resamples": 10}, {"seed": -1}])
def test_a_config_that_cannot_work_is_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        MeasureConfig(**bad)


def test_what_pages_import_loads_no_numbers_library():
    code = (
        "import sys, annotate.judged, annotate.measure_config\n"
        "sys.exit(bool({'numpy', 'scipy', 'evalica', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
