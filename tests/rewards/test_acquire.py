"""The command that chooses what to ask: what is in its file, and what it refuses."""

import json
import random
from collections import Counter

import pytest
import torch

from lm import records
from lm.config import ConfigError
from lm.records import Comparison, Message, Response, WaitingComparison
from rewards import acquire, score_comparisons, train
from rewards.acquire import choose, standardised
from rewards.batches import read_pairs
from rewards.config import AcquireConfig, ScoreComparisonsConfig
from rewards.information import Gains
from rewards.reward_model import RewardModel
from tests.rewards.conftest import pair, thanking_pairs, words
from tests.torch_models import tiny_chat

PROMPTS, ANSWERS = 12, 4


@pytest.fixture(scope="module")
def reward_model(tiny, tmp_path_factory):
    """A run that trained a head on 60 judgments, with its labels beside it."""
    folder = tmp_path_factory.mktemp("acquire")
    records.write(folder / "pairs.jsonl", thanking_pairs(60))
    given = [
        "--model",
        str(tiny),
        "--pairs",
        str(folder / "pairs.jsonl"),
        "--train",
        "head",
        "--members",
        "2",
    ]
    train.main([*given, "--output", str(folder / "run")])
    return folder


def responses(prompts: int = PROMPTS, answers: int = ANSWERS, seed: int = 3) -> list[Response]:
    chance = random.Random(seed)
    return [
        Response(
            prompt_id=f"p{number}",
            messages=pair(number).messages,
            response=f"{'Thank you. ' * (place % 2)}{words(chance, 6)} {place}.",
            policy="some",
        )
        for number in range(prompts)
        for place in range(answers)
    ]


@pytest.fixture
def ask(reward_model, tmp_path):
    """Run the command on these responses; the comparisons that it wrote."""

    def run(*options: object, lines=None, labels: bool = True, flag: str = "--responses"):
        records.write(tmp_path / "pool.jsonl", responses() if lines is None else lines)
        given = ["--reward-model", reward_model / "run", flag, tmp_path / "pool.jsonl"]
        given += ["--labels", reward_model / "pairs.jsonl"] if labels else []
        acquire.main([*map(str, given), *map(str, options), "--output", str(tmp_path / "asked.jsonl")])
        return list(records.read(tmp_path / "asked.jsonl", Comparison))

    return run


def test_a_fifth_is_uniform_and_the_rest_tells_most(ask, capsys):
    found = ask("--count", 10, "--uniform-below", 0)

    pool = PROMPTS * ANSWERS * (ANSWERS - 1) // 2
    uniform, active = found[:2], found[2:]
    assert {(one.purpose, one.stratum, one.probability) for one in uniform} == {
        ("uniform",) * 2 + (2 / pool,)
    }
    assert {(one.purpose, one.stratum, one.probability) for one in active} == {("active", "active", 1.0)}
    assert [one.score for one in active] == sorted((one.score for one in active), reverse=True)
    assert max(Counter(one.prompt_id for one in active).values()) <= 2
    assert len({(one.prompt_id, frozenset(one.responses)) for one in found}) == 10
    assert f"10 of {pool} pairs: 2 uniform, 8 by what they tell" in capsys.readouterr().out


def test_the_same_seed_chooses_the_same_and_another_seed_others(ask):
    options = ("--count", 12, "--uniform-below", 0, "--uniform-share", 0.5)
    first = ask(*options)
    assert ask(*options) == first
    assert ask(*options, "--seed", 1)[:6] != first[:6]


def test_few_judgments_make_all_uniform_and_that_is_said(ask, capsys):
    found = ask("--count", 6)
    assert {one.stratum for one in found} == {"uniform"}
    assert "60 judgments, and below 300 all are drawn uniformly" in capsys.readouterr().out


def test_without_labels_the_run_says_how_many_judgments_there_are(ask):
    assert {one.stratum for one in ask("--count", 6, labels=False)} == {"uniform"}
    found = ask("--count", 10, "--uniform-below", 60, labels=False)
    assert Counter(one.stratum for one in found) == {"active": 8, "uniform": 2}


def test_with_a_temperature_what_is_drawn_carries_its_chance(ask):
    found = ask("--count", 10, "--uniform-below", 0, "--temperature", 0.5)
    drawn = [one for one in found if one.stratum == "sampled"]
    assert len(drawn) == 8
    assert all(0 < one.probability <= 1 for one in drawn)
    assert max(Counter(one.prompt_id for one in drawn).values()) <= 2


def test_what_was_judged_is_not_asked_again(ask, reward_model):
    judged = list(records.read(reward_model / "pairs.jsonl", records.Pair))[:6]
    lines = [
        Response(prompt_id=one.prompt_id, messages=one.messages, response=text, policy="some")
        for one in judged
        for text in (one.chosen, one.rejected, "Another one.")
    ]

    found = ask("--count", 12, lines=lines)

    assert all("Another one." in one.responses for one in found)


def test_pairs_of_a_file_of_comparisons_are_a_pool_too(ask):
    lines = [
        Comparison(prompt_id=f"p{n}", messages=pair(n).messages, responses=(f"One {n}.", f"Two {n}."))
        for n in range(5)
    ]
    found = ask("--count", 4, lines=[*lines, lines[0]], flag="--comparisons")
    assert {one.probability for one in found} == {4 / 5}
    assert {one.responses for one in found} < {one.responses for one in lines}


def test_gains_are_those_of_the_features_written_out(reward_model, tmp_path):
    records.write(tmp_path / "pool.jsonl", responses(prompts=3))
    config = AcquireConfig(
        reward_model=reward_model / "run",
        responses=tmp_path / "pool.jsonl",
        output=tmp_path / "out",
        penalty=5,
        dimensions=1000,
    )
    model = RewardModel.load(config.reward_model)
    labels = read_pairs(reward_model / "pairs.jsonl", tiny_chat(), max_length=200)
    found = acquire.read_candidates(config, model, max_length=200)

    gains = acquire.gains_of(
        model,
        found.items,
        labels,
        first=torch.tensor(found.first),
        second=torch.tensor(found.second),
        penalty=5,
        dimensions=1000,
    )

    judged = model.features(labels.prompts, labels.responses)
    asked = model.features(found.items.prompts, found.items.responses)
    together = torch.cat([asked, judged]).double()
    scale = together.std(0, correction=0) + 1e-4
    rewards = model.score_features(judged) * model.logits_per_reward
    precision = 5 * torch.eye(len(scale), dtype=torch.float64)
    for one, other, weight in zip(labels.chosen, labels.rejected, labels.weight, strict=True):
        x = (judged[one] - judged[other]).double() / scale
        p = torch.sigmoid(rewards[one] - rewards[other]).double()
        precision += weight * p * (1 - p) * torch.outer(x, x)
    one, other = found.first[4], found.second[4]
    x = (asked[one] - asked[other]).double() / scale
    variance = x @ torch.linalg.inv(precision) @ x
    logit = (model.score_features(asked[[one, other]]) * model.logits_per_reward).diff().neg()
    p = torch.sigmoid(logit / (1 + torch.pi * variance / 8).sqrt())
    assert float(gains.now()[4]) == pytest.approx(float(torch.log1p(p * (1 - p) * variance)), rel=1e-4)


def test_the_directions_kept_are_those_in_which_responses_to_a_prompt_differ():
    generator = torch.Generator().manual_seed(0)
    prompt = torch.arange(300) // 3
    between = torch.randn(100, 20, generator=generator, dtype=torch.float64)[prompt]
    within = torch.zeros(300, 20, dtype=torch.float64)
    within[:, :4] = torch.randn(300, 4, generator=generator, dtype=torch.float64)
    features = between + within

    rows = standardised(features, prompt, dimensions=4)

    whole = standardised(features, prompt, dimensions=20)
    pairs = torch.tensor([[0, 1], [3, 5], [298, 299]])
    kept = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).square().sum(1)
    torch.testing.assert_close(kept, (whole[pairs[:, 0]] - whole[pairs[:, 1]]).square().sum(1))


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        ([], (), "where no prompt has two different responses"),
        (responses(answers=1), (), "where no prompt has two different responses"),
        (responses(prompts=1), ("--count", 7), "count is 7, but there are 6 pairs to choose from"),
        (responses(), ("--count", 40, "--uniform-below", 0), "count is 40 and per_prompt 2: beside 8 drawn"),
        (responses(), ("--max-length", 5), "two different responses of at most 5 tokens"),
        ([*responses(1), Response(prompt_id="p0", messages=pair(9).messages, response="x", policy="p")],
         (), "whose record 5 gives the prompt_id 'p0' to other messages"),
        ([Response(prompt_id="p0", response="x", policy="p")], (), "whose record 1 has no messages"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_ends_with_one_line_and_78(ask, lines, options, message, caplog):
    with pytest.raises(SystemExit) as end:
        ask(*options, lines=lines)
    assert end.value.code == 78
    assert [message in one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == [True]


def test_a_file_that_is_not_there_is_named(reward_model, tmp_path, caplog):
    with pytest.raises(SystemExit) as end:
        acquire.main(
            f"--reward-model {reward_model}/run --responses {tmp_path}/none --output {tmp_path}/o".split()
        )
    assert end.value.code == 78
    assert f"{tmp_path}/none: No such file or directory" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"comparisons": "c"}, "one of responses and comparisons"),
        ({"responses": None}, "one of responses and comparisons"),
        ({"uniform_share": 1.5}, "uniform_share must be 0 to 1, not 1.5"),
        ({"temperature": 0.0}, "temperature must be 0.1 to 100, not 0.0"),
        ({"count": 0}, "count must be 1 or more, not 0"),
        ({"penalty": 0.0}, "penalty must be above 0, not 0.0"),
    ],
)
def test_a_config_that_cannot_work_is_refused_with_its_value(wrong, message):
    with pytest.raises(ValueError, match=message):
        AcquireConfig(**{"reward_model": "m", "responses": "r", "output": "o", **wrong})


def test_each_stratum_tells_the_mean_of_the_pool_by_its_stored_chances():
    """As K14: the share of pairs that the first wins, where scores and wins go together."""
    generator = torch.Generator().manual_seed(2)
    rows = (
        torch.randn(240, 5, generator=generator, dtype=torch.float64)
        * torch.rand(240, 1, generator=generator)
        * 3
    )
    prompts = torch.arange(240) // 6
    scores = Gains(rows, torch.zeros(240), torch.eye(5, dtype=torch.float64)).now()
    wins = (scores > scores.median()).double()
    found = {"uniform": [], "sampled": []}
    for seed in range(200):
        gains = Gains(rows, torch.zeros(240), torch.eye(5, dtype=torch.float64))
        chosen = choose(gains, prompts, count=60, uniform_share=0.4, per_prompt=2, temperature=1.0, seed=seed)
        for stratum, means in found.items():
            those = [one for one in chosen if one.stratum == stratum]
            weights = torch.tensor([1 / one.probability for one in those])
            values = wins[[one.place for one in those]]
            means.append(float((weights * values).sum() / weights.sum()))
    for means in found.values():
        assert sum(means) / len(means) == pytest.approx(float(wins.mean()), abs=0.02)


def test_a_batch_as_large_as_the_pool_takes_all_of_it():
    rows = torch.randn(6, 3, dtype=torch.float64)
    given = {"count": 6, "uniform_share": 0.5, "per_prompt": 6, "seed": 0}
    for temperature in (None, 1.0):
        gains = Gains(rows, torch.zeros(6), torch.eye(3, dtype=torch.float64))
        chosen = choose(gains, torch.zeros(6, dtype=torch.long), temperature=temperature, **given)
        assert sorted(one.place for one in chosen) == list(range(6))
    with pytest.raises(ConfigError, match="count is 7, but there are 6 pairs"):
        choose(gains, torch.zeros(6, dtype=torch.long), temperature=None, **{**given, "count": 7})


def test_comparisons_that_wait_get_scores_in_the_order_to_ask(reward_model, tmp_path):
    texts = [line.response for line in responses(1, 9)]
    waiting = [
        WaitingComparison(
            comparison_id=str(number), prompt_id="p0", messages=pair(0).messages, responses=tuple(some)
        )
        for number, some in enumerate([texts[:2], texts[2:4], texts[4:7], texts[:2], ["x", "long " * 500]])
    ]
    records.write(tmp_path / "waiting.jsonl", waiting)

    score_comparisons.main(
        f"--reward-model {reward_model}/run --comparisons {tmp_path}/waiting.jsonl --max-length 200 "
        f"--labels {reward_model}/pairs.jsonl --output {tmp_path}/scores".split()
    )

    found = {
        one.comparison_id: one for one in records.read(tmp_path / "scores/scored.jsonl", WaitingComparison)
    }
    assert set(found) == {"0", "1", "2", "3"}
    assert found["0"].score > found["3"].score > 0  # the same pair tells less the second time
    result = json.loads((tmp_path / "scores/result.json").read_text())
    assert (result["comparisons"], result["scored"], result["over_long"]) == (5, 4, 1)
    assert result["judgments"] == 60


def test_a_waiting_comparison_needs_its_id_and_a_config_its_numbers():
    with pytest.raises(records.RecordError, match="comparison_id: must not be blank"):
        WaitingComparison(
            comparison_id=" ",
            prompt_id="p",
            messages=(Message(role="user", content="?"),),
            responses=("a", "b"),
        )
    with pytest.raises(ValueError, match="count must be 1 or more, not 0"):
        ScoreComparisonsConfig(reward_model="m", comparisons="c", count=0)
