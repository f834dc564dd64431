"""Sim 4: intervals that know that judgments of one rater and of one prompt are alike."""

import math

import numpy as np
import pytest
import torch

from rewards.intervals import clustered, share, student, wilson
from tests.rewards.conftest import judged


@pytest.mark.parametrize(
    ("level", "freedom", "quantile"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 5, 2.57058),
        (0.95, 10, 2.22814),
        (0.95, 30, 2.04227),
        (0.95, 1000, 1.96234),
        (0.95, 1e9, 1.95996),
        (0.90, 5, 2.01505),
        (0.80, 9, 1.38303),
    ],
)
def test_students_quantiles_are_those_of_the_tables(level, freedom, quantile):
    assert student(level, freedom) == pytest.approx(quantile, rel=2e-4)


@pytest.mark.parametrize(("value", "size"), [(0.7, 40.0), (0.0, 12.0), (1.0, 3.5), (0.5, 1e5)])
def test_wilsons_ends_are_where_the_share_lies_just_so_many_deviations_off(value, size):
    for end in wilson(value, size, 2.2):
        if end not in (0.0, 1.0):
            assert abs(value - end) == pytest.approx(2.2 * math.sqrt(end * (1 - end) / size))


def jackknife(values, weight, labels):
    """Leave out each cluster in turn, and see how the mean moves."""
    mean = float(values @ weight / weight.sum())
    names = sorted(set(labels))
    moved = 0.0
    for name in names:
        kept = torch.tensor([label != name for label in labels])
        moved += (float(values[kept] @ weight[kept] / weight[kept].sum()) - mean) ** 2
    return moved * (len(names) - 1) / len(names)


def test_the_variance_is_that_of_leaving_out_prompts_plus_raters_less_both():
    generator = torch.Generator().manual_seed(0)
    values = (torch.rand(80, generator=generator) < 0.6).double()
    weight = torch.rand(80, generator=generator, dtype=torch.float64) + 0.2
    prompt = torch.randint(12, (80,), generator=generator)
    rater = (5 * torch.rand(80, generator=generator).square()).long()  # some judge much more than others
    values += 0.3 * (rater == 0)
    parts = (weight / weight.sum() * (values - values @ weight / weight.sum()))[:, None]
    expected = (
        jackknife(values, weight, prompt.tolist())
        + jackknife(values, weight, rater.tolist())
        - jackknife(values, weight, list(zip(prompt.tolist(), rater.tolist(), strict=True)))
    )
    assert float(clustered(parts, [prompt, rater], weight)) == pytest.approx(expected)
    alone = float(clustered(parts, [prompt], weight))
    assert alone == pytest.approx(jackknife(values, weight, prompt.tolist()))


def test_clusters_of_one_size_give_the_variance_of_their_means():
    values = torch.tensor([1.0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 1], dtype=torch.float64)
    labels = torch.arange(4).repeat_interleave(3)
    weight = torch.ones(12, dtype=torch.float64)
    parts = ((values - values.mean()) / 12)[:, None]
    means = values.reshape(4, 3).mean(1)
    assert float(clustered(parts, [labels], weight)) == pytest.approx(float(means.var() / 4))


def test_raters_count_where_every_judgment_names_one_of_several():
    prompt, won = torch.arange(40) % 20, torch.arange(40) % 3 > 0
    two = judged(prompt, won, rater=torch.arange(40) % 4)
    assert share(won.double(), two.weight, two).clustered_by == "prompt and rater"
    for rater in (None, torch.zeros(40, dtype=torch.long), torch.arange(40) % 4 - 1):
        pairs = judged(prompt, won, rater=rater)
        assert share(won.double(), pairs.weight, pairs).clustered_by == "prompt"


def test_where_all_is_right_the_interval_is_not_a_point():
    pairs = judged(torch.arange(60) // 3, torch.ones(60), rater=torch.arange(60) % 5)
    found = share(torch.ones(60, dtype=torch.float64), pairs.weight, pairs)
    low, high = found.interval()
    assert high == 1
    assert 0.6 < low < 0.9  # twenty prompts, five raters


def test_one_judgment_says_next_to_nothing():
    pairs = judged([0], [1])
    low, high = share(torch.ones(1, dtype=torch.float64), pairs.weight, pairs).interval()
    assert low < 0.05
    assert high == 1


def coverage(judgments, raters, overlap, *, base=0.8, unequal=False, times=200, prompts=400):
    """How often the interval, and one that takes judgments for independent, hold the true share.

    Logits: base + a prompt's effect (deviation 1) + a rater's (deviation .6).
    """
    rng = np.random.default_rng(3)
    around = rng.normal(size=200_000) * math.hypot(1, 0.6)
    truth = float((1 / (1 + np.exp(-(base + around)))).mean())
    load = 1 / np.arange(1, raters + 1) if unequal else np.ones(raters)
    load /= load.sum()
    hits = [0, 0]
    for _ in range(times):
        of_prompt, of_rater = rng.normal(size=prompts), 0.6 * rng.normal(size=raters)
        prompt = rng.integers(prompts, size=judgments // overlap).repeat(overlap)
        if overlap == 1:
            rater = rng.choice(raters, len(prompt), p=load)
        else:
            rater = rng.random((judgments // overlap, raters)).argsort(1)[:, :overlap].ravel()
        chance = 1 / (1 + np.exp(-(base + of_prompt[prompt] + of_rater[rater])))
        right = torch.tensor(rng.random(len(prompt)) < chance).double()
        pairs = judged(prompt, right, rater=rater)
        found = share(right, pairs.weight, pairs)
        for place, (low, high) in enumerate([found.interval(), wilson(found.value, len(right), 1.96)]):
            hits[place] += low <= truth <= high
    return hits[0] / times, hits[1] / times


def test_the_interval_covers_what_it_says_where_raters_differ():
    ours, naive = coverage(600, 10, 1)
    assert ours >= 0.91
    assert naive < 0.75


def test_it_covers_near_one_and_where_few_raters_judge_most():
    assert coverage(200, 10, 1, base=4.0, times=100)[0] >= 0.9
    ours, naive = coverage(600, 20, 1, unequal=True, times=100)
    assert ours >= 0.89
    assert naive < 0.7


@pytest.mark.verify
@pytest.mark.parametrize(
    ("judgments", "raters", "overlap"),
    [(1068, 5, 1), (1068, 10, 1), (1068, 20, 1), (1068, 50, 1), (1068, 200, 1), (1068, 50, 3), (3000, 20, 1)],
)
def test_it_covers_in_the_designs_of_simulation_4(judgments, raters, overlap):
    assert 0.92 <= coverage(judgments, raters, overlap, times=800)[0] <= 0.985
