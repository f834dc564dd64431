"""Checklist 37 (equal scores count half) and 42: the figures, against sums written out by hand."""

import json
import math
import random

import pytest
import torch

from lm import records
from lm.records import Response
from rewards import evaluate, train
from rewards.batches import read_pairs
from rewards.evaluate import measure
from rewards.intervals import Estimate
from rewards.reward_model import RewardModel
from tests.rewards.conftest import pair, thanking_pairs, words
from tests.torch_models import tiny_chat


@pytest.fixture
def decided(pairs_file):
    """Four prompts; in the first the chosen response is longer, in the rest as long."""
    pairs = [
        pair(0, "The lamp is red and made of wood.", "Red."),
        *(pair(i, f"Red {i}.", f"Blue {i}.") for i in (1, 2, 3)),
    ]
    return read_pairs(pairs_file(pairs), tiny_chat(), max_length=100)


def test_equal_rewards_count_half(decided):
    found = measure(torch.tensor([1.0, 0.0, -1.0, 2.0]), decided)
    assert found["eval_accuracy"] == pytest.approx((1 + 0.5 + 0 + 1) / 4)


def test_log_loss_and_brier_score_are_their_sums(decided):
    logits = [1.0, 0.0, -1.0, 2.0]
    p = [1 / (1 + math.exp(-value)) for value in logits]
    found = measure(torch.tensor(logits), decided)
    assert found["log_loss"] == pytest.approx(sum(-math.log(value) for value in p) / 4)
    assert found["brier"] == pytest.approx(sum((1 - value) ** 2 for value in p) / 4)


def test_longer_wins_and_pairs_of_like_length_stand_beside_the_accuracy(decided):
    found = measure(torch.tensor([1.0, 1.0, 1.0, -1.0]), decided)
    assert found["longer_wins"] > 0.5
    assert found["length_matched_pairs"] == int(
        sum(
            len(decided.responses[a]) == len(decided.responses[b])
            for a, b in zip(decided.chosen, decided.rejected, strict=True)
        )
    )


def test_ties_and_pairs_without_a_prediction_are_left_out(pairs_file):
    pairs = read_pairs(pairs_file([pair(0), pair(1, tie=True), pair(2)]), tiny_chat(), max_length=100)
    assert measure(torch.tensor([1.0, -9.0, math.nan]), pairs)["eval_pairs"] == 1
    assert measure(torch.full((3,), math.nan), pairs)["eval_accuracy"] is None


def test_pairs_of_one_prompt_that_go_alike_widen_the_interval(pairs_file):
    alike = [pair(i // 10, f"Red {i}.", f"Blue {i}.") for i in range(200)]
    apart = [pair(i, f"Red {i}.", f"Blue {i}.") for i in range(200)]
    logits = torch.where(torch.arange(200) // 10 % 4 == 0, -1.0, 1.0)
    widths = []
    for pairs in (alike, apart):
        found = measure(logits, read_pairs(pairs_file(pairs), tiny_chat(), max_length=100))
        assert found["eval_accuracy_low"] < 0.75 < found["eval_accuracy_high"]
        widths.append(found["eval_accuracy_high"] - found["eval_accuracy_low"])
    assert widths[0] > 2 * widths[1]
    assert widths[1] == pytest.approx(2 * 1.96 * math.sqrt(0.75 * 0.25 / 200), abs=0.01)


def test_a_folder_without_a_reward_model_is_refused(tiny, pairs_file, capsys, caplog):
    with pytest.raises(SystemExit) as end:
        evaluate.main(["--reward-model", str(tiny), "--pairs", str(pairs_file([pair(0)]))])
    assert end.value.code == 78
    assert "is no reward model" in caplog.text


def test_the_figures_are_of_comparisons_that_were_not_chosen_and_of_the_whole(pairs_file):
    found = [
        pair(0, purpose="uniform"),
        pair(1, purpose="active"),
        pair(2, purpose="gold"),
        pair(3),
        pair(4, criterion="honest", purpose="uniform"),
    ]
    pairs = read_pairs(pairs_file(found), tiny_chat(), max_length=100)
    which, name = evaluate.headline(pairs)
    assert (which.tolist(), name) == ([True, False, False, True, False], "uniform")
    chosen = pairs.where(pairs.purpose == pairs.purposes.index("active"))
    assert evaluate.headline(chosen)[1] == "all"


def test_the_interval_knows_of_raters(pairs_file):
    """Two of ten raters always choose as the model does not."""
    found = [pair(i, f"Red {i}.", f"Blue {i}.", rater=f"r{i % 10}") for i in range(200)]
    pairs = read_pairs(pairs_file(found), tiny_chat(), max_length=100)
    named = measure(torch.where(torch.arange(200) % 10 < 2, -1.0, 1.0), pairs)
    unnamed = measure(
        torch.where(torch.arange(200) % 10 < 2, -1.0, 1.0),
        read_pairs(
            pairs_file([pair(i, f"Red {i}.", f"Blue {i}.") for i in range(200)]), tiny_chat(), max_length=100
        ),
    )
    assert named["eval_clustered_by"] == "prompt and rater"
    assert named["eval_raters"] == 10
    assert named["eval_accuracy"] == unnamed["eval_accuracy"] == pytest.approx(0.8)
    assert named["eval_accuracy_low"] < unnamed["eval_accuracy_low"] - 0.1


def test_a_drop_has_newcombes_interval():
    here, there = Estimate(0.8, 0.0016, 100, 1000), Estimate(0.7, 0.0021, 100, 1000)
    found = evaluate._drop(here, there)
    (low, high), (there_low, there_high) = here.interval(), there.interval()
    assert found["drop"] == pytest.approx(0.1)
    assert found["drop_low"] == pytest.approx(0.1 - math.sqrt((0.8 - low) ** 2 + (there_high - 0.7) ** 2))
    assert found["drop_high"] == pytest.approx(0.1 + math.sqrt((high - 0.8) ** 2 + (0.7 - there_low) ** 2))


def overlapping(count, seed, purpose="uniform", at=0):
    """Thanking pairs, every third judged by two raters; one judgment in eight is the wrong way round."""
    chance, found = random.Random(seed), []
    for number, each in enumerate(thanking_pairs(count, seed)):
        for rater in chance.sample(range(12), 2 if number % 3 == 0 else 1):
            turned = chance.random() < 0.125
            chosen, rejected = (each.chosen, each.rejected)[:: -1 if turned else 1]
            more = {
                "tie": each.tie,
                "rater": f"r{rater}",
                "group": "ab"[rater % 2],
                "first": chance.choice(["chosen", "rejected"]),
                "strength": chance.randint(1, 3),
                "judgment_id": f"{at + number}-{rater}",
                "comparison_id": f"{at + number}",
                "purpose": "overlap" if number % 3 == 0 else purpose,
            }
            found.append(pair(at + number, chosen, rejected, **more))
    return found


@pytest.fixture(scope="module")
def evaluated(tiny, tmp_path_factory):
    """A head's run directory and that of its evaluation, with everything that can be given."""
    folder = tmp_path_factory.mktemp("evaluated")
    chance = random.Random(1)
    files = {
        "pairs": overlapping(200, 0),
        "fresh": overlapping(120, 5, at=1000),
        "policy": overlapping(60, 9, at=2000),
        "samples": [
            Response(
                prompt_id=f"p{i // 2}", messages=pair(i // 2).messages, response=words(chance), policy="x"
            )
            for i in range(40)
        ],
    }
    for name, rows in files.items():
        records.write(folder / f"{name}.jsonl", rows)
    lines = [{"prompt": "Hi", "chosen": "Thank you. Yes.", "rejected": "The soup.", "subset": "chat"}] * 3
    (folder / "bench.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train.main(
        f"--model {tiny} --pairs {folder}/pairs.jsonl --output {folder}/run --penalty 5 --device cpu".split()
    )
    evaluate.main(
        f"--reward-model {folder}/run --pairs {folder}/fresh.jsonl --policy-pairs {folder}/policy.jsonl "
        f"--policy-samples {folder}/samples.jsonl --bench {folder}/bench.jsonl --probes 20 --device cpu "
        f"--output {folder}/evaluation".split()
    )
    return folder


def result(folder):
    return json.loads((folder / "result.json").read_text())


def test_an_evaluation_gives_what_all_nine_gates_need(evaluated):
    found = result(evaluated / "evaluation")
    assert [gate["gate"] for gate in found["gates"]] == [f"G{number}" for number in range(1, 10)]
    assert all(gate["passed"] is not None for gate in found["gates"] if gate["gate"] != "G4")
    assert found["stratum"] == "uniform"
    assert found["agreement_source"] == "overlap"
    assert 0 < found["share_of_ceiling_low"] < found["share_of_ceiling"]
    assert found["eval_accuracy"] > 0.7
    assert sum(row["pairs"] for row in found["reliability"]) == found["eval_pairs"]
    assert {row["name"] for row in found["by_purpose"]} == {"uniform", "overlap"}
    assert [row["name"] for row in found["by_strength"]] == ["1", "2", "3"]
    assert all(not row["published"] for row in found["by_group"])
    assert set(found["style_share"]) == {"length", "markdown", "both", "length_partial", "length_part"}
    assert found["policy"]["drop"] == pytest.approx(found["eval_accuracy"] - found["policy"]["accuracy"])
    assert found["disagreement"]["ratio"] > 0
    assert [(row["name"], row["count"]) for row in found["bench"]["subsets"]] == [("chat", 3)]
    assert found["bench"]["mean"] in (0.0, 1.0)  # three times the same line
    assert found["peak_memory_bytes"] > 0


def test_its_log_odds_are_those_of_the_reward_model_a_pair_at_a_time(evaluated):
    reward_model = RewardModel.load(evaluated / "run")
    pairs = read_pairs(evaluated / "fresh.jsonl", reward_model.chat, max_length=500)
    log_odds = evaluate.logits_of(reward_model, pairs)
    for place in range(0, len(pairs), 29):
        items = [int(pairs.chosen[place]), int(pairs.rejected[place])]
        one, other = (reward_model.score([pairs.prompts[i]], [pairs.responses[i]]) for i in items)
        assert float(log_odds[place]) == pytest.approx(
            float(one - other) * reward_model.logits_per_reward, abs=1e-4
        )


def test_mistakes_and_disputed_pairs_are_written_by_both_commands(evaluated):
    for run in ("run", "evaluation"):
        rows = [json.loads(line) for line in (evaluated / run / "mistakes.jsonl").read_text().splitlines()]
        assert rows
        assert all(row["log_odds"] < 0 for row in rows)
        assert [row["log_odds"] for row in rows] == sorted(row["log_odds"] for row in rows)
        rows = [json.loads(line) for line in (evaluated / run / "disputed.jsonl").read_text().splitlines()]
        assert len(rows) == 20
        assert [row["deviation"] for row in rows] == sorted((row["deviation"] for row in rows), reverse=True)


def test_a_heads_training_reports_its_learning_curve_and_the_evaluation_passes_it_on(evaluated):
    curve = result(evaluated / "run")["learning_curve"]
    assert [point["share"] for point in curve["points"]] == [0.125, 0.25, 0.5, 1.0]
    assert curve["doubling_gain_low"] < curve["doubling_gain"] < curve["doubling_gain_high"]
    assert result(evaluated / "evaluation")["learning_curve"] == curve


def test_without_an_output_the_figures_are_printed_and_nothing_is_written(evaluated, capsys):
    before = sorted(evaluated.rglob("*"))
    evaluate.main(
        ["--reward-model", f"{evaluated}/run", "--bench", f"{evaluated}/bench.jsonl", "--device", "cpu"]
    )
    printed = capsys.readouterr().out
    assert "chat  3" in printed
    assert "eval_accuracy" not in printed
    assert sorted(evaluated.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "pairs or bench must be given"),
        (["--bench", "x", "--policy-pairs", "y"], "policy_pairs is compared with pairs"),
        (["--pairs", "x", "--base-samples", "y"], "base_samples are for policy_samples"),
        (["--pairs", "x", "--kl-budget", "0"], "kl_budget must be above 0, not 0.0"),
        (["--pairs", "x", "--probes", "-1"], "probes must be 0 or more, not -1"),
        (["--pairs", "x", "--flattery", " "], "flattery must not be blank"),
    ],
)
def test_what_cannot_work_is_refused(more, said, capsys):
    with pytest.raises(SystemExit) as end:
        evaluate.main(["--reward-model", "somewhere", *more])
    assert end.value.code == 78
    assert said in capsys.readouterr().err
