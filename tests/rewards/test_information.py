"""What a judgment tells: against determinants and inverses written out, and integrals by brute force."""

import time

import pytest
import torch

from rewards.information import Gains, bald, chance, covariance, greedy
from rewards.score_comparisons import in_order

PENALTY = 3.0


def drawn(pairs: int, size: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(pairs, size, generator=generator, dtype=torch.float64)
    logits = 2 * torch.randn(pairs, generator=generator, dtype=torch.float64)
    return rows, logits


def precision(rows, chances, weights):
    """The precision, a pair at a time."""
    found = PENALTY * torch.eye(rows.shape[1], dtype=torch.float64)
    for row, p, weight in zip(rows, chances, weights, strict=True):
        found += weight * p * (1 - p) * torch.outer(row, row)
    return found


@pytest.fixture
def past():
    """Judged pairs: their precision by the slow sum, and the covariance."""
    rows, logits = drawn(30, 6, seed=1)
    weights = torch.linspace(0.2, 1, 30, dtype=torch.float64)
    return precision(rows, torch.sigmoid(logits), weights), covariance(
        rows, torch.sigmoid(logits), weights, PENALTY
    )


def test_the_covariance_is_the_inverse_of_the_sum_over_judged_pairs(past):
    torch.testing.assert_close(past[1], torch.linalg.inv(past[0]), atol=1e-12, rtol=1e-10)


def test_without_judged_pairs_the_covariance_is_the_prior():
    nothing = torch.zeros(0, 4)
    found = covariance(nothing, torch.zeros(0), torch.zeros(0), PENALTY)
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64) / PENALTY)


def test_a_gain_is_what_the_log_determinant_grows_by(past):
    rows, logits = drawn(20, 6)
    gains = Gains(rows, logits, past[1])
    before = torch.logdet(past[0])
    for place, gain in enumerate(gains.now().tolist()):
        variance = rows[place] @ torch.linalg.inv(past[0]) @ rows[place]
        p = chance(logits[place], variance)
        after = past[0] + p * (1 - p) * torch.outer(rows[place], rows[place])
        assert gain == pytest.approx(float(torch.logdet(after) - before), abs=1e-10)


def test_what_is_taken_leaves_what_a_fresh_inverse_would(past):
    rows, logits = drawn(20, 6)
    gains = Gains(rows, logits, past[1])
    total, expected = 0.0, past[0].clone()
    for place in (3, 17, 3, 8):  # one of them twice
        total += float(gains.now()[place])
        gains.take(place)
        expected += gains.information[place] * torch.outer(rows[place], rows[place])
        inverse = torch.linalg.inv(expected)
        torch.testing.assert_close(gains.covariance, inverse, atol=1e-12, rtol=1e-9)
        torch.testing.assert_close(gains.variance, ((rows @ inverse) * rows).sum(1), atol=1e-12, rtol=1e-9)
    assert total == pytest.approx(float(torch.logdet(expected) - torch.logdet(past[0])), abs=1e-10)


def test_a_comparison_of_several_is_all_of_its_pairs(past):
    rows, logits = drawn(6, 6)
    owner, weights = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0.5, 0.5, 0.5, 1, 1, 1])
    gains = Gains(rows, logits, past[1], owner=owner, weights=weights)
    alone = Gains(rows, logits, past[1], weights=weights)
    assert gains.now()[0] == pytest.approx(float(alone.now()[:3].sum()))

    gains.take(0)

    added = (rows[:3] * gains.information[:3, None]).T @ rows[:3]
    torch.testing.assert_close(gains.covariance, torch.linalg.inv(past[0] + added), atol=1e-12, rtol=1e-9)


def test_greedy_takes_at_each_step_the_largest_determinant(past):
    rows, logits = drawn(25, 6)
    information = Gains(rows, logits, past[1]).information
    current, expected = past[0].clone(), []
    for _ in range(6):
        grown = [
            -torch.inf
            if place in expected
            else torch.logdet(current + information[place] * torch.outer(rows[place], rows[place]))
            for place in range(25)
        ]
        expected.append(int(torch.tensor(grown).argmax()))
        current += information[expected[-1]] * torch.outer(rows[expected[-1]], rows[expected[-1]])

    places, told = greedy(Gains(rows, logits, past[1]), 6, allowed=torch.ones(25, dtype=torch.bool))

    assert places == expected
    assert told == sorted(told, reverse=True)
    assert sum(told) == pytest.approx(float(torch.logdet(current) - torch.logdet(past[0])), abs=1e-10)


def test_of_one_group_at_most_so_many_are_taken(past):
    rows, logits = drawn(20, 6)
    group = torch.arange(20) % 4
    allowed = torch.ones(20, dtype=torch.bool)
    allowed[:4] = False

    places, _ = greedy(Gains(rows, logits, past[1]), 20, allowed=allowed, group=group, most=2)

    assert torch.bincount(group[places]).tolist() == [2, 2, 2, 2]
    assert min(places) >= 4


def test_the_entropy_that_a_judgment_takes_is_the_integral():
    logits = torch.tensor([0.0, 1.0, -2.0, 4.0], dtype=torch.float64)
    variance = torch.tensor([1.0, 0.3, 2.0, 0.5], dtype=torch.float64)
    z = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = (-z.square() / 2).exp()
    density /= density.sum()

    def entropy(p):
        return -(p * p.log() + (1 - p) * (1 - p).log())

    for place in range(4):
        p = torch.sigmoid(logits[place] + variance[place].sqrt() * z)
        expected = entropy(p @ density) - entropy(p) @ density
        assert bald(logits, variance)[place] == pytest.approx(float(expected), abs=1e-4)  # of nine nodes
    assert bald(logits, torch.zeros(4, dtype=torch.float64)).tolist() == pytest.approx([0] * 4, abs=1e-12)


def test_both_strategies_prefer_much_the_same_pairs(past):
    rows, logits = drawn(200, 6)
    one = Gains(rows, logits, past[1]).now()
    other = Gains(rows, logits, past[1], strategy="bald").now()
    assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.9


def test_the_order_of_scores_is_the_order_to_ask_in(past):
    rows, logits = drawn(30, 6)
    places, _ = greedy(Gains(rows, logits, past[1]), 10, allowed=torch.ones(30, dtype=torch.bool))

    scores = torch.tensor(in_order(Gains(rows, logits, past[1]), 10))

    assert scores.argsort(descending=True)[:10].tolist() == places


def test_a_batch_of_a_hundred_from_four_thousand_takes_well_under_a_second():
    rows, logits = drawn(4000, 128)
    start = time.process_time()
    gains = Gains(rows, logits, covariance(rows[:500], torch.full((500,), 0.5), torch.ones(500), 100.0))
    greedy(gains, 100, allowed=torch.ones(4000, dtype=torch.bool), group=torch.arange(4000) // 4, most=2)
    assert time.process_time() - start < 1
