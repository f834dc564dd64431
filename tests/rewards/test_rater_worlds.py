"""Raters, ties, style and groups where the truth is known: worlds drawn by a seed, judged by robots."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from rewards import head
from rewards.batches import Preferences
from rewards.bradley_terry import davidson, rao_kupper
from rewards.joint import fit_jointly
from rewards.raters import Observed, Raters
from rewards.style import Terms
from tests.rewards.rater_worlds import PENALTY, features, fitted, preferences, style_terms
from worlds.bandit import ANSWERS, PROMPTS, TRAINING, Bandit
from worlds.robots import Robot, population

KL = 4.0
SIZE = 16


def judged(seed: int, kind: str, count: int, **bias):
    """A world, its robots and what they answered."""
    world, rng = Bandit.drawn(seed), np.random.default_rng([seed, 7])
    robots = population(kind, 40, seed)
    given = preferences(world.judged(robots, *world.draw(count, rng), rng, **bias), robots)
    return world, robots, given


def rewards_of(world: Bandit, weights: torch.Tensor):
    return (features(world) @ weights).numpy().reshape(PROMPTS, ANSWERS)


def whole_fit(world: Bandit, given: Preferences, seed: int, *, members: int = 8, **more) -> head.Fitted:
    """The head as a run fits it, normalised on answers of the base."""
    columns = features(world).float()
    prompt, answer, _ = world.draw(512, np.random.default_rng([seed, 8]))
    arguments = {"penalty": PENALTY, "pessimism": 1.0, "ties": "davidson", "seed": seed} | more
    reference = columns[torch.tensor(prompt * ANSWERS + answer)]
    return head.fit(columns, given, reference, folds=given.folds(seed), members=members, **arguments)


def target(world: Bandit, fit: head.Fitted):
    """The policy that follows the reward to a distance."""
    found = fit.head(features(world).float()).double().numpy().reshape(PROMPTS, ANSWERS)
    return world.tilted(found, KL)


def raters_found(seed: int, each: int):
    """Correlation of care, how surely careless raters are told, and the error of their pull to a side."""
    world, robots, given = judged(seed, "crowd", each * 40)
    _, raters = fitted(world, given)
    own = {name: value.detach()[:-1].numpy() for name, value in raters.own().items()}
    care = own["scale"] / (1 + np.exp(own["lapse"]))
    true = np.array([robot.reliability * (1 - robot.lapse) for robot in robots])
    bad = np.array([robot.lapse > 0.5 or robot.reliability < 0 for robot in robots])
    looks = np.array([robot.lapse < 0.5 for robot in robots])
    side = own["side"] - np.array([robot.side_bias for robot in robots])
    told = (care[~bad][:, None] > care[bad]).mean()
    return np.corrcoef(care, true)[0, 1], told, np.sqrt((side[looks] ** 2).mean())


@pytest.mark.parametrize("seed", [0, 1])
def test_raters_are_found_as_they_are(seed):
    correlation, told, _ = raters_found(seed, 100)
    assert correlation > 0.75
    assert told >= 0.93


@pytest.mark.verify
def test_careless_raters_and_pulls_to_a_side_are_found_over_eight_worlds():
    """K17, but for the pull to a side, which 100 judgments of such differences can't tell to .15.

    Each tells about .12 of Fisher's information, and the prior 11 in all: 1 / sqrt(23) = .21.
    """
    hundred = np.array([raters_found(seed, 100) for seed in range(8)])
    assert hundred[:, 0].min() > 0.75
    assert hundred[:, 1].min() >= 0.93
    assert hundred[:, 2].mean() <= 0.25
    many = np.array([raters_found(seed, 600) for seed in range(4)])
    assert many[:, 0].min() > 0.9
    assert many[:, 2].mean() <= 0.19


def better_target(seed: int) -> float:
    """What the true gain owes to the rater model and to pessimism."""
    world, _, given = judged(seed, "crowd", 2000)
    full = whole_fit(world, given, seed)
    naive = whole_fit(world, given, seed, members=1, raters=False)
    return world.gain(target(world, full)) - world.gain(target(world, naive))


def rater_gain(seed: int) -> float:
    """What it owes to the rater model alone."""
    world, _, given = judged(seed, "crowd", 2000)
    gains = [
        world.gain(world.tilted(rewards_of(world, fitted(world, given, named=named)[0]), KL))
        for named in (True, False)
    ]
    return gains[0] - gains[1]


def test_a_policy_that_follows_weighed_raters_gains_more():
    assert np.mean([rater_gain(seed) for seed in range(4)]) > 0.05


@pytest.mark.verify
def test_the_default_beats_trusting_everybody_in_six_of_eight_worlds():
    """K2b."""
    gains = np.array([better_target(seed) for seed in range(8)])
    assert (gains > 0).sum() >= 6, gains
    assert gains.mean() >= 0.2, gains


def style_gains(seed: int, members: int = 1):
    """True gain and shift of length of the policy, uncorrected and with style fitted, then left out."""
    bias = {"length_bias": 0.8, "flattery_bias": 0.6}
    world, _, given = judged(seed, "crowd", 3000, **bias)
    found = []
    for terms in (None, style_terms(world, given)):
        fit = whole_fit(world, given, seed, members=members, terms=terms)
        policy = target(world, fit)
        length = world.mean(world.length, policy) - world.mean(world.length, world.base_logprobs)
        found += [world.gain(policy), length]
    rows = {row["name"]: row for row in fit.figures["style"]}
    assert rows["length"]["low"] > 0
    # Flattery goes with exotic answers, whose other faults no linear head can see, so its sign is open.
    return found


def check_style(gains) -> None:
    uncorrected, lengthened, corrected, shift = np.mean(gains, axis=0)
    assert corrected - uncorrected > 0.6, gains
    assert lengthened > 0.9, gains
    assert abs(shift) <= 0.5, gains


def test_style_is_fitted_and_then_left_out():
    check_style([style_gains(0)])


@pytest.mark.verify
def test_style_is_fitted_and_then_left_out_over_eight_worlds():
    """Sim 12, a deviation of doubt taken off both: 1.34 (+1.16) uncorrected, 2.32 (+.28) corrected."""
    gains = [style_gains(seed, members=8) for seed in range(8)]
    check_style(gains)
    assert np.mean(gains, axis=0)[2] >= 2.0, gains


def minority_accuracy(seed: int) -> tuple[float, float, float]:
    """How the minority's own head, the overall one, and one pooled head without groups order as they do."""
    world, _, given = judged(seed, "minority", 4000)
    fit = whole_fit(world, given, seed, members=1, groups=True)
    pooled = whole_fit(world, given, seed, members=1)
    worth = world.worth(world.other_taste)
    rng = np.random.default_rng([seed, 9])
    chances = np.exp(world.base_logprobs)
    rows = []
    for _ in range(3000):
        prompt = int(rng.integers(TRAINING, PROMPTS))
        one, other = rng.choice(ANSWERS, 2, replace=False, p=chances[prompt])
        rows.append((prompt, one, other))
    prompt, one, other = np.array(rows).T
    true = worth[prompt, one] > worth[prompt, other]
    found = []
    for each in (fit.head.for_group("others"), fit.head, pooled.head):
        told = each(features(world).float()).numpy().reshape(PROMPTS, ANSWERS)
        found.append(float(((told[prompt, one] > told[prompt, other]) == true).mean()))
    by_group = {row["group"]: row for row in fit.figures["groups"]}
    assert by_group["others"]["accuracy"] > by_group["others"]["overall_accuracy"]
    return found[0], found[1], found[2]


@pytest.mark.verify
def test_a_minority_is_heard_by_its_own_head_in_the_bandit_world():
    """K5 where no linear head can be right; with 900 judgments of the minority in 4,000."""
    own, _, pooled = np.mean([minority_accuracy(seed) for seed in range(4)], axis=0)
    assert own > pooled + 0.08, (own, pooled)
    assert own >= 0.8, own


def linear_minority(seed: int, count: int) -> tuple[float, float]:
    """Sim 2: accuracy for the minority's taste of its own head and of one head for all."""
    rng, size = np.random.default_rng([seed, 4]), 32
    robots = population("minority", 40, seed)
    taste, across = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, size)))
    across -= (across @ taste) * taste
    other = 0.3 * taste + np.sqrt(1 - 0.3**2) * across / np.linalg.norm(across)
    columns = rng.normal(size=(2 * count, size)) * 1.7 / np.sqrt(2)
    rater = rng.integers(len(robots), size=count)
    chosen, rejected, side, tie = np.arange(count), np.arange(count) + count, np.ones(count, int), []
    for number, robot in enumerate(robots[place] for place in rater):
        worth = columns[[number, number + count]] @ (other if robot.other_taste else taste)
        verdict = robot.judge(list(worth), rng, since_break=int(rng.integers(120)))
        tie.append(len(verdict.order) == 1)
        if verdict.order[0] == (2,):
            chosen[number], rejected[number], side[number] = rejected[number], chosen[number], -1
    given = _plain(
        count, tie=torch.tensor(tie), rater=torch.tensor(rater), side=torch.tensor(side),
        places=(torch.tensor(chosen), torch.tensor(rejected)), names=len(robots),
    )  # fmt: skip
    group = torch.tensor([robot.other_taste for robot in robots]).long()[given.rater]
    given = dataclasses.replace(given, group=group, groups=["most", "others"])
    features = torch.tensor(columns).float()
    fit = head.fit(
        features, given, features, folds=given.folds(0), penalty=PENALTY, members=1, pessimism=0.0,
        ties="davidson", seed=0, groups=True,
    )  # fmt: skip
    fresh = rng.normal(size=(4000, 2, size))
    true = fresh @ other
    told = [
        each(torch.tensor(fresh).float().reshape(-1, size)).reshape(-1, 2).numpy()
        for each in (fit.head.for_group("others"), fit.head)
    ]
    right = [float(((one[:, 0] > one[:, 1]) == (true[:, 0] > true[:, 1])).mean()) for one in told]
    return right[0], right[1]


@pytest.mark.verify
@pytest.mark.parametrize("seed", [0, 1])
def test_a_minority_is_heard_by_its_own_head(seed):
    """K5 in the world of Sim 2: .905 by its own head, .683 by a pooled one."""
    own, overall = linear_minority(seed, 4000)
    assert own >= 0.85
    assert own > overall + 0.1


def scale_of(x, y_first, y_tie, truth, ties: str) -> float:
    """The fitted rewards' scale, 1 being right, where nobody is named."""
    count = len(x)
    given = _plain(count, tie=y_tie)
    x = torch.where(y_first | y_tie, 1.0, -1.0)[:, None].double() * x
    raters = Raters(given, ties=ties, terms=Terms.none(count), named=False, dtype=torch.float64)
    observed = Observed.of(given, Terms.none(count))
    w = fit_jointly(x, observed, raters, torch.full((x.shape[1],), 1e-3, dtype=torch.float64))
    return float(w @ truth / truth.square().sum())


def _plain(count: int, *, tie, rater=None, side=None, judgment=None, weight=None, places=None, names=0):
    nothing, one = torch.full((count,), -1), torch.ones(count, dtype=torch.float64)
    chosen, rejected = places or (torch.arange(count), torch.arange(count) + count)
    judgment = torch.arange(count) if judgment is None else judgment
    return Preferences(
        prompts=[], responses=[[0]] * (2 * count), asked=[], texts=[], chosen=chosen, rejected=rejected,
        tie=tie, all_bad=torch.zeros(count, dtype=torch.bool), weight=one if weight is None else weight,
        margin=0 * one, prompt=judgment, judgment=judgment, comparison=judgment,
        rater=nothing if rater is None else rater, group=nothing, criterion=nothing,
        side=torch.zeros(count).long() if side is None else side, strength=nothing, since_break=nothing,
        soft_label=one, purpose=nothing, purposes=[], prompt_ids=[str(number) for number in range(count)],
        raters=[f"r{number}" for number in range(names)], groups=[], criteria=[], dropped=0,
    )  # fmt: skip


SIM_7 = {  # generator and log width: what each model makes of the scale
    (davidson, -0.6): {"davidson": (0.9, 1.1), "rao-kupper": (0.6, 0.92), "half": (0.5, 0.9)},
    (rao_kupper, 0.1): {"davidson": (1.2, 1.7), "rao-kupper": (0.9, 1.1), "half": (0.75, 0.95)},
}


@pytest.mark.parametrize(("world", "expected"), SIM_7.items(), ids=["davidson", "rao-kupper"])
def test_each_model_of_ties_keeps_the_scale_in_its_own_world(world, expected):
    """Sim 7."""
    model, log_width = world
    draws = torch.Generator().manual_seed(0)
    truth = torch.randn(SIZE, generator=draws, dtype=torch.float64) * 1.7 / SIZE**0.5
    x = torch.randn(5000, SIZE, generator=draws, dtype=torch.float64)
    drawn = torch.multinomial(model(x @ truth, log_width).exp(), 1, generator=draws)[:, 0]
    for ties, (low, high) in expected.items():
        assert low < scale_of(x, drawn == 0, drawn == 1, truth, ties) < high, ties


def crowd_scale(seed: int, kind: str, count: int) -> float:
    """The scale that a population's judgments give, over what their mean reliability would."""
    rng = np.random.default_rng([seed, 3])
    robots = population(kind, 30, seed)
    truth = rng.normal(size=SIZE) * 1.7 / np.sqrt(2 * SIZE)
    size = 4 if kind == "rankers" else 2
    rows, x, weight, places = [], [], [], []
    for number in range(count):
        rater = int(rng.integers(len(robots)))
        columns = rng.normal(size=(size, SIZE))
        verdict = robots[rater].judge(list(columns @ truth), rng, since_break=int(rng.integers(120)))
        ranks = {place - 1: rank for rank, group in enumerate(verdict.order) for place in group}
        for one, other in itertools.combinations(range(size), 2):
            better, worse = (one, other) if ranks[one] <= ranks[other] else (other, one)
            rows.append((ranks[one] == ranks[other], rater, 1 if better < worse else -1, number))
            if size > 2:  # only the first response shown has a pull, so the others have no side
                rows[-1] = (*rows[-1][:2], rows[-1][2] if min(one, other) == 0 else 0, number)
            x.append(columns[better] - columns[worse])
            weight.append(1 / (size - 1))
            places.append((number * size + better, number * size + worse))
    tie, rater, side, judgment = (torch.tensor(column) for column in zip(*rows, strict=True))
    chosen, rejected = (torch.tensor(column) for column in zip(*places, strict=True))
    given = _plain(
        len(rows), tie=tie, rater=rater, side=side, judgment=judgment,
        weight=torch.tensor(weight, dtype=torch.float64), places=(chosen, rejected), names=len(robots),
    )  # fmt: skip
    terms = Terms.none(len(rows))
    raters = Raters(given, ties="davidson", terms=terms, dtype=torch.float64)
    differences = torch.tensor(np.array(x))
    w = fit_jointly(differences, Observed.of(given, terms), raters, torch.full((SIZE,), 1e-3).double())
    usual = np.mean([robot.reliability for robot in robots])
    return float(w.numpy() @ truth / (truth @ truth)) / usual


def test_lazy_ties_leave_the_scale():
    """K15: two kinds of lazy raters tie 15 and 40 % of pairs without weighing them."""
    assert 0.9 < np.mean([crowd_scale(seed, "tied", 3000) for seed in range(2)]) < 1.1


def test_rankers_careless_below_the_best_leave_the_scale():
    """K16."""
    assert 0.85 < np.mean([crowd_scale(seed, "rankers", 800) for seed in range(2)]) < 1.15


@pytest.mark.verify
def test_lazy_ties_and_careless_rankings_leave_the_scale_in_eight_worlds():
    assert 0.9 < np.mean([crowd_scale(seed, "tied", 3000) for seed in range(8)]) < 1.1
    assert 0.85 < np.mean([crowd_scale(seed, "rankers", 1000) for seed in range(8)]) < 1.15


def test_one_robot_alone_reads_rewards_as_they_are():
    world, rng = Bandit.drawn(0), np.random.default_rng(0)
    robots = [Robot()]
    given = preferences(world.judged(robots, *world.draw(300, rng), rng), robots)
    _, raters = fitted(world, given)
    assert raters.own()["scale"].tolist() == pytest.approx([1.0, 1.0])
