"""The learning curve: what it holds out, what it learns from, and the gain of doubling that it finds."""

import math

import pytest
import torch

from rewards import learning_curve
from rewards.bradley_terry import fit_head
from rewards.learning_curve import SHARES, curve, of_head
from tests.rewards.conftest import judged


def traits(count, seed=0, size=12):
    """Judgments that follow a linear taste."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2 * count, size, generator=generator)
    worth = features @ torch.randn(size, generator=generator) / size**0.5 * 2
    won = torch.rand(count, generator=generator) < torch.sigmoid(worth[::2] - worth[1::2])
    return features, judged(torch.arange(count) // 2, won)


def test_each_share_holds_the_smaller_ones_and_no_held_out_prompt():
    _, pairs = traits(400)
    folds = pairs.folds(0)
    seen = []

    def fit(masks):
        seen.append(masks)
        return torch.ones(masks.shape, dtype=torch.float64)

    found = curve(pairs, folds, fit, seed=0)
    masks = seen[0].reshape(5, len(SHARES), -1)
    for fold in range(5):
        assert not (masks[fold] & (folds == fold)).any()
        for smaller, larger in zip(masks[fold], masks[fold][1:], strict=False):
            assert not (smaller & ~larger).any()
        assert torch.equal(masks[fold][-1], folds != fold)
    assert [round(point["judgments"]) for point in found["points"]] == [40, 80, 160, 320]
    assert found["doubling_gain"] == pytest.approx(0)  # all right, however few were seen
    assert all(point["accuracy"] == 1 for point in found["points"])


def test_a_known_gain_is_found():
    """A learner that is right on a share of .6 + .03 log2(n / 40) of the prompts, the same ones and more."""
    _, pairs = traits(4000)
    share = torch.rand(2000, generator=torch.Generator().manual_seed(1))[pairs.prompt]

    def fit(masks):
        right = 0.6 + 0.03 * (masks.sum(1, keepdim=True).double() / 400).log2()
        return torch.where(share[None] < right, 1.0, -1.0).double()

    found = curve(pairs, pairs.folds(0), fit, seed=0)
    assert found["doubling_gain"] == pytest.approx(0.03, abs=0.006)
    assert found["doubling_gain_low"] < 0.03 < found["doubling_gain_high"]
    assert found["draws"] == 5


def test_a_heads_fits_are_those_made_one_by_one():
    features, pairs = traits(100)
    masks = torch.stack([torch.arange(100) < 40, torch.arange(100) % 2 == 0])
    found = of_head(features, pairs, penalty=3.0, ties="half")(masks)
    scale = features.double().std(0, correction=0) + 1e-4
    differences = (features[pairs.chosen] - features[pairs.rejected]).double() / scale
    for mask, logits in zip(masks, found, strict=True):
        head, _ = fit_head(differences[mask], torch.ones(int(mask.sum())), torch.ones(int(mask.sum())), 3.0)
        assert torch.allclose(logits, differences @ head, atol=1e-5)


def test_a_head_gains_from_more_judgments_and_soon_from_no_more():
    features, pairs = traits(300, size=40)
    few = curve(pairs, pairs.folds(0), of_head(features, pairs, penalty=1.0, ties="half"), seed=0)
    features, pairs = traits(6000, size=3)
    many = curve(pairs, pairs.folds(0), of_head(features, pairs, penalty=1.0, ties="half"), seed=0)
    assert few["doubling_gain"] > 0.02 > many["doubling_gain"] > -0.01
    assert few["points"][0]["accuracy"] < few["points"][-1]["accuracy"]
    assert all(math.isfinite(few[name]) for name in ("doubling_gain_low", "doubling_gain_high"))


def test_too_few_judgments_give_a_reason():
    features, pairs = traits(60)
    found = curve(pairs, pairs.folds(0), of_head(features, pairs, penalty=1.0, ties="half"), seed=0)
    assert list(found) == ["reason"]
    assert str(learning_curve.LEAST) in found["reason"]
