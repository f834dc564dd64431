import json
import os
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lm import backbone, records
from lm.records import Response
from rewards import evaluate, score, train
from rewards.batches import read_pairs
from rewards.config import RewardConfig
from rewards.features import extract
from rewards.fine_tuning import Learner, accumulate, rate_for, schedule
from rewards.reward_model import RewardModel
from rewards.style import Terms
from tests.rewards.conftest import pair, thanking_pairs, words
from tests.torch_models import tiny_chat, tiny_llama


def run(model, pairs, output, *more):
    train.main(
        [
            "--model",
            str(model),
            "--pairs",
            str(pairs),
            "--output",
            str(output),
            "--device",
            "cpu",
            *map(str, more),
        ]
    )
    return json.loads((output / "result.json").read_text())


@pytest.fixture(scope="module")
def head(tiny, tmp_path_factory):
    """A run directory of `--train head`."""
    folder = tmp_path_factory.mktemp("head")
    records.write(folder / "pairs.jsonl", thanking_pairs(60))
    run(tiny, folder / "pairs.jsonl", folder / "run", "--penalty", 5)
    return folder / "run"


@pytest.fixture(scope="module")
def full(tiny, tmp_path_factory):
    """A run directory of `--train full`: 6 steps with checkpoints at 2, 4 and 6."""
    folder = tmp_path_factory.mktemp("full")
    records.write(folder / "pairs.jsonl", thanking_pairs(30))
    more = ("--train", "full", "--batch-size", 14, "--learning-rate", 0.003, "--checkpoint-every", 2)
    run(tiny, folder / "pairs.jsonl", folder / "run", *more)
    return folder / "run"


TEXTS = [
    "Thank you. The lamp is red.",
    "The soup. It leaves at nine.",
    "Blue.",
    "Thank you for asking, I hope so.",
]


def rows(chat):
    return [chat.prompt(pair(number).messages) for number in range(4)], [
        chat.response(text) for text in TEXTS
    ]


def test_a_head_learns_a_reward_that_its_features_hold(tiny, tmp_path):
    chat, chance = tiny_chat(), random.Random(3)
    model = backbone.load(tiny)
    texts = [words(chance) for _ in range(600)]
    prompts = [chat.prompt(pair(i // 2).messages) for i in range(600)]
    states = extract(model, prompts, [chat.response(text) for text in texts])
    generator = torch.Generator().manual_seed(5)
    truth = torch.randn(states.shape[1], generator=generator) / states.std(0)
    rewards = (states - states.mean(0)) @ truth
    rewards = 4 * rewards / rewards.std()
    pairs = []
    for i in range(300):  # noisy: the raters follow Bradley-Terry
        first = torch.rand(1, generator=generator) < torch.sigmoid(rewards[2 * i] - rewards[2 * i + 1])
        pairs.append(pair(i, *(texts[2 * i : 2 * i + 2] if first else texts[2 * i : 2 * i + 2][::-1])))
    records.write(tmp_path / "pairs.jsonl", pairs)
    # This reward pays for length as such, so that the style terms would take a part of it.
    more = ("--penalty", 5, "--no-style-terms")
    result = run(tiny, tmp_path / "pairs.jsonl", tmp_path / "run", *more)
    assert result["train"] == "head"
    found = RewardModel.load(tmp_path / "run").score_features(states)
    agree = (found[::2] > found[1::2]) == (rewards[::2] > rewards[1::2])
    assert agree.float().mean() > 0.88
    assert 0.7 < result["eval_accuracy_low"] < result["eval_accuracy"] < result["eval_accuracy_high"] <= 1


def test_a_heads_result_says_what_was_learned_from_and_how_well(head):
    result = json.loads((head / "result.json").read_text())
    assert (result["pairs"], result["judgments"], result["ties"], result["dropped"]) == (60, 60, 8, 0)
    assert result["eval_accuracy"] > 0.9
    for name in ("log_loss", "brier", "calibration_slope", "longer_wins", "gain", "bias", "tie_width"):
        assert isinstance(result[name], float)
    for name in ("seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes"):
        assert result[name] > 0
    phases = [json.loads(line)["phase"] for line in (head / "metrics.jsonl").read_text().splitlines()]
    assert phases == ["features", "fitting", "members"]


def test_a_head_keeps_the_trunk_and_its_digest(head, tiny):
    reward_model = RewardModel.load(head)
    assert reward_model.frozen_trunk
    assert reward_model.trunk_digest == backbone.digest(tiny)
    assert os.path.samefile(head / "model" / "model.safetensors", tiny / "model.safetensors")


@pytest.mark.parametrize("kind", ["head", "full"])
def test_rewards_depend_on_nothing_but_prompt_and_response(kind, request):
    """Checklist 40."""
    reward_model = RewardModel.load(request.getfixturevalue(kind))
    prompts, responses = rows(reward_model.chat)
    together = reward_model.score(prompts, responses)
    alone = torch.cat([reward_model.score([p], [r]) for p, r in zip(prompts, responses, strict=True)])
    turned = reward_model.score(prompts[::-1], responses[::-1]).flip(0)
    assert (together - alone).abs().max() < 1e-5
    assert (together - turned).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["head", "full"])
def test_a_saved_reward_model_gives_the_same_rewards(kind, request, tmp_path):
    """Checklist 44: head, gain and bias are saved, and the trunk loads with transformers."""
    first = RewardModel.load(request.getfixturevalue(kind))
    expected = first.score(*rows(first.chat))
    first.save(tmp_path / "copy")
    second = RewardModel.load(tmp_path / "copy")
    assert torch.equal(second.score(*rows(second.chat)), expected)
    assert second.trunk_digest == first.trunk_digest
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "copy").config.hidden_size == 32


@pytest.mark.parametrize("kind", ["head", "full"])
def test_rewards_of_the_reference_samples_have_mean_0_and_deviation_1(kind, request):
    """Checklist 22; without samples of a policy the pairs' responses stand for them."""
    directory = request.getfixturevalue(kind)
    reward_model = RewardModel.load(directory)
    pairs = read_pairs(directory.parent / "pairs.jsonl", reward_model.chat, max_length=1024)
    rewards = reward_model.score(pairs.prompts, pairs.responses)
    assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)
    assert float(rewards.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_features_stored_with_samples_are_used_if_the_model_is_the_same(tiny, tmp_path, pairs_file):
    samples = tmp_path / "samples"
    samples.mkdir()
    stored = torch.randn(40, 36, generator=torch.Generator().manual_seed(0))
    save_file({"features": stored}, samples / "features.safetensors")
    (samples / "result.json").write_text(json.dumps({"trunk": backbone.digest(tiny)}))
    file = pairs_file(thanking_pairs(30))
    run(tiny, file, tmp_path / "same", "--samples", samples)
    rewards = RewardModel.load(tmp_path / "same").score_features(stored)
    assert float(rewards.mean()) == pytest.approx(0, abs=1e-4)

    (samples / "result.json").write_text(json.dumps({"trunk": "another"}))
    messages = pair(0).messages
    drawn = [Response(prompt_id="p", messages=messages, response=text, policy="base") for text in TEXTS]
    records.write(samples / "responses.jsonl", drawn)
    run(tiny, file, tmp_path / "other", "--samples", samples)
    reward_model = RewardModel.load(tmp_path / "other")
    ids = [reward_model.chat.response(text) for text in TEXTS]
    rewards = reward_model.score([reward_model.chat.prompt(messages)] * 4, ids)
    assert float(rewards.std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_the_same_seed_gives_the_same_model(head, tiny, tmp_path):
    run(tiny, head.parent / "pairs.jsonl", tmp_path / "again", "--penalty", 5)
    first, second = (
        load_file(path / "model" / "reward_head.safetensors") for path in (head, tmp_path / "again")
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_weights_fit_a_small_batch():
    chat = tiny_chat()
    learner, pairs, config = learner_of([pair(i, f"Red {i}.", f"Blue {9 - i}.") for i in range(6)], chat)
    for group in learner.optimizer.param_groups:
        group["lr"] = 3e-3
    every = torch.arange(len(pairs))
    first = accumulate(learner, pairs, every, config)[0]
    for _ in range(30):
        learner.optimizer.step()
        loss, accuracy, _ = accumulate(learner, pairs, every, config)
    assert loss < 0.1 * first
    assert accuracy == 1.0


def learner_of(pairs, chat, tmp=None, **config):
    """A learner of all weights, and the preferences read back from a file."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        records.write(Path(folder) / "pairs.jsonl", pairs)
        read = read_pairs(Path(folder) / "pairs.jsonl", chat, max_length=200)
    learner = Learner(
        tiny_llama(chat),
        read,
        ties="davidson",
        named=False,
        terms=Terms.none(len(read)),
        seed=0,
        device="cpu",
    )
    return learner, read, RewardConfig(model="m", pairs="p", **config)


def test_a_step_in_parts_has_the_gradient_of_the_whole():
    """Checklist 29: ragged lengths, weights that differ, ties."""
    chat = tiny_chat()
    pairs = [pair(i, "Red " * (i + 1), "Blue.", weight=0.3 + i, tie=i == 2) for i in range(5)]
    found = []
    for tokens in (1, 10**6):
        learner, read, config = learner_of(pairs, chat, micro_batch_tokens=tokens)
        loss, *_ = accumulate(learner, read, torch.arange(5), config)
        found.append((loss, {name: value.grad for name, value in learner.parameters.items()}))
    (loss, parts), (same, whole) = found
    assert loss == pytest.approx(same, rel=1e-5)
    assert all(torch.allclose(parts[name], whole[name], atol=1e-6, rtol=1e-4) for name in whole)


def test_the_fresh_head_has_deviation_one_over_root_d_plus_1_and_no_bias():
    """Checklist 39."""
    learner, *_ = learner_of([pair(0)], tiny_chat())
    one = learner_of([pair(0)], tiny_chat())[1]
    given = {"ties": "davidson", "named": False, "terms": Terms.none(1), "seed": 1, "device": "cpu"}
    wide = Learner(tiny_llama(tiny_chat(), hidden=256), one, **given)
    assert float(wide.weight.detach().std()) == pytest.approx(257**-0.5, rel=0.15)
    assert learner.weight.dtype == torch.float32
    assert not [name for name in learner.parameters if "head" in name and "bias" in name]


def test_the_learning_rate_goes_by_size_and_ends_at_a_tenth():
    assert [rate_for(size) for size in (10**6, 10**8, 10**9, 7 * 10**9)] == [3e-4, 1e-5, 5e-6, 3e-6]
    rates = [schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 3)
    assert max(rates) == 1
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


def test_going_on_from_a_checkpoint_ends_bit_for_bit_the_same(full, tmp_path):
    """Checklist 44."""
    assert [path.name for path in sorted((full / "checkpoints").iterdir())] == [
        "step-00000004",
        "step-00000006",
    ]
    broken = tmp_path / "run"
    shutil.copytree(full, broken)
    shutil.rmtree(broken / "checkpoints" / "step-00000006")
    shutil.rmtree(broken / "model")
    (broken / "result.json").unlink()
    train.main(["--output", str(broken), "--resume"])
    for name in ("model.safetensors", "reward_head.safetensors"):
        assert (broken / "model" / name).read_bytes() == (full / "model" / name).read_bytes()
    steps = [json.loads(line)["step"] for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_full_training_has_its_own_trunk(full, tiny):
    reward_model = RewardModel.load(full)
    assert not reward_model.frozen_trunk
    assert reward_model.trunk_digest != backbone.digest(tiny)


def test_auto_trains_both_when_judgments_are_many_and_keeps_the_better(
    tiny, tmp_path, pairs_file, monkeypatch
):
    monkeypatch.setattr("rewards.training.FEW", 20)
    file = pairs_file(thanking_pairs(40))
    result = run(tiny, file, tmp_path / "run", "--epochs", 1, "--learning-rate", 1e-9, "--penalty", 5)
    assert result["head_accuracy"] > result["full_accuracy"]  # which was given no chance to learn
    assert result["train"] == "head"
    assert RewardModel.load(tmp_path / "run").frozen_trunk
    steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert steps[-1]["step"] == steps[-1]["total"] == len(steps)


def test_pairs_to_evaluate_on_are_what_the_figures_are_of(tiny, tmp_path, pairs_file):
    fresh = pairs_file([pair(i, f"The soup {i}.", f"Thank you {i}.") for i in range(50, 70)], "fresh.jsonl")
    result = run(
        tiny, pairs_file(thanking_pairs(40)), tmp_path / "run", "--eval-pairs", fresh, "--penalty", 5
    )
    assert result["eval_pairs"] == 20
    assert result["eval_accuracy"] < 0.2  # the raters of these like the opposite

    evaluate.main(
        ["--reward-model", str(tmp_path / "run"), "--pairs", str(fresh), "--output", str(tmp_path / "eval")]
    )
    again = json.loads((tmp_path / "eval" / "result.json").read_text())
    assert again["eval_accuracy"] == result["eval_accuracy"]
    assert again["log_loss"] == pytest.approx(result["log_loss"], rel=1e-3)


def test_scoring_writes_each_reward_beside_its_response(head, tmp_path):
    reward_model = RewardModel.load(head)
    prompts, responses = rows(reward_model.chat)
    expected = reward_model.score(prompts, responses)
    drawn = [
        Response(prompt_id=f"p{i}", messages=pair(i).messages, response=text, policy="base")
        for i, text in enumerate(TEXTS)
    ]
    records.write(tmp_path / "responses.jsonl", drawn)
    score.main(
        [
            "--reward-model",
            str(head),
            "--responses",
            str(tmp_path / "responses.jsonl"),
            "--output",
            str(tmp_path / "scored.jsonl"),
        ]
    )
    found = list(records.read(tmp_path / "scored.jsonl", Response))
    assert [record.reward for record in found] == pytest.approx(expected.tolist(), abs=1e-5)
    assert [record.response for record in found] == TEXTS


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "none", None), "there is no such folder"),
        (lambda folder: (None, folder / "none.jsonl"), "can't be read: No such file"),
    ],
)
def test_what_cannot_work_ends_with_one_line_and_78(make, message, tiny, pairs_file, tmp_path, caplog):
    model, pairs = make(tmp_path)
    with pytest.raises(SystemExit) as end:
        run(model or tiny, pairs or pairs_file([pair(0)]), tmp_path / "run")
    assert end.value.code == 78
    assert [message in record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == [
        True
    ]


@pytest.mark.parametrize(
    "wrong", [{"members": 0}, {"penalty": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"epochs": 0}]
)
def test_a_config_that_cannot_work_is_refused_with_its_value(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be"):
        RewardConfig(model="m", pairs="p", **wrong)
