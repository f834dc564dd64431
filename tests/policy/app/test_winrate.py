"""Win rates against a slow loop, scipy's quantiles, and raters whose taste is known."""

import math
import random
from itertools import product

import pytest
from scipy import stats

from policy.app.winrate import Score, estimate, t_quantile


def drawn(chance: random.Random, raters: int, prompts: int, count: int, *, shift: float = 0.3) -> list[Score]:
    """Judgments by raters who differ by some 5 points, on prompts that differ by more."""
    taste = [chance.gauss(0, 0.2) for _ in range(raters)]
    ease = [chance.gauss(0, 0.8) for _ in range(prompts)]
    scores = []
    for number in range(count):
        rater, prompt = chance.randrange(raters), number % prompts
        win = 1 / (1 + math.exp(-(shift + taste[rater] + ease[prompt])))
        tie = chance.random() < 0.16
        scores.append(Score(0.5 if tie else float(chance.random() < win), f"r{rater}", f"p{prompt}"))
    return scores


def true_rate(shift: float = 0.3) -> float:
    chance = random.Random(99)
    spread = math.hypot(0.2, 0.8)
    wins = [1 / (1 + math.exp(-(shift + chance.gauss(0, spread)))) for _ in range(100_000)]
    return 0.5 * 0.16 + 0.84 * sum(wins) / len(wins)


def by_definition(scores: list[Score]) -> tuple[float, float, float]:
    """Two-way clustered, by summing over all pairs of judgments that share something."""
    n = len(scores)
    rate = sum(score.value for score in scores) / n
    parts = {"rater": 0.0, "prompt": 0.0, "both": 0.0}
    for (i, one), (j, two) in product(enumerate(scores), repeat=2):
        product_ = (one.value - rate) * (two.value - rate) / n**2
        parts["rater"] += product_ * (one.rater == two.rater)
        parts["prompt"] += product_ * (one.prompt == two.prompt)
        parts["both"] += product_ * (i == j)
    raters, prompts = len({s.rater for s in scores}), len({s.prompt for s in scores})
    by_rater = parts["rater"] * raters / (raters - 1)
    by_prompt = parts["prompt"] * prompts / (prompts - 1)
    variance = max(by_rater + by_prompt - parts["both"] * n / (n - 1), by_rater, by_prompt)
    half = float(stats.t.ppf(0.975, raters - 1)) * math.sqrt(variance)
    return rate, max(0, rate - half), min(1, rate + half)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_is_the_one_of_the_definition(seed):
    scores = drawn(random.Random(seed), raters=3 + 2 * seed, prompts=40, count=120)

    found = estimate(scores)

    assert found is not None
    assert (found.rate, found.low, found.high) == pytest.approx(by_definition(scores), abs=1e-6)
    assert found.clustered_by == "raters and prompts"
    assert (found.judgments, found.prompts, found.raters) == (120, 40, 3 + 2 * seed)
    assert found.ties == sum(score.value == 0.5 for score in scores)


@pytest.mark.parametrize("raters", [5, 10])
def test_the_interval_holds_the_truth_nineteen_times_in_twenty(raters):
    chance, truth, replicates = random.Random(4), true_rate(), 300
    found = [estimate(drawn(chance, raters, prompts=150, count=300)) for _ in range(replicates)]

    held = sum(one is not None and one.low <= truth <= one.high for one in found)

    assert 0.92 <= held / replicates <= 0.995


def test_quantiles_are_those_of_scipy():
    for freedom in (*range(1, 60), 99, 100, 249, 500, 999, 1000):
        assert t_quantile(freedom) == pytest.approx(float(stats.t.ppf(0.975, freedom)), abs=1e-6)


def test_without_judgments_there_is_no_rate():
    assert estimate([]) is None
    assert estimate([Score(0.5, "", "p1")]) is None


def test_two_raters_speak_for_themselves_only():
    scores = drawn(random.Random(1), raters=2, prompts=60, count=60)

    found = estimate(scores)

    assert found is not None
    assert (found.clustered_by, found.raters) == ("prompts", 2)
    half = stats.t.ppf(0.975, 59) * math.sqrt(sum((s.value - found.rate) ** 2 for s in scores) / 60 / 59)
    assert found.high - found.rate == pytest.approx(half, abs=1e-6)


@pytest.mark.parametrize(
    ("raters", "prompts", "low"),
    [
        (1, 1, 0.2),  # Wilson's lower end for n of n is n / (n + 1.96 ** 2)
        (1, 60, 0.94),
        (5, 1, 0.2),
        (3, 60, 0.44),
        (20, 60, 0.84),
    ],
)
def test_winning_always_is_no_proof_of_winning_always(raters, prompts, low):
    scores = [Score(1, f"r{number % raters}", f"p{number % prompts}") for number in range(raters * prompts)]

    found = estimate(scores)

    assert found is not None
    assert (found.rate, found.high) == (1, 1)
    assert found.low == pytest.approx(low, abs=0.01)


def test_one_prompt_says_little_however_many_judge_it():
    found = estimate([Score(float(number % 3 > 0), f"r{number}", "p") for number in range(30)])

    assert found is not None
    assert found.high - found.low > 0.6


def test_the_same_words_are_ties_and_no_rater():
    judged = drawn(random.Random(3), raters=4, prompts=40, count=40)

    found = estimate([*judged, *(Score(0.5, "", f"same {number}") for number in range(40))])

    alone = estimate(judged)
    assert found is not None
    assert alone is not None
    assert (found.judgments, found.raters, found.identical, found.ties) == (40, 4, 40, alone.ties)
    assert found.rate == pytest.approx((alone.rate + 0.5) / 2)


def test_all_ties_leave_the_middle():
    found = estimate([Score(0.5, f"r{number % 5}", f"p{number}") for number in range(50)])

    assert found is not None
    assert found.low < 0.5 < found.high
    assert found.rate == 0.5
