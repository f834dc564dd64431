"""The accuracy for parts of the pairs, against counts by hand."""

import pytest
import torch

from rewards import subsets
from rewards.intervals import share
from rewards.subsets import ordered
from tests.rewards.conftest import judged


def accuracies(rows):
    return {row["name"]: (row["pairs"], row["accuracy"]) for row in rows}


def test_equal_rewards_count_half():
    assert ordered(torch.tensor([0.3, 0.0, -2.0])).tolist() == [1.0, 0.5, 0.0]


def test_by_strength_leaves_out_where_none_was_asked():
    pairs = judged(range(6), [1] * 6, strength=[0, 2, 2, 2, 2, -1])
    right = torch.tensor([1.0, 1, 1, 0, 0.5, 0]).double()
    assert accuracies(subsets.by_strength(right, pairs)) == {"0": (1, 1.0), "2": (4, 0.625)}


def test_by_agreement_a_tie_splits_and_a_single_judgment_is_neither():
    everything = judged(
        [0, 0, 1, 1, 2, 2, 3, 4, 4],
        [1, 1, 1, 0, 1, 1, 1, 1, 1],
        first=[0, 0, 2, 2, 4, 4, 6, 8, 8],
        second=[1, 1, 3, 3, 5, 5, 7, 9, 9],
        rater=[0, 1, 0, 1, 0, 1, 0, 5, 5],
        tie=[False, False, False, False, False, True, False, False, False],
    )
    pairs = everything.where(everything.decided)
    right = torch.ones(len(pairs), dtype=torch.float64)
    right[3] = 0
    found = accuracies(subsets.by_agreement(right, pairs, everything))
    assert found == {"unanimous": (2, 1.0), "split": (3, pytest.approx(2 / 3))}


def grouped():
    """Group a: ten raters, nine of ten right; group b: two raters, six of ten."""
    rater = torch.cat([torch.arange(120) % 10, 10 + torch.arange(120) % 2])
    group = torch.arange(240) // 120
    pairs = judged(torch.arange(240), torch.ones(240), rater=rater, group=group, groups=["a", "b"])
    right = torch.cat([(torch.arange(120) % 10 < 9), (torch.arange(120) % 10 < 6)]).double()
    return right, pairs


def test_a_group_of_fewer_than_ten_raters_is_not_to_be_published():
    right, pairs = grouped()
    a, b = subsets.by_group(right, pairs, share(right, pairs.weight, pairs), 0.8)
    assert (a["raters"], a["published"], b["raters"], b["published"]) == (10, True, 2, False)
    assert a["accuracy"] == pytest.approx(0.9)
    assert b["share_of_ceiling"] == pytest.approx(0.1 / 0.3)
    assert b["share_of_overall"] == pytest.approx(0.1 / 0.25)


def test_the_worst_group_is_one_with_a_hundred_pairs():
    right, pairs = grouped()
    rows = subsets.by_group(right, pairs, share(right, pairs.weight, pairs), None)
    assert subsets.worst_group(rows) == pytest.approx(0.4)
    rows[1]["pairs"] = 99
    assert subsets.worst_group(rows) == pytest.approx(0.4 / 0.25)
    assert subsets.worst_group([]) is None


def test_longer_wins_and_matched_lengths_stand_beside_every_part():
    texts = ["abcd", "ab", "abcdefghij", "abcdefghijk", "abc", "abc"]
    pairs = judged([0, 1, 2], [1, 1, 1], first=[0, 2, 4], second=[1, 3, 5], texts=texts)
    assert subsets.longer_wins(pairs).tolist() == [1.0, 0.0, 0.5]
    assert subsets.length_matched(pairs).tolist() == [False, True, True]
    part = subsets.part(torch.ones(3).double(), pairs, torch.tensor([True, False, True]))
    assert (part["pairs"], part["longer_wins"]) == (2, 0.75)


def test_a_part_without_pairs_has_no_accuracy():
    pairs = judged([0], [1])
    assert subsets.part(torch.ones(1).double(), pairs, torch.tensor([False]))["accuracy"] is None


def test_a_rankings_pairs_weigh_as_the_file_says():
    pairs = judged([0, 1], [1, 1], weight=torch.tensor([1.0, 3.0], dtype=torch.float64))
    part = subsets.part(torch.tensor([1.0, 0.0]).double(), pairs, torch.ones(2, dtype=torch.bool))
    assert part["accuracy"] == 0.25
