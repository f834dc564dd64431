"""What is known of responses before anything is learned from them."""

import random

import pytest
import torch

from policy import losses
from policy.ppo import new_value_head
from policy.rollouts import collect, distinct4, judge, scores
from tests.policy.ppo_parts import (
    PROMPTS,
    TokenRewards,
    TrunkRewards,
    config,
    logits_after,
    models,
    rollouts_of,
)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_policy_that_is_its_reference_has_a_kl_of_exactly_0(temperature):
    _, policy, _ = models()
    _, rollouts = rollouts_of(
        config(baseline="value", temperature=temperature), value_head=new_value_head(policy)
    )
    assert rollouts.kl.abs().max() == 0


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_from_drawing_are_those_of_training(temperature):
    _, rollouts = rollouts_of(config(temperature=temperature))
    assert torch.allclose(rollouts.logprobs, rollouts.reference_logprobs, atol=1e-5)
    assert rollouts.kl.abs().max() < 1e-3


def test_log_probabilities_and_values_come_from_the_state_before_each_token():
    _, policy, _ = models()
    head = new_value_head(policy)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(5))
    settings = config(baseline="value", temperature=0.8)
    policy, rollouts = rollouts_of(settings, value_head=head)
    place = 0
    for prompt, response in zip(rollouts.prompts[:5], rollouts.responses[:5], strict=True):
        for t, token in enumerate(response):
            before = prompt + response[:t]
            expected = (logits_after(policy, before) / 0.8).log_softmax(-1)[token]
            assert rollouts.logprobs[place].item() == pytest.approx(expected.item(), abs=1e-5)
            with torch.no_grad():
                state = policy.base_model(input_ids=torch.tensor([before])).last_hidden_state[0, -1]
                assert rollouts.values[place].item() == pytest.approx(head(state).item(), abs=1e-5)
            place += 1


def test_a_new_value_head_values_everything_at_0():
    _, policy, _ = models()
    _, rollouts = rollouts_of(config(baseline="value"), value_head=new_value_head(policy))
    assert rollouts.values.abs().max() == 0


def test_a_response_ends_with_its_first_stop_token_or_at_the_limit():
    chat, _, _ = models()
    _, rollouts = rollouts_of(config(samples_per_prompt=20))
    assert 0 < rollouts.ended.float().mean() < 1
    for response, ended in zip(rollouts.responses, rollouts.ended.tolist(), strict=True):
        stops = [place for place, token in enumerate(response) if token in chat.stop_ids]
        assert stops == ([len(response) - 1] if ended else [])
        assert ended or len(response) == 12


def test_rewards_are_cut_at_the_clip_and_then_lowered_where_no_end_came():
    rewards, ended = torch.tensor([7.0, -9.0, 1.0, 7.0]), torch.tensor([True, True, False, False])
    assert scores(rewards, ended, config()).tolist() == [5, -5, -1, 3]
    assert scores(rewards, ended, config(missing_end="replace")).tolist() == [5, -5, -2, -2]


def test_the_share_of_cut_rewards_and_of_ends_is_reported():
    settings = config()
    _, rollouts = rollouts_of(settings, rewards=TokenRewards(400, spread=100.0))
    found = rollouts.statistics(settings)
    assert found["reward_clipped"] > 0.5
    assert found["ended"] == pytest.approx(rollouts.ended.float().mean().item())


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_reward_model_on_the_references_trunk_needs_no_forward_of_its_own(temperature):
    _, _, reference = models()
    settings = config(temperature=temperature)
    _, rollouts = rollouts_of(settings)
    same, other = TrunkRewards(reference.model, "digest"), TrunkRewards(reference.model, "another")
    fast = judge(reference, same, rollouts.prompts, rollouts.responses, settings)
    slow = judge(reference, other, rollouts.prompts, rollouts.responses, settings)
    assert (same.forwards, other.forwards) == (0, 1)
    for one, two in zip(fast, slow, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_a_trunk_that_learned_rewards_is_not_taken_for_the_reference():
    _, _, reference = models()
    _, rollouts = rollouts_of(config())
    rewards = TrunkRewards(reference.model, "digest")
    rewards.frozen_trunk = False
    judge(reference, rewards, rollouts.prompts, rollouts.responses, config())
    assert rewards.forwards == 1


def test_a_penalty_in_the_reward_lowers_the_score_that_a_group_compares():
    settings = config(kl_in="reward", scale_advantages=False)
    _, rollouts = rollouts_of(settings, policy_seed=1)
    found = rollouts.with_advantages(settings, 0.3).advantages
    expected = losses.group_advantages(rollouts.scores - 0.3 * rollouts.kl, 4)
    assert torch.allclose(found, expected.repeat_interleave(rollouts.lengths))


@pytest.mark.parametrize("baseline", ["group", "value"])
def test_a_penalty_in_the_loss_is_not_in_the_advantages_too(baseline):
    _, policy, _ = models()
    head = new_value_head(policy) if baseline == "value" else None
    settings = config(baseline=baseline, kl_in="loss")
    _, rollouts = rollouts_of(settings, policy_seed=1, value_head=head)
    one, two = (rollouts.with_advantages(settings, weight).advantages for weight in (0.0, 9.0))
    assert torch.equal(one, two)


def test_returns_are_unwhitened_advantages_on_top_of_the_values():
    _, policy, _ = models()
    head = new_value_head(policy)
    torch.nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(5))
    settings = config(baseline="value", kl_in="reward")
    _, rollouts = rollouts_of(settings, policy_seed=1, value_head=head)
    found = rollouts.with_advantages(settings, 0.1)
    rewards = losses.token_rewards(
        rollouts.scores, rollouts.logprobs, rollouts.reference_logprobs, rollouts.lengths, kl_coefficient=0.1
    )
    plain = losses.gae(rewards, rollouts.values, rollouts.lengths, discount=1, smoothing=0.95)
    assert torch.allclose(found.returns, plain + rollouts.values)
    assert torch.allclose(found.advantages, losses.whiten(plain))
    assert found.advantages.mean().abs() < 1e-5
    assert not found.advantages.requires_grad


@pytest.mark.parametrize("baseline", ["group", "value"])
def test_each_response_is_in_one_step_of_an_epoch_and_the_order_follows_the_seed(baseline):
    settings = config(baseline=baseline, minibatch_size=5)
    _, rollouts = rollouts_of(settings)
    steps = list(rollouts.minibatches(settings, random.Random(1)))
    assert sorted(row for step in steps for row in step) == list(range(12))
    assert sorted(map(len, steps)) == [2, 5, 5]
    assert steps == list(rollouts.minibatches(settings, random.Random(1)))
    assert steps != list(rollouts.minibatches(settings, random.Random(2)))


def test_the_places_of_a_response_are_those_of_its_tokens():
    _, rollouts = rollouts_of(config())
    flat = torch.tensor([token for response in rollouts.responses for token in response])
    assert flat[rollouts.places([4, 0, 7])].tolist() == (
        rollouts.responses[4] + rollouts.responses[0] + rollouts.responses[7]
    )


def test_the_same_seed_draws_the_same_responses():
    one, two, other = (rollouts_of(config(), seed=seed)[1].responses for seed in (4, 4, 5))
    assert one == two != other


def test_distinct4_falls_with_repetition():
    assert distinct4(["a b c d e", "f g h i"]) == 1
    assert distinct4(["a b c d", "a b c d"]) == 0.5
    assert distinct4(["too short"]) == 1


def test_samples_are_records_of_different_prompts():
    _, rollouts = rollouts_of(config())
    said = {"digest": "none", "gain": 1.0, "bias": 0.0}
    shown = rollouts.samples(3, policy="ppo", temperature=1.0, reward_model=said)
    assert {record.prompt_id for record in shown} == {prompt.prompt_id for prompt in PROMPTS[:3]}
    assert all(record.reward is not None and record.tokens for record in shown)


def test_under_bfloat16_old_log_probabilities_have_the_numerics_of_training():
    chat, policy, reference = models()
    rewards = TokenRewards(len(chat.tokenizer))
    settings = config(precision="bfloat16")
    generator = torch.Generator().manual_seed(0)
    rollouts = collect(policy, reference, rewards, PROMPTS[:3], chat, settings, generator=generator)
    assert rollouts.kl.abs().max() == 0
    assert 0 < rollouts.sampling_gap < 0.1
    assert rollouts.logprobs.dtype == torch.float32
