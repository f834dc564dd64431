"""All weights, adapters, several processes: whatever way a step is computed, it is the same step."""

import copy
import json
import os
import random
import subprocess
import sys

import pytest
import torch
from torch.nn.functional import softplus

from lm import backbone, logprobs, packed, records
from rewards import adapters, style
from rewards.batches import read_pairs
from rewards.config import RewardConfig
from rewards.fine_tuning import Learner, accumulate, checkpointed, rate_for
from rewards.reward_model import RewardModel
from rewards.style import Terms
from tests.rewards.conftest import pair, thanking_pairs
from tests.rewards.test_train import run
from tests.torch_models import tiny_chat, tiny_llama

CONFIG = RewardConfig(model="m", pairs="p")


def ragged_pairs():
    """Rankings of two to four responses of many lengths, weights, margins and ties among them."""
    found = []
    for number in range(5):
        size = 2 + number % 3
        texts = [f"{'The lamp is red. ' * (1 + place + number)}{place}" for place in range(size)]
        for first in range(size):
            for second in range(first + 1, size):
                more = {"judgment_id": f"j{number}", "size": size, "tie": (first + second + number) % 5 == 4}
                found.append(pair(number, texts[first], texts[second], **more))
    return [*found, pair(7, "Red.", "Blue, and blue.", weight=0.4, margin=0.7)]


@pytest.fixture
def ragged(pairs_file):
    return read_pairs(pairs_file(ragged_pairs()), tiny_chat(), max_length=400)


def learner_of(preferences, *, precision="float32", model=None, **more):
    torch.manual_seed(0)
    given = {
        "ties": "davidson",
        "named": False,
        "terms": Terms.none(len(preferences)),
        "seed": 0,
        "device": "cpu",
    }
    return Learner(model or tiny_llama(tiny_chat()), preferences, precision=precision, **given, **more)


def gradients(learner):
    return {name: value.grad.clone() for name, value in learner.parameters.items()}


def pairwise(learner, preferences):
    """Every pair by two forwards of its own rows, and the sum written out by hand."""
    learner.optimizer.zero_grad()
    total, norm = torch.zeros(()), float(preferences.weight.sum())
    for place in range(len(preferences)):
        rewards = []
        for item in (preferences.chosen[place], preferences.rejected[place]):
            ids = torch.tensor([[*preferences.prompts[item], *preferences.responses[item]]])
            states = learner.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            rewards.append(states[0, -1] @ learner.weight)
        d = rewards[0] - rewards[1] - preferences.margin[place].float()
        if preferences.below_best[place]:
            d = d * (1 + 0.5 * learner.raters.parameters["below_best"])
        log_width = learner.raters.parameters["width"]
        log_norm = torch.logsumexp(torch.stack([d / 2, log_width, -d / 2]), 0)
        likely = log_width - log_norm if preferences.tie[place] else d / 2 - log_norm
        total = total - preferences.weight[place].float() * likely / norm
    total.backward()
    return float(total.detach()), gradients(learner)


def test_prompt_shared_padded_and_pair_by_pair_are_one_loss_and_one_gradient(ragged, monkeypatch):
    """Checklist 38."""
    every = torch.arange(len(ragged))
    forms = {}
    learner = learner_of(ragged)
    loss, *_ = accumulate(learner, ragged, every, CONFIG)
    forms["shared"] = loss, gradients(learner)
    assert packed.prepare(learner.model)
    flat = learner_of(ragged)
    monkeypatch.setattr(logprobs, "packs", lambda *_: False)
    loss, *_ = accumulate(flat, ragged, every, CONFIG)
    forms["padded"] = loss, gradients(flat)
    monkeypatch.undo()
    expected, slow = pairwise(learner_of(ragged), ragged)
    for form, (loss, found) in forms.items():
        assert loss == pytest.approx(expected, abs=1e-6), form
        for name, value in slow.items():
            assert torch.allclose(found[name], value, atol=1e-6, rtol=1e-4), (form, name)


def test_bfloat16_with_float32_masters_learns_what_float32_does(ragged):
    losses = {}
    for precision in ("float32", "bfloat16"):
        learner = learner_of(ragged, precision=precision)
        for group in learner.optimizer.param_groups:
            group["lr"] = 1e-3
        every = torch.arange(len(ragged))
        losses[precision] = []
        for _ in range(25):
            losses[precision].append(accumulate(learner, ragged, every, CONFIG)[0])
            learner.step()
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.02)
    assert losses["bfloat16"][-1] < 0.7 * losses["bfloat16"][0]
    assert losses["bfloat16"][-1] == pytest.approx(losses["float32"][-1], abs=0.1)


def test_checkpointed_layers_give_the_same_gradient(ragged):
    plain, less = learner_of(ragged), learner_of(ragged)
    checkpointed(less.model)
    every = torch.arange(len(ragged))
    one = accumulate(plain, ragged, every, CONFIG)[0]
    other = accumulate(less, ragged, every, CONFIG)[0]
    assert one == pytest.approx(other, abs=1e-6)
    ours, theirs = gradients(less), gradients(plain)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in theirs)


def test_centring_adds_the_square_of_a_pairs_summed_rewards(ragged):
    plain, centred = learner_of(ragged), learner_of(ragged, centring=0.01)
    every = torch.arange(len(ragged))
    with torch.no_grad():
        chosen, rejected = plain.both(ragged, every)
        weight = ragged.weight.float()
        extra = 0.01 * float((weight * (chosen + rejected) ** 2).sum() / weight.sum())
    difference = accumulate(centred, ragged, every, CONFIG)[0] - accumulate(plain, ragged, every, CONFIG)[0]
    assert difference == pytest.approx(extra, rel=1e-3)
    assert extra > 0


def test_without_ties_the_loss_is_bradley_terry(pairs_file):
    read = read_pairs(pairs_file(thanking_pairs(6)), tiny_chat(), max_length=200)
    learner = learner_of(read)
    with torch.no_grad():
        chosen, rejected = learner.both(read, torch.arange(len(read)))
    loss, accuracy, _ = accumulate(learner, read, torch.arange(len(read)), CONFIG)
    assert loss == pytest.approx(float(softplus(-(chosen - rejected)).mean()), abs=1e-6)
    assert accuracy == float((chosen > rejected).float().mean())


def test_an_adapter_begins_as_nothing_and_is_merged_as_it_was_trained(ragged):
    model = tiny_llama(tiny_chat())
    fresh = copy.deepcopy(model)
    prompts, responses = ragged.prompts, ragged.responses
    with torch.no_grad():
        before = logprobs.score(fresh, prompts, responses).last
        adapters.add(model, 4, seed=0)
        assert torch.allclose(logprobs.score(model, prompts, responses).last, before, atol=1e-6)
    learner = learner_of(ragged, model=model)
    for group in learner.optimizer.param_groups:
        group["lr"] = 1e-2
    for _ in range(5):
        accumulate(learner, ragged, torch.arange(len(ragged)), CONFIG)
        learner.step()
    whole = adapters.merged(fresh, {n: v.detach() for n, v in learner.masters.weights.items()}, 4)
    with torch.no_grad():
        trained = logprobs.score(model, prompts, responses).last
        assert (trained - before).abs().max() > 0.01
        assert torch.allclose(logprobs.score(whole, prompts, responses).last, trained, atol=1e-4)
    assert not any("lora" in name for name, _ in whole.named_parameters())


def test_lora_trains_saves_and_loads(tiny, tmp_path):
    """The head is kept too: a fine-tuned trunk with another head would be no reward model."""
    records.write(tmp_path / "pairs.jsonl", thanking_pairs(40))
    more = ("--train", "lora", "--lora-rank", 4, "--batch-size", 14, "--epochs", 6)
    result = run(tiny, tmp_path / "pairs.jsonl", tmp_path / "run", *more)
    assert result["train"] == "lora"
    assert result["eval_accuracy"] > 0.8
    reward_model = RewardModel.load(tmp_path / "run")
    assert not reward_model.frozen_trunk
    assert reward_model.trunk_digest != backbone.digest(tiny)
    assert sorted(path.name for path in (tmp_path / "run" / "adapter").iterdir()) == ["adapter.safetensors"]
    chat = reward_model.chat
    asked = [chat.prompt(pair(0).messages)] * 2
    good, bad = reward_model.score(
        asked, [chat.response("Thank you. It is red."), chat.response("The soup. It is red.")]
    )
    assert good > bad


def test_a_model_in_several_processes_takes_the_same_steps_as_in_one(tiny, tmp_path):
    records.write(tmp_path / "pairs.jsonl", thanking_pairs(30))
    words = [
        *("--model", tiny, "--pairs", tmp_path / "pairs.jsonl", "--train", "full", "--batch-size", 7),
        *("--device", "cpu", "--epochs", 1, "--learning-rate", 0.003, "--members", 1),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    for output, start in (
        ("one", [sys.executable]),
        ("two", [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
    ):
        command = [*start, "-m", "rewards.train", *map(str, words), "--output", str(tmp_path / output)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for output in ("one", "two"):
        lines = (tmp_path / output / "metrics.jsonl").read_text().splitlines()
        found[output] = [line for line in map(json.loads, lines) if line["phase"] == "training"]
        found[output, "result"] = json.loads((tmp_path / output / "result.json").read_text())
    assert found["two", "result"]["processes"] == 2
    assert len(found["one"]) == len(found["two"]) > 2
    for one, two in zip(found["one"], found["two"], strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-3)
    assert found["two", "result"]["eval_accuracy"] == found["one", "result"]["eval_accuracy"]
    assert not list((tmp_path / "two").glob(".tmp-*"))


def test_adapters_take_a_higher_rate():
    assert rate_for(1_000_000_000, adapters=True) == pytest.approx(10 * rate_for(1_000_000_000))


def test_a_careless_rater_is_told_apart_while_all_weights_learn(tiny, tmp_path):
    chance = random.Random(4)
    found = []
    for number, given in enumerate(thanking_pairs(120, tie_every=1000)):
        careless = number % 3 == 0
        texts = [given.chosen, given.rejected]
        if careless:
            chance.shuffle(texts)
        who, first = ("coin" if careless else "careful"), chance.choice(["chosen", "rejected"])
        found.append(pair(number, *texts, judgment_id=str(number), rater=who, first=first))
    records.write(tmp_path / "pairs.jsonl", found)
    more = ("--train", "full", "--batch-size", 10, "--learning-rate", 0.003, "--epochs", 4)
    result = run(tiny, tmp_path / "pairs.jsonl", tmp_path / "run", *more)
    by_name = {row["rater"]: row for row in result["raters"]}
    assert by_name["careful"]["scale"] > by_name["coin"]["scale"] + 0.2
    assert by_name["coin"]["scale_error"] > 0
    assert {row["name"] for row in result["style"]} <= set(style.NAMES)
    without = run(
        tiny, tmp_path / "pairs.jsonl", tmp_path / "plain", *more, "--no-raters", "--no-style-terms"
    )
    assert without["style"] == []
    assert without["raters"] == []
