"""Which pairs a person should read, where members disagree, and a result laid out as text."""

import json
import math

import pytest
import torch

from rewards import disagreement, tables, to_read
from tests.rewards.conftest import judged


def test_mistakes_are_the_surest_ones_each_pair_once_and_no_ties():
    pairs = judged(
        range(6),
        [1, 1, 1, 1, 1, 0],
        first=[0, 2, 4, 6, 8, 0],
        second=[1, 3, 5, 7, 9, 1],
        tie=[False, False, True, False, False, False],
        texts=[f"text {number}" for number in range(10)],
    )
    found = to_read.mistakes(torch.tensor([-0.5, -3.0, -9.0, 2.0, math.nan, -0.7]), pairs)
    assert [row["log_odds"] for row in found] == [pytest.approx(-3.0), pytest.approx(-0.7)]
    assert (found[0]["prompt_id"], found[0]["chosen"], found[0]["rejected"]) == ("p1", "text 2", "text 3")
    assert found[0]["messages"] == [{"role": "user", "content": "What is it?"}]


def test_at_most_twenty_are_written_a_line_each(tmp_path):
    pairs = judged(range(50), [1] * 50, texts=["a\u2028b"] * 100)
    rows = to_read.mistakes(-torch.arange(1.0, 51), pairs)
    to_read.write(tmp_path, to_read.MISTAKES, rows)
    lines = (tmp_path / "mistakes.jsonl").read_text().splitlines()
    assert [json.loads(line)["log_odds"] for line in lines] == [
        -float(number) for number in range(50, 30, -1)
    ]
    assert json.loads(lines[0])["chosen"] == "a\u2028b"


def test_disputed_pairs_are_those_on_which_members_differ_ties_too():
    pairs = judged(range(3), [1] * 3, tie=[False, True, False])
    found = to_read.disputed(torch.tensor([0.1, 2.0, 0.0]), torch.tensor([1.0, math.nan, 1.0]), pairs)
    assert [(row["prompt_id"], row["tie"], row["log_odds"]) for row in found] == [
        ("p1", True, None),
        ("p0", False, 1.0),
    ]


def test_the_disagreement_is_the_deviation_of_differences():
    members = torch.tensor([[1.0, 1.0], [0.0, 4.0], [5.0, 5.0]])
    found = disagreement.of_pairs(members, torch.tensor([0, 2]), torch.tensor([1, 0]))
    assert found.tolist() == [2.0, 0.0]  # 1 and -3 lie 2 from their mean; all members agree on the second


def test_samples_of_one_prompt_are_taken_two_and_two():
    members = torch.tensor([[0.0, 0.0], [9.0, 1.0], [2.0, 0.0], [9.0, 9.0], [3.0, 3.0]])
    found = disagreement.of_samples(members, ["a", "b", "a", "b", "a"])
    assert found == pytest.approx((1.0 + 4.0) / 2)
    assert disagreement.of_samples(members, list("abcde")) is None


@pytest.mark.parametrize(
    ("given", "ratio", "reason"),
    [
        ((2.0, 1.0, 4), 2.0, None),
        ((2.0, 1.0, 1), None, "one member"),
        ((None, 1.0, 4), None, "policy's samples"),
        ((2.0, None, 4), None, "nothing to compare with"),
    ],
)
def test_two_sets_of_samples_are_compared_or_the_reason_is_given(given, ratio, reason):
    found = disagreement.compared(*given)
    assert found["ratio"] == ratio
    assert (reason or "") in (found["reason"] or "")


def test_a_result_is_laid_out_in_lines_and_tables():
    result = {
        "pairs": 3,
        "accuracy": 0.75,
        "missing": None,
        "by_group": [{"name": "a", "pairs": 2, "published": True}, {"name": "long name", "pairs": 1}],
        "policy": {"drop": 0.5, "rows": [{"x": [0.1, None]}]},
        "probes": {"padded": {"count": 2}, "swapped": {"count": 3}},
        "empty": {},
    }
    lines = tables.laid_out(result).splitlines()
    assert lines[:3] == [f"{'pairs':28} 3", f"{'accuracy':28} 0.7500", f"{'missing':28} -"]
    assert "  name       pairs  published" in lines
    assert "  a          2      yes" in lines
    assert "  0.1000, -" in lines
    assert "  padded   2" in lines
