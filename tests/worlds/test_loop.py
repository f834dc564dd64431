"""What the loop comes to on the shipped starter: figures of several draws, with a taste for a judge."""

from pathlib import Path

import pytest

from worlds.loop import Loop, LoopConfig, mean

pytestmark = pytest.mark.verify
DRAWS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Prompts and samples are shared by all draws, and a round that was played is not played again."""
    return Path(tmp_path_factory.mktemp("loop"))


def test_a_round_of_150_judgments_is_worth_what_it_should(folder):
    outcomes = [Loop(LoopConfig(folder=folder, draw=draw)).play()[0] for draw in range(DRAWS)]

    def over(value):
        return mean([value(one) for one in outcomes])

    assert over(lambda one: one.win) >= 0.68
    assert over(lambda one: one.correct - one.correct_before) >= 0.12
    assert over(lambda one: one.fourgrams) >= 0.85
    assert over(lambda one: one.rude) < 0.05
    assert over(lambda one: one.kl) < 2.5
    assert over(lambda one: one.best_of_8_win) >= 0.66
    assert over(lambda one: one.best_of_8_correct - one.correct_before) >= 0.10
    assert over(lambda one: one.taste) >= over(lambda one: one.best_of_8_taste) - 0.1


def test_a_third_round_is_worth_more_than_the_first(folder):
    gained = []
    for draw in range(DRAWS):
        first, _, third = Loop(LoopConfig(folder=folder, draw=draw, rounds=3)).play()
        gained.append(third.win - first.win)
    assert mean(gained) > 0, gained
    assert sum(gain > 0 for gain in gained) >= 2, gained


@pytest.mark.parametrize(("taste", "demanded"), [("reasonable", 0.68), ("warm", 0.80)])
def test_a_head_learns_a_taste_from_150_noisy_pairs(folder, taste, demanded):
    found = [
        Loop(LoopConfig(folder=folder, taste=taste, draw=draw, rounds=0)).accuracy() for draw in range(4)
    ]
    assert mean(found) >= demanded, found
