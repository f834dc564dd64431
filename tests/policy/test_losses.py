"""Each formula of PPO against a slow loop or numbers written out by hand."""

import math

import pytest
import torch

from policy import losses

LENGTHS = torch.tensor([3, 1, 5, 2])


def ragged(seed: int) -> torch.Tensor:
    return torch.randn(int(LENGTHS.sum()), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_advantages(rewards, values, *, discount, smoothing):
    """The sum of discounted deltas, for each token anew."""
    found = []
    for reward, value in zip(rewards.split(LENGTHS.tolist()), values.split(LENGTHS.tolist()), strict=True):
        after = [*value.tolist()[1:], 0.0]
        deltas = [float(r + discount * v - now) for r, v, now in zip(reward, after, value, strict=True)]
        for t in range(len(deltas)):
            found.append(sum((discount * smoothing) ** k * delta for k, delta in enumerate(deltas[t:])))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize(("discount", "smoothing"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0)])
def test_advantages_are_the_sums_of_all_later_deltas(discount, smoothing):
    rewards, values = ragged(1), ragged(2)
    fast = losses.gae(rewards, values, LENGTHS, discount=discount, smoothing=smoothing)
    assert torch.allclose(fast, slow_advantages(rewards, values, discount=discount, smoothing=smoothing))


def test_with_smoothing_1_an_advantage_is_all_future_reward_less_the_value():
    rewards, values = ragged(3), ragged(4)
    future = torch.cat([part.flip(0).cumsum(0).flip(0) for part in rewards.split(LENGTHS.tolist())])
    assert torch.allclose(losses.gae(rewards, values, LENGTHS, discount=1, smoothing=1), future - values)


def test_no_advantage_depends_on_another_response():
    rewards, values = ragged(5), ragged(6)
    together = losses.gae(rewards, values, LENGTHS, discount=1, smoothing=0.9)
    alone = losses.gae(rewards[4:9], values[4:9], LENGTHS[2:3], discount=1, smoothing=0.9)
    assert torch.equal(together[4:9], alone)


def test_a_responses_token_rewards_sum_to_its_score_less_the_weighted_kl():
    logprobs, reference, scores = ragged(7), ragged(8), torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    rewards = losses.token_rewards(scores, logprobs, reference, LENGTHS, kl_coefficient=0.3)
    kl = losses.sums(logprobs - reference, LENGTHS)
    assert torch.allclose(losses.sums(rewards, LENGTHS), scores - 0.3 * kl)


def test_the_score_stands_at_the_last_token():
    zeros = torch.zeros(int(LENGTHS.sum()))
    rewards = losses.token_rewards(
        torch.tensor([1.0, 2.0, 3.0, 4.0]), zeros, zeros, LENGTHS, kl_coefficient=1
    )
    assert rewards.tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 3, 0, 4]


def test_a_negative_log_ratio_is_a_reward_not_cut_at_0():
    rewards = losses.token_rewards(
        torch.zeros(1), torch.tensor([-2.0]), torch.tensor([-1.0]), torch.tensor([1]), kl_coefficient=0.5
    )
    assert rewards.item() == 0.5


def test_an_empty_response_makes_no_nan():
    lengths, logprobs = torch.tensor([2, 0, 1]), torch.zeros(3)
    rewards = losses.token_rewards(torch.ones(3), logprobs, logprobs, lengths, kl_coefficient=0.1)
    found = losses.gae(rewards, torch.zeros(3), lengths, discount=1, smoothing=1)
    assert found.tolist() == [1, 1, 1]
    assert losses.sums(rewards, lengths).tolist() == [1, 0, 1]


def test_whitening_takes_the_populations_variance():
    values = torch.tensor([1.0, 2.0, 3.0, 6.0]).double()
    expected = [(value - 3) / math.sqrt((4 + 1 + 0 + 9) / 4 + 1e-8) for value in (1, 2, 3, 6)]
    assert torch.allclose(losses.whiten(values), torch.tensor(expected).double())


def test_whitening_equal_values_gives_zeros():
    assert losses.whiten(torch.full((5,), 0.7)).abs().max() < 1e-2


def test_a_group_advantage_is_the_score_less_the_mean_of_the_others():
    scores = torch.tensor([1.0, 2.0, 6.0, -1.0, 0.0, 1.0])
    expected = [1 - 4, 2 - 3.5, 6 - 1.5, -1 - 0.5, 0 - 0, 1 - (-0.5)]
    assert torch.allclose(losses.group_advantages(scores, 3), torch.tensor(expected))


@pytest.mark.parametrize(
    ("change", "advantage", "loss", "clipped"),
    [
        (0.0, 2.0, -2.0, False),
        (math.log(1.5), 2.0, -2.4, True),  # a gain beyond the clip is not followed
        (math.log(1.5), -2.0, 3.0, False),  # a loss is
        (math.log(0.5), 2.0, -1.0, False),
        (math.log(0.5), -2.0, 1.6, True),
    ],
)
def test_the_policys_loss_is_clipped_on_the_side_of_gain_only(change, advantage, loss, clipped):
    logprob = torch.tensor([-1.0 + change])
    found, where = losses.policy_loss(logprob, torch.tensor([-1.0]), torch.tensor([advantage]), clip=0.2)
    assert found.item() == pytest.approx(loss, abs=1e-6)
    assert where.item() is clipped


def test_a_huge_log_ratio_stays_finite():
    loss, _ = losses.policy_loss(torch.tensor([0.0]), torch.tensor([-200.0]), torch.tensor([-1.0]), clip=0.2)
    assert loss.item() == pytest.approx(math.exp(20), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "loss"),
    [
        (1.1, 0.5 * 0.9**2),  # within the clip
        (1.5, 0.5 * 0.8**2),  # moved 0.5 towards the return 2: counted as if moved 0.2
        (0.0, 0.5 * 2.0**2),  # moved away: the plain error is the larger
    ],
)
def test_the_values_loss_is_half_the_larger_of_two_squared_errors(value, loss):
    found = losses.value_loss(torch.tensor([value]), torch.tensor([1.0]), torch.tensor([2.0]), clip=0.2)
    assert found.item() == pytest.approx(loss)


def test_half_the_squared_change_is_what_its_name_says():
    found = losses.half_squared(torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -2.0]))
    assert found.tolist() == [0.125, 0.0]


def test_k3_keeps_its_digits_where_the_plain_formula_loses_them():
    small = torch.tensor([1e-5])
    assert losses.k3(torch.zeros(1), small).item() == pytest.approx(0.5e-10, rel=0.02)
    exact = 0.5 * 1e-3**2 + 1e-3**3 / 6
    assert losses.k3(torch.zeros(1).double(), torch.tensor([1e-3]).double()).item() == pytest.approx(exact)


def test_k3_and_the_log_ratio_estimate_the_same_kl():
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.3, 0.5]).double()
    exact = (p * (p / q).log()).sum()
    assert torch.allclose((p * losses.k3(p.log(), q.log())).sum(), exact)


def test_the_coefficient_grows_above_its_target_and_shrinks_below_it_by_a_fifth_at_most():
    def adapt(kl: float) -> float:
        return losses.adapted(0.1, kl=kl, target=6, episodes=500)

    assert adapt(6) == pytest.approx(0.1)
    assert adapt(6.6) == pytest.approx(0.1 * (1 + 0.1 * 500 / 10_000))
    assert adapt(60) == pytest.approx(0.1 * (1 + 0.2 * 500 / 10_000))
    assert adapt(0) == pytest.approx(0.1 * (1 - 0.2 * 500 / 10_000))


def test_explained_variance_is_1_for_perfect_values_and_0_for_constant_ones():
    returns = torch.tensor([1.0, 2.0, 4.0])
    assert losses.explained_variance(returns, returns) == 1
    assert losses.explained_variance(torch.ones(3), returns) == pytest.approx(0)
    assert losses.explained_variance(torch.ones(3), torch.ones(3)) == 0
