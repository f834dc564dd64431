"""What length and Markdown explain of the rewards, against least squares with a column for each prompt."""

import random

import numpy as np
import pytest
import torch

from rewards.style_share import beyond_content, correlation, explained
from tests.rewards.conftest import judged


def written(seed=0, prompts=40):
    """Two responses to each prompt, of any length, some with lists."""
    chance = random.Random(seed)
    texts = []
    for _ in range(2 * prompts):
        words = ["word"] * chance.randint(1, 40)
        texts.append("- " * chance.randint(0, 1) + " ".join(words) + "\n- point" * chance.randint(0, 5))
    return judged(range(prompts), [1] * prompts, texts=texts)


def dummies(values, columns, prompt):
    """Adjusted R^2 beyond the prompts' means."""
    own = np.eye(prompt.max() + 1)[prompt]
    left = [values - x @ np.linalg.lstsq(x, values, rcond=None)[0] for x in (own, np.hstack([own, columns]))]
    before, after = (float(each @ each) for each in left)
    freedom = len(values) - own.shape[1]
    return 1 - after / before * freedom / (freedom - columns.shape[1])


def test_the_share_is_that_of_least_squares_with_a_column_for_each_prompt():
    pairs = written()
    rng = np.random.default_rng(1)
    length = np.log1p(np.array([len(text) for text in pairs.responses], dtype=float))[:, None]
    points = np.log1p([text.count("- ") for text in pairs.texts])[:, None]  # lists, as style counts them
    rewards = 0.5 * length[:, 0] + 0.3 * points[:, 0] + 0.5 * rng.normal(size=len(length))
    prompt = np.arange(80) // 2
    rewards += 3 * prompt  # prompts differ, which explains nothing
    found = explained(torch.tensor(rewards), pairs)
    assert found["length"] == pytest.approx(dummies(rewards, length, prompt), abs=1e-9)
    assert found["both"] >= max(found["length"], found["markdown"]) - 0.03


def test_rewards_that_are_length_are_explained_by_it_and_noise_is_not():
    pairs = written()
    length = pairs.lengths.double().log1p()
    assert explained(2 * length, pairs)["length"] == pytest.approx(1)
    noise = [
        explained(torch.randn(80, generator=torch.Generator().manual_seed(seed)), written(seed))["both"]
        for seed in range(20)
    ]
    assert sum(noise) / 20 < 0.06


def test_two_responses_say_nothing():
    assert explained(torch.tensor([1.0, 2.0]), written(prompts=1))["length"] is None


def test_the_correlations_are_those_of_the_textbook_on_what_the_fits_leave():
    """With one trait as the only feature the content part is that trait, up to its scale."""
    generator = torch.Generator().manual_seed(0)
    chance = random.Random(0)
    texts = ["word " * chance.randint(2, 60) for _ in range(2000)]
    trait = torch.randn(2000, generator=generator)
    length = torch.tensor([float(len(text.encode())) for text in texts])
    won = torch.rand(1000, generator=generator) < torch.sigmoid(trait[::2] - trait[1::2])
    pairs = judged(torch.arange(1000), won, texts=texts)
    rewards = trait + 0.01 * length + torch.randn(2000, generator=generator)
    told = (rewards[pairs.chosen] - rewards[pairs.rejected]).double()
    found = beyond_content(told, trait[:, None], pairs, torch.arange(1000) % 2)
    one, other = length[pairs.chosen].double(), length[pairs.rejected].double()
    content = (trait[pairs.chosen] - trait[pairs.rejected]).double()
    longer = (one - other) / (one + other + 1)
    to, tc, lc = correlation(told, longer), correlation(told, content), correlation(longer, content)
    part = (to - tc * lc) / (1 - lc**2) ** 0.5
    assert found["length_part"] == pytest.approx(part, abs=0.01)
    assert found["length_partial"] == pytest.approx(part / (1 - tc**2) ** 0.5, abs=0.01)


def test_which_response_stands_first_says_nothing():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 50, generator=generator).double()
    turned = torch.where(torch.arange(50) % 3 > 0, 1.0, -1.0).double()
    assert correlation(one * turned, other * turned) == pytest.approx(correlation(one, other))
    assert correlation(torch.zeros(3), torch.ones(3)) is None


def world(length_bias, seed=0, count=1500):
    """Content of four traits and a length of its own; raters want the content, and length as far as said."""
    generator = torch.Generator().manual_seed(seed)
    chance = random.Random(seed)
    texts = ["word " * chance.randint(2, 60) for _ in range(2 * count)]
    traits = torch.randn(2 * count, 4, generator=generator)
    length = torch.tensor([float(len(text.split())) for text in texts]).log()
    worth = traits @ torch.tensor([1.0, -0.5, 0.5, 0.2])
    said = worth + length_bias * length
    won = torch.rand(count, generator=generator) < torch.sigmoid(said[::2] - said[1::2])
    pairs = judged(torch.arange(count), won, texts=texts)
    features = torch.cat([traits, length[:, None]], dim=1)
    return worth, said, length, pairs, features


@pytest.mark.parametrize("length_bias", [0.0, 1.0])
def test_rewards_of_the_content_alone_leak_no_length_whatever_raters_pay_for(length_bias):
    worth, said, length, pairs, features = world(length_bias)
    folds = pairs.folds(0)

    def leak(rewards):
        difference = rewards[pairs.chosen] - rewards[pairs.rejected]
        return beyond_content(difference, features, pairs, folds)["length_part"]

    assert abs(leak(worth)) < 0.1
    assert leak(worth + 0.5 * length) > 0.2
    assert leak(worth - 0.5 * length) < -0.2
    if length_bias:
        assert leak(said) > 0.3


def test_where_one_fold_is_all_there_is_nothing_is_said():
    *_, pairs, features = world(0.0, count=30)
    found = beyond_content(torch.ones(30), features, pairs, torch.zeros(30))
    assert set(found.values()) == {None}
