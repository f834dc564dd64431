import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from worlds.robots import POPULATIONS, Robot, Verdict, population

MANY = 20_000


def answers(robot: Robot, rewards: list[float], *, seed: int = 0, **how) -> Counter[str]:
    rng = np.random.default_rng(seed)
    return Counter(str(robot.judge(rewards, rng, **how)) for _ in range(MANY))


def surprise(found: Counter[str], expected: dict[str, float]) -> float:
    """Pearson's chi-square."""
    assert set(found) <= set(expected)
    return sum((found[key] - MANY * share) ** 2 / (MANY * share) for key, share in expected.items())


def davidson(d: float, nu: float) -> dict[str, float]:
    total = math.exp(d / 2) + math.exp(-d / 2) + nu
    return {"1>2": math.exp(d / 2) / total, "2>1": math.exp(-d / 2) / total, "1=2": nu / total}


@pytest.mark.parametrize(
    ("reliability", "side_bias", "tie_width", "first", "second"),
    [(1, 0, 0.5, 0.7, 0.2), (0.4, 0.3, 1.2, -1, 1), (-0.7, 0.15, 0.3, 2, 0.5), (2, -0.5, 0.01, 0.1, 0.2)],
)
def test_choices_are_as_frequent_as_davidson_says(reliability, side_bias, tie_width, first, second):
    robot = Robot(reliability=reliability, side_bias=side_bias, tie_width=tie_width)
    expected = davidson(reliability * (first - second) + side_bias, tie_width)
    assert surprise(answers(robot, [first, second]), expected) < 16.3  # 1 in 1,000 of 3 degrees


def test_without_ties_a_robot_is_bradley_terry():
    robot = Robot(tie_width=0.8, side_bias=0.2)
    share = 1 / (1 + math.exp(-(0.9 + 0.2)))
    expected = {"1>2": share, "2>1": 1 - share}
    assert surprise(answers(robot, [1.0, 0.1], ties=False), expected) < 10.8


def test_side_bias_moves_equal_responses_to_the_first():
    share = answers(Robot(side_bias=0.5), [1, 1])["1>2"] / MANY
    assert share == pytest.approx(1 / (1 + math.exp(-0.5)), abs=0.015)


def test_lapses_do_not_look_at_the_responses():
    clear, lapse = [50.0, -50.0], 0.3
    found = answers(Robot(lapse=lapse, lapse_first=0.25), clear)
    assert found["2>1"] / MANY == pytest.approx(lapse * 0.75, abs=0.015)
    assert answers(Robot(), clear) == {"1>2": MANY}


def test_fatigue_adds_lapses_late_in_a_sitting():
    tired = Robot(fatigue=0.25)
    assert answers(tired, [50, -50], since_break=0) == {"1>2": MANY}
    late = answers(tired, [50, -50], since_break=119)["2>1"] / MANY
    assert late == pytest.approx(0.25 * (1 - math.exp(-119 / 60)) / 2, abs=0.015)


def test_three_are_ranked_as_plackett_and_luce_say():
    rewards, robot = [0.3, -0.4, 1.0], Robot(reliability=1.5, side_bias=0.2)
    strengths = np.exp(1.5 * np.array(rewards) + [0.2, 0, 0])
    expected = {}
    for order in permutations(range(3)):
        left = strengths[list(order)]
        share = math.prod(left[place] / left[place:].sum() for place in range(3))
        expected[">".join(str(place + 1) for place in order)] = share
    assert surprise(answers(robot, rewards), expected) < 22.5  # 1 in 1,000 of 6 degrees


def test_a_lapse_ranks_three_in_any_order():
    expected = {">".join(map(str, order)): 1 / 6 for order in permutations([1, 2, 3])}
    assert surprise(answers(Robot(lapse=1), [9, 5, 1]), expected) < 20.5


def test_all_bad_is_a_tie_of_responses_that_are_worth_too_little():
    robot, rng = Robot(tie_width=1e9, all_bad_below=0), np.random.default_rng(0)
    assert robot.judge([-1, -0.5], rng) == Verdict(order=((1, 2),), all_bad=True)
    assert robot.judge([-1, 0.5], rng) == Verdict(order=((1, 2),))


def test_the_same_seed_gives_the_same_crowd_and_answers():
    assert population("crowd", 20, 5) == population("crowd", 20, 5)
    assert population("crowd", 20, 5) != population("crowd", 20, 6)
    robot = population("crowd", 1, 0)[0]
    assert answers(robot, [0.5, 0], seed=3) == answers(robot, [0.5, 0], seed=3)


def test_a_crowd_of_twenty_has_the_shares_it_is_named_for():
    crowd = population("crowd", 20, 0)
    spammers = [robot for robot in crowd if robot.lapse == 0.95]
    assert len(crowd) == 20
    assert sorted(robot.lapse_first for robot in spammers) == [0.5, 0.85]
    assert sum(robot.reliability == -0.7 for robot in crowd) == 1
    assert sum(robot.reliability == 0.4 for robot in crowd) == 3
    assert [len(population("crowd", count, 0)) for count in (1, 2, 7, 33)] == [1, 2, 7, 33]


def test_a_large_crowd_has_the_means_it_is_drawn_from():
    crowd = population("crowd", 4000, 1)
    ordinary = [robot for robot in crowd if robot.reliability > 0.4 and robot.lapse != 0.95]
    assert np.mean([robot.side_bias for robot in crowd]) == pytest.approx(0.15, abs=0.02)
    assert np.std([robot.side_bias for robot in crowd]) == pytest.approx(0.25, abs=0.02)
    assert np.mean([robot.lapse for robot in ordinary]) == pytest.approx(2 / 40, abs=0.005)
    assert np.std(np.log([robot.reliability for robot in ordinary])) == pytest.approx(0.3, abs=0.03)


def test_clean_robots_have_no_habits():
    assert set(population("clean", 3, 9)) == {Robot()}


def test_an_unknown_population_is_refused_by_name():
    with pytest.raises(ValueError, match="'mob'"):
        population("mob", 3, 0)


def test_half_of_the_comparisons_take_less_than_the_median():
    rng = np.random.default_rng(0)
    times = [Robot(seconds=6).takes(rng) for _ in range(MANY)]
    assert np.median(times) == pytest.approx(6, rel=0.02)


@pytest.mark.parametrize("ties", [True, False])
def test_answers_are_as_frequent_as_a_robots_chances_say(ties):
    robot = Robot(
        reliability=0.8, side_bias=0.3, lapse=0.1, lapse_first=0.8, fatigue=0.2, tie_width=0.5, length_bias=0.7,
        lazy_ties=0.2,
    )  # fmt: skip
    asked = {"since_break": 50, "ties": ties, "lengths": [80, 200]}
    expected = robot.chances([0.6, 0.1], **asked)
    assert sum(expected.values()) == pytest.approx(1)
    found = answers(robot, [0.6, 0.1], **asked)
    assert surprise(found, {key: share for key, share in expected.items() if share}) < 16.3


def test_a_liking_for_length_is_in_logits_of_the_lengths_ratio():
    share = Robot(length_bias=1.5).chances([0, 0], lengths=[math.e, 1])["1>2"]
    assert share == pytest.approx(1 / (1 + math.exp(-1.5)))


def test_a_ranker_is_careful_about_the_best_and_careless_below():
    rewards, robot = [3.0, 1.5, 0.0], Robot(care_below=0.3)
    found = answers(robot, rewards)
    best = np.exp(rewards) / np.exp(rewards).sum()
    firsts = [sum(count for order, count in found.items() if order[0] == str(n)) / MANY for n in (1, 2, 3)]
    assert firsts == pytest.approx(list(best), abs=0.012)
    rest = found["1>2>3"] / (found["1>2>3"] + found["1>3>2"])
    assert rest == pytest.approx(1 / (1 + math.exp(-0.3 * 1.5)), abs=0.015)


@pytest.mark.parametrize("name", list(POPULATIONS))
def test_each_population_has_as_many_robots_as_asked_and_the_same_for_a_seed(name):
    assert [len(population(name, count, 0)) for count in (1, 7, 20)] == [1, 7, 20]
    assert population(name, 20, 4) == population(name, 20, 4)


def test_a_quarter_of_the_minority_world_has_another_taste_and_is_as_careful_as_the_rest():
    robots = population("minority", 400, 0)
    other = [robot for robot in robots if robot.other_taste]
    same = [robot for robot in robots if not robot.other_taste and robot.lapse < 0.9]
    assert len(other) == 100
    assert sum(robot.lapse == 0.95 for robot in robots) == 40
    assert np.mean([robot.lapse for robot in other]) == pytest.approx(
        np.mean([robot.lapse for robot in same]), abs=0.01
    )


def test_of_the_tied_worlds_answers_four_in_ten_are_ties():
    rng = np.random.default_rng(0)
    chances = [
        robot.chances(list(rng.normal(0, 1.2, 2)))["1=2"]
        for robot in population("tied", 100, 0)
        for _ in range(20)
    ]
    assert np.mean(chances) == pytest.approx(0.4, abs=0.05)


def test_spammers_of_the_patient_world_take_the_time_of_the_others():
    spammers = [robot for robot in population("patient", 400, 0) if robot.lapse == 0.95]
    assert len(spammers) == 40
    assert np.median([robot.seconds for robot in spammers]) == pytest.approx(8, rel=0.2)


def test_the_padded_world_likes_length_and_a_coin_likes_nothing():
    assert all(robot.length_bias >= 0 for robot in population("padded", 100, 0))
    assert np.mean([robot.length_bias for robot in population("padded", 400, 0)]) == pytest.approx(
        1.5, abs=0.1
    )
    assert population("coin", 3, 0)[0].chances([9, -9]) == {"1>2": 0.5, "2>1": 0.5, "1=2": 0}
