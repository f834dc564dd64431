"""What pages read from a run's files, and the charts made of it."""

import itertools
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs import metrics
from runs.charts import chart, charts, number, ticks, title
from runs.views import lasting


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def rows(count, **values):
    return [{"step": n, "total": count, "at": 1000.0 + n, **values} for n in range(1, count + 1)]


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 3000, 200_000])
def test_a_sample_is_small_in_order_and_ends_with_the_last_row(count, tmp_path):
    path = write(tmp_path / "metrics.jsonl", rows(count, loss=0.5))
    found = [row["step"] for row in metrics.sample(path)]
    assert len(found) <= 402
    assert found == sorted(set(found))
    assert found[-1:] == ([count] if count else [])
    if count >= 3000:
        gaps = [after - before for before, after in itertools.pairwise(found)]
        assert max(gaps) < count / 100


def test_a_sample_of_nothing_is_empty(tmp_path):
    assert metrics.sample(tmp_path / "missing") == []


def test_lines_that_are_cut_off_or_damaged_are_left_out(tmp_path):
    path = write(tmp_path / "metrics.jsonl", rows(2))
    with path.open("ab") as file:
        file.write(b'nonsense\n[1]\n{"step": "x", "total": 1}\n{"step": 3, "tot')
    assert [row["step"] for row in metrics.sample(path)] == [1, 2]


def test_phases_and_their_durations():
    found = [{"at": 0, "phase": "load"}, {"at": 40, "phase": "load"}, {"at": 50, "phase": "train"}]
    found += [{"at": 90, "phase": "train"}, {"at": 100, "phase": "save\x1b"}]
    assert [(phase.name, phase.duration.seconds) for phase in metrics.phases(found)] == [
        ("load", 40),
        ("train", 50),
        ("save", 10),
    ]


def test_the_time_left_goes_by_the_speed_of_late_and_of_this_attempt():
    found = [{"step": n, "total": 100, "at": 10.0 * n} for n in range(1, 51)]
    assert metrics.time_left(found, since=0) == timedelta(seconds=500)
    assert metrics.time_left(found, since=495) is None
    assert metrics.time_left([], since=0) is None
    assert metrics.time_left([{"step": 1, "total": 2, "at": 1.0}] * 2, since=0) is None


def test_the_tail_of_a_log_cannot_steer_a_browser_or_terminal(tmp_path):
    log = tmp_path / "log.txt"
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(10_000)) + b"\x1b[2J\xff\x00" + b"x" * 900)
    tail = metrics.log_tail(log)
    assert len(tail) == 12
    assert tail[0] == "line 9989"
    assert tail[-1].startswith("[2J\ufffdx")
    assert len(tail[-1]) == 500
    assert metrics.log_tail(tmp_path / "missing") == []


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_round_numbers_lie_around_all_values(low, size):
    marks = ticks(low, low + size)
    assert 2 <= len(marks) <= 6
    assert marks == sorted(set(marks))
    slack = 1e-6 * max(abs(low), abs(low + size), 1)
    assert marks[0] <= low + slack
    assert low + size <= marks[-1] + slack


@pytest.mark.parametrize(
    ("values", "marks"),
    [
        ((0.02, 1.31), [0, 0.5, 1, 1.5]),
        ((61, 73), [60, 65, 70, 75]),
        ((5, 5), [4.95, 5, 5.05]),
        ((0, 0), [-0.5, 0, 0.5]),
    ],
)
def test_axes_begin_at_zero_where_that_is_not_far_off(values, marks):
    assert ticks(*values) == pytest.approx(marks)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0"),
        (1.3149, "1.31"),
        (68, "68"),
        (4544, "4,544"),
        (0.00001, "1e-5"),
        (1.5e7, "1.50e7"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_are_short(value, words):
    assert number(value) == words


def test_titles_are_words():
    assert title("policy/approx_kl") == "Policy: approx KL"
    assert title("learning_rate") == "Learning rate"


def test_a_chart_leaves_gaps_where_values_are_missing():
    found = [{"step": n, "loss": None if n == 3 else n} for n in range(1, 6)]
    drawn = chart("loss", found, 10)
    assert drawn.path.count("M") == 2
    assert drawn.value == "5"
    assert drawn.gain == "+4"
    assert drawn.steps[-1].text == "step 10"


@given(st.lists(st.none() | st.floats() | st.integers() | st.text() | st.booleans(), max_size=20))
def test_no_value_breaks_a_chart(values):
    found = [{"step": n, "total": 5, "loss": value} for n, value in enumerate(values, start=1)]
    for drawn in charts(found, 5):
        assert "nan" not in drawn.path
        assert "inf" not in drawn.path
        assert drawn.left < 200


def test_only_a_dozen_metrics_are_drawn_and_none_that_is_no_number():
    found = [{"step": 1, "total": 1, "at": 1.0, "note": "x", "ok": True} | {f"m{n}": n for n in range(20)}]
    assert [drawn.title for drawn in charts(found, 1)] == [f"M{n}" for n in range(12)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (48, "48 s"),
        (43 * 60 + 5, "43 min"),
        (3720, "1 h 02"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
        (-5, "0 s"),
    ],
)
def test_durations_are_short(seconds, words):
    assert lasting(timedelta(seconds=seconds)) == words
    assert lasting(None) == ""
