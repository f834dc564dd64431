"""Draws with known chances: against simulation, and what they say of a pool against its mean."""

import pytest
import torch

from rewards.sampling import hajek, inclusion, systematic

GROUP = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4])
APPETITE = torch.tensor([50.0, 20, 10, 3, 1, 2, 0.5, 1, 1e-4, 2, 1, 5], dtype=torch.float64)


def test_chances_add_up_and_keep_their_limits():
    for count in range(1, 10):
        chances = inclusion(APPETITE, GROUP, count, most=2)
        assert float(chances.sum()) == pytest.approx(count, abs=1e-9)
        assert (chances > 0).all()
        assert (chances <= 1).all()
        of_group = torch.zeros(5, dtype=torch.float64).index_add_(0, GROUP, chances)
        assert (of_group <= 2 + 1e-9).all()


def test_where_nothing_binds_chances_are_proportional_to_the_appetite():
    chances = inclusion(APPETITE, torch.arange(12), 1, most=1)
    torch.testing.assert_close(chances, APPETITE / APPETITE.sum())


def test_where_one_is_certain_the_others_share_the_rest():
    chances = inclusion(torch.tensor([100.0, 1, 1, 2]), torch.arange(4), 2, most=1)
    torch.testing.assert_close(chances, torch.tensor([1, 0.25, 0.25, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("count", [0, 10])
def test_more_than_the_limits_leave_is_refused(count):
    with pytest.raises(ValueError, match=f"count is {count}, but 1 to 9 can be drawn"):
        inclusion(APPETITE, GROUP, count, most=2)


def test_what_is_drawn_is_as_likely_as_it_says():
    chances = inclusion(APPETITE, GROUP, 5, most=2)
    generator = torch.Generator().manual_seed(0)
    times, drawn = 4000, torch.zeros(12)
    for _ in range(times):
        places = systematic(chances, GROUP, generator)
        assert len(places.unique()) == 5
        assert (torch.bincount(GROUP[places]) <= 2).all()
        drawn[places] += 1
    error = (chances * (1 - chances) / times).sqrt()
    assert ((drawn / times - chances).abs() <= 4 * error + 1e-9).all()


def test_the_weighted_mean_of_what_is_drawn_is_the_pools():
    """As K14, which weighs a project's judgments by their stored chances: no bias although scores decide."""
    generator = torch.Generator().manual_seed(1)
    size = 600
    score = torch.randn(size, generator=generator, dtype=torch.float64)
    wins = (torch.sigmoid(score) > torch.rand(size, generator=generator)).double()  # what scores tell of
    group = torch.arange(size) // 6
    chances = inclusion(score.exp(), group, 100, most=2)
    found, naive = [], []
    for _ in range(600):
        places = systematic(chances, group, generator)
        found.append(hajek(wins[places], chances[places]))
        naive.append(float(wins[places].mean()))
    truth = float(wins.mean())
    assert sum(found) / len(found) == pytest.approx(truth, abs=0.01)
    assert sum(naive) / len(naive) > truth + 0.1
