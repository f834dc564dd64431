import numpy as np
import pytest

from worlds.bandit import TRAINING, Bandit
from worlds.robots import Robot, population


def test_the_best_policy_gains_what_the_exact_world_says():
    """The gains of the true reward itself, known from 12 worlds."""
    worlds = [Bandit.drawn(seed) for seed in range(12)]
    known = {0.5: 1.49, 1.0: 2.08, 2.0: 2.87, 3.0: 3.40, 4.0: 3.77}
    for kl, expected in known.items():
        gains = [world.gain(world.tilted(world.gold, kl)) for world in worlds]
        assert np.mean(gains) == pytest.approx(expected, abs=0.2), (kl, np.mean(gains))


def test_a_tilt_has_the_divergence_asked_for():
    world = Bandit.drawn(3)
    for kl in (0.5, 2.0, 4.0):
        assert world.kl(world.tilted(world.gold, kl)) == pytest.approx(kl, abs=1e-3)


def test_a_world_is_that_of_its_seed():
    assert (Bandit.drawn(1).gold == Bandit.drawn(1).gold).all()
    assert not (Bandit.drawn(1).gold == Bandit.drawn(2).gold).all()


def test_robots_judge_pairs_of_training_prompts_by_the_gold():
    world, rng = Bandit.drawn(0), np.random.default_rng(0)
    judged = world.judged([Robot(reliability=50.0)], *world.draw(400, rng), rng)
    difference = world.gold[judged.prompt, judged.first] - world.gold[judged.prompt, judged.second]
    clear = np.abs(difference) > 0.5
    assert (judged.prompt < TRAINING).all()
    assert ((difference > 0) == (judged.outcome == 1))[clear].all()


def test_a_biased_crowd_prefers_length():
    world, rng = Bandit.drawn(0), np.random.default_rng(0)
    judged = world.judged(population("crowd", 40, 0), *world.draw(3000, rng), rng, length_bias=0.8)
    longer = world.length[judged.prompt, judged.first] > world.length[judged.prompt, judged.second]
    assert judged.outcome[longer].mean() - judged.outcome[~longer].mean() > 0.1


def test_the_truth_orders_every_pair():
    world = Bandit.drawn(0)
    assert world.accuracy(world.gold, np.random.default_rng(0)) == 1.0
