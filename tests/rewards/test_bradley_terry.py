"""Checklist 37: the losses, and fits against slow references and known answers."""

import math

import pytest
import torch

from rewards.bradley_terry import (
    LOSS,
    TIE,
    WIN,
    davidson,
    davidson_loss,
    fit_head,
    fit_heads,
    preference_loss,
)


def test_equal_rewards_cost_ln_2():
    assert preference_loss(torch.tensor([1.5]), torch.tensor([1.5])).item() == pytest.approx(math.log(2))


def test_a_tie_as_half_a_win_each_is_the_mean_of_the_two_losses():
    a, b = torch.tensor([0.3, -1.0]), torch.tensor([-0.4, 0.5])
    both = (preference_loss(a, b) + preference_loss(b, a)) / 2
    assert torch.allclose(preference_loss(a, b, probability=0.5), both)


def test_a_margin_moves_the_difference_and_a_weight_counts_as_copies():
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
    assert preference_loss(a[:1], b[:1], margin=2.0).item() == pytest.approx(math.log(2))
    copied = preference_loss(torch.tensor([2.0, 0, 0, 0]), torch.tensor([0.0, 1, 1, 1]))
    assert torch.allclose(preference_loss(a, b, weight=torch.tensor([1.0, 3.0])), copied)


def test_davidson_is_the_formula_written_out():
    d, nu = 0.8, 0.6
    z = math.exp(d / 2) + math.exp(-d / 2) + nu
    found = davidson(torch.tensor([d]), math.log(nu)).exp()[0]
    assert found.tolist() == pytest.approx([math.exp(d / 2) / z, nu / z, math.exp(-d / 2) / z])


def test_davidson_without_width_is_bradley_terry():
    d = torch.tensor([0.7, -2.0])
    none = torch.zeros(2, dtype=torch.bool)
    assert torch.allclose(davidson_loss(d, none, -60.0), preference_loss(d, torch.zeros(2)))


def test_a_fit_of_one_feature_is_the_closed_form():
    # 30 wins and 10 losses with a difference of 1: the log-odds are ln 3.
    outcomes = torch.tensor([WIN] * 30 + [LOSS] * 10)
    w, width = fit_head(torch.ones(40, 1), outcomes, torch.ones(40), penalty=1e-9)
    assert w.item() == pytest.approx(math.log(3), abs=1e-6)
    assert width == 0.0


def test_the_ties_width_of_equal_responses_is_the_closed_form():
    # P(tie) = nu / (2 + nu) = 1/5, so nu = 1/2.
    outcomes = torch.tensor([TIE] * 8 + [WIN] * 16 + [LOSS] * 16)
    w, width = fit_head(torch.ones(40, 1), outcomes, torch.ones(40), penalty=1.0)
    assert width == pytest.approx(0.5, abs=1e-5)
    assert w.item() == pytest.approx(0.0, abs=1e-6)


def simulated(count: int, *, nu: float, seed: int = 0, size: int = 16):
    """Differences, Davidson's outcomes and the true head."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(size, generator=generator, dtype=torch.float64) * 0.4
    x = torch.randn(count, size, generator=generator, dtype=torch.float64)
    p = davidson(x @ truth, math.log(nu)).exp()
    drawn = torch.multinomial(p, 1, generator=generator)[:, 0]
    return x, torch.tensor([WIN, TIE, LOSS])[drawn], truth


def test_the_fit_ends_where_newton_does():
    x, y, _ = simulated(300, nu=0.5, size=6)
    weight = torch.rand(300, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w, width = fit_head(x, y, weight, penalty=3.0)

    def objective(point):
        logprobs = davidson(x @ point[:6], point[6])
        picked = torch.where(y == TIE, logprobs[:, 1], torch.where(y == WIN, logprobs[:, 0], logprobs[:, 2]))
        return -(weight * picked).sum() + 1.5 * point[:6].square().sum()

    point = torch.zeros(7, dtype=torch.float64)
    for _ in range(20):
        gradient = torch.autograd.functional.jacobian(objective, point)
        point = point - torch.linalg.solve(torch.autograd.functional.hessian(objective, point), gradient)
    assert torch.allclose(w, point[:6], atol=1e-6)
    assert width == pytest.approx(float(point[6].exp()), abs=1e-6)
    assert (
        torch.autograd.functional.jacobian(objective, torch.cat([w, torch.tensor([math.log(width)])]))
        .abs()
        .max()
        < 1e-4
    )


def test_heads_fitted_together_are_those_fitted_alone():
    x, y, _ = simulated(200, nu=0.5, size=5)
    weights = torch.rand(3, 200, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights[1, :80] = 0  # pairs that this head does not see
    together, widths = fit_heads(x, y, weights, 2.0)
    for number in range(3):
        seen = weights[number] > 0
        w, width = fit_head(x[seen], y[seen], weights[number][seen], 2.0)
        assert torch.allclose(together[number], w, atol=1e-6)
        assert float(widths[number]) == pytest.approx(width, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_fifty_heads_of_badly_scaled_features_each_come_to_their_minimum(seed):
    draws = torch.Generator().manual_seed(seed)
    mixed = torch.randn(60, 60, generator=draws, dtype=torch.float64) * torch.logspace(-2, 1, 60)
    x = torch.randn(160, 60, generator=draws, dtype=torch.float64) @ mixed
    y = torch.tensor([LOSS, TIE, WIN])[torch.randint(3, (160,), generator=draws)].double()
    weights = torch.empty(50, 160, dtype=torch.float64).exponential_(generator=draws)
    weights[:10] *= torch.rand(10, 160, generator=draws) > 0.2
    heads, widths = fit_heads(x, y, weights, 0.1)

    point = torch.cat([heads, widths.log()[:, None]], dim=1).requires_grad_()
    logprobs = davidson(point[:, :-1] @ x.T, point[:, -1:])
    chosen = torch.where(
        y == WIN, logprobs[..., 0], torch.where(y == TIE, logprobs[..., 1], logprobs[..., 2])
    )
    loss = -(weights * chosen).sum() + 0.05 * point[:, :-1].square().sum()
    (slopes,) = torch.autograd.grad(loss, point)
    assert slopes.abs().max() < 1e-3 * (weights @ x.abs()).max() / 1000


def test_davidson_keeps_the_scale_that_half_wins_shrink():
    x, y, truth = simulated(6000, nu=0.5)
    assert 0.12 < (y == TIE).double().mean() < 0.20
    scale = {
        ties: float(fit_head(x, y, torch.ones(6000), 1e-6, ties=ties)[0] @ truth / truth.square().sum())
        for ties in ("davidson", "half")
    }
    assert 0.9 < scale["davidson"] < 1.1
    assert 0.55 < scale["half"] < 0.88


def test_exchanging_the_sides_of_every_pair_leaves_the_head():
    x, y, _ = simulated(100, nu=0.5, size=4)
    w, width = fit_head(x, y, torch.ones(100), 1.0)
    turned, same = fit_head(-x, 1 - y, torch.ones(100), 1.0)
    assert torch.allclose(w, turned, atol=1e-6)
    assert same == pytest.approx(width, abs=1e-6)


def test_ties_alone_are_refused():
    with pytest.raises(ValueError, match="every pair is a tie"):
        fit_head(torch.ones(3, 1), torch.full((3,), TIE), torch.ones(3), 1.0)


def test_plain_bradley_terry_agrees_with_a_maintained_library():
    """Scores of ten players from a thousand games, by evalica's fit and by ours without a ridge to speak of."""
    import evalica

    draws = torch.Generator().manual_seed(6)
    truth = torch.randn(10, generator=draws)
    first = torch.randint(10, (1000,), generator=draws)
    second = (first + 1 + torch.randint(9, (1000,), generator=draws)) % 10
    won = torch.rand(1000, generator=draws) < torch.sigmoid(truth[first] - truth[second])
    names = [str(player) for player in range(10)]
    theirs = evalica.bradley_terry(
        [names[player] for player in first],
        [names[player] for player in second],
        [evalica.Winner.X if each else evalica.Winner.Y for each in won],
        tolerance=1e-13,
        limit=100_000,
    ).scores
    expected = torch.tensor([theirs[name] for name in names], dtype=torch.float64).log()
    one = torch.eye(10, dtype=torch.float64)
    outcomes = torch.where(won, WIN, LOSS)
    ours, _ = fit_head(one[first] - one[second], outcomes, torch.ones(1000), penalty=1e-9)
    assert torch.allclose(ours - ours.mean(), expected - expected.mean(), atol=1e-6)
