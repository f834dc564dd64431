import json
import random
from itertools import chain

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm import backbone, records
from lm.config import ConfigError
from lm.logprobs import score, score_all
from lm.records import Conversation, Demonstration, Message, Response
from lm.tokens import Chat
from policy import sft
from policy.config import SftConfig
from policy.learned_temperature import LearnedTemperature
from policy.sft import Imitation, Sequences, best_of, main, plan
from tests.policy.ppo_parts import save_reward_model
from tests.torch_models import save_tiny, tiny_chat, tiny_gpt2, tiny_llama

ANSWERS = ["The soup is warm.", "It is red.", "At nine.", "Thank you.", "Twenty pounds.", "No."]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def asked(question):
    return (Message(role="user", content=question),)


def sequences(chat):
    return Sequences(
        [chat.prompt(asked(f"Question {number}?")) for number in range(len(ANSWERS))],
        [chat.response(answer) for answer in ANSWERS],
    )


def config(**changes):
    values = {"model": "model", "demonstrations": "none", "learning_rate": 3e-3, "warmup_steps": 0}
    return SftConfig(**(values | changes))


def imitation(**changes):
    chat = tiny_chat()
    return Imitation(tiny_llama(chat), chat, sequences(chat), config(**changes))


class Stop:
    """Asks to stop at the second step."""

    def __init__(self):
        self.asked = 0

    def __bool__(self):
        self.asked += 1
        return self.asked == 2


@pytest.fixture
def demonstrations(tmp_path):
    path = tmp_path / "demonstrations.jsonl"
    found = [Demonstration(messages=asked(f"Question {answer}"), response=answer) for answer in ANSWERS]
    records.write(path, found)
    return path


def test_fine_tuning_fits_a_small_batch():
    training = imitation(epochs=70, batch_size=6, temperature_rate=0)
    before = training.measured()
    for rows in training.steps:
        training.train_step(rows, 1.0)

    assert before > 4
    assert training.measured() < 0.3


def test_parts_of_a_batch_give_the_same_step_as_the_whole():
    whole, parts = imitation(), imitation(micro_batch=1)
    rows = list(range(len(ANSWERS)))

    assert whole.train_step(rows, 1.0) == pytest.approx(parts.train_step(rows, 1.0), rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=2e-5)


def test_the_loss_is_that_of_the_responses_tokens_alone():
    training = imitation()
    expected = score_all(training.model, *training.sequences.of(range(6))).logprobs

    loss, _ = training.train_step(list(range(6)), 1.0)

    assert loss == pytest.approx(-float(expected.mean()), abs=1e-5)
    assert len(expected) == sum(map(len, training.sequences.responses))


def test_every_epoch_takes_each_sequence_once_and_batches_are_about_as_long():
    lengths = random.Random(0).sample(range(1000), 500)
    steps = plan(lengths, batch_size=16, epochs=2, seed=3)
    first, second = steps[: len(steps) // 2], steps[len(steps) // 2 :]

    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(500))
    assert first != second
    assert all(max(lengths[i] for i in rows) - min(lengths[i] for i in rows) < 200 for rows in steps)
    assert steps == plan(lengths, batch_size=16, epochs=2, seed=3)


def test_demonstrations_become_a_model_and_a_result(demonstrations, tmp_path):
    model = save_tiny(tmp_path / "base")
    out = tmp_path / "run"
    main(["--model", str(model), "--demonstrations", str(demonstrations), "--output", str(out)])
    result = json.loads((out / "result.json").read_text())

    assert result["loss_after"] < result["loss_before"]
    assert result["sequences"] == len(ANSWERS)
    assert {"norm_scale", "seconds", "examples_per_second", "tokens_per_second"} <= result.keys()
    assert Chat.load(out).end_id == backbone.load(out).config.eos_token_id


@pytest.mark.parametrize("source", ["demonstrations", "rows"])
def test_a_resumed_run_ends_with_exactly_the_same_weights(source, demonstrations, tmp_path, monkeypatch):
    if source == "rows":
        corpus = tmp_path / "rows.jsonl"
        row = Conversation(
            messages=(*asked("Price?"), Message(role="assistant", content="It is red.")),
            properties=({"a": 1.0},),
        )
        records.write(corpus, [row] * 8)
        more = ["--rows", str(corpus), "--tokens", "256", "--max-length", "32", "--batch-size", "2"]
    else:
        more = ["--demonstrations", str(demonstrations), "--batch-size", "3"]
    argv = ["--model", str(save_tiny(tmp_path / "base")), *more, "--output"]
    main([*argv, str(tmp_path / "straight")])
    with monkeypatch.context() as patch:
        patch.setattr("policy.row_training.StopSignal", Stop)
        patch.setattr(sft, "StopSignal", Stop)
        with pytest.raises(SystemExit):
            main([*argv, str(tmp_path / "stopped")])
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-00000002"]
    main([*argv, str(tmp_path / "stopped"), "--resume"])

    files = sorted(path.name for path in (tmp_path / "straight" / "model").glob("*.safetensors"))
    assert files == ["model.safetensors"] + ["readouts.safetensors"] * (source == "rows")
    for name in files:
        expected, found = (load_file(tmp_path / run / "model" / name) for run in ("straight", "stopped"))
        assert all(torch.equal(expected[key], found[key]) for key in expected)


class LongIsGood:
    """Rewards that are easy to tell: the first feature, or the length."""

    trunk_digest, frozen_trunk = "same", True

    def score_features(self, features):
        return features[:, 0]

    def score(self, prompts, responses):
        return torch.tensor([float(len(response)) for response in responses])


@pytest.fixture
def samples(tmp_path):
    """Two prompts with three samples each; the tokens are such as no tokenizer would give for the text."""
    folder = tmp_path / "samples"
    folder.mkdir()
    drawn = [[9, 8, 2], [9, 2], [9, 8, 7, 6], [5, 2], [5, 4, 2], [5, 2]]
    found = [
        Response(
            prompt_id=f"p{row // 3}",
            messages=asked(f"Question {row // 3}?"),
            response="words",
            policy="base",
            tokens=tuple(tokens),
            ended=tokens[-1] == 2,
        )
        for row, tokens in enumerate(drawn)
    ]
    records.write(folder / "responses.jsonl", found)
    save_file({"features": torch.tensor([[0.0], [3], [4], [1], [0], [2]])}, folder / "features.safetensors")
    return folder


@pytest.mark.parametrize(("trunk", "chosen"), [("same", [[9, 2], [5, 2]]), ("other", [[9, 8, 2], [5, 4, 2]])])
def test_the_best_sample_of_each_prompt_is_chosen_by_the_tokens_drawn(samples, trunk, chosen):
    (samples / "result.json").write_text(json.dumps({"trunk": trunk}))
    chat = tiny_chat()

    found = best_of(samples, LongIsGood(), chat, config(best_of=3))

    assert found.responses == chosen
    assert found.prompts == [chat.prompt(asked(f"Question {number}?")) for number in range(2)]
    assert found.figures["mean_reward_chosen"] > found.figures["mean_reward"]


def test_the_best_samples_become_a_model_and_a_result(samples, tmp_path):
    model = save_tiny(tmp_path / "base")
    reward_model = save_reward_model(tmp_path / "reward", model)
    out, reports = tmp_path / "run", ("mean_reward", "mean_reward_chosen", "norm_scale")
    (samples / "result.json").write_text(json.dumps({"trunk": "another model"}))
    sources = ["--samples", str(samples), "--reward-model", str(reward_model), "--best-of", "3"]
    main(["--model", str(model), *sources, "--output", str(out)])
    result = json.loads((out / "result.json").read_text())

    assert result["sequences"] == 2
    assert all(name in result for name in reports)
    assert result["loss_after"] < result["loss_before"]


def test_a_prompt_with_too_few_samples_is_named(samples):
    with pytest.raises(ConfigError, match="best_of is 4, but prompt 'p0' has 3"):
        best_of(samples, LongIsGood(), tiny_chat(), config(best_of=4))


def test_exactly_one_source_must_be_given():
    with pytest.raises(ValueError, match="not none"):
        config(demonstrations=None)
    with pytest.raises(ValueError, match="not demonstrations and rows"):
        config(rows="corpus.jsonl")
    with pytest.raises(ValueError, match="needs the other"):
        config(demonstrations=None, samples="run")


@pytest.mark.parametrize("tiny", [tiny_llama, tiny_gpt2])
def test_the_learned_temperature_follows_the_gradient_of_the_logits_scale(tiny):
    chat = tiny_chat()
    model = tiny(chat)
    rows = sequences(chat).of(range(6))

    def loss(temperature=1.0):
        return -score(model, *rows, temperature=temperature).logprobs.mean()

    loss().backward()
    temperature = LearnedTemperature(model, 0.01)
    temperature.observe()
    up, down = float(loss(1 / 1.01).detach()), float(loss(1.01).detach())
    before = {
        name: float(loss(1 / scale).detach()) for name, scale in (("0.99", 0.99004983), ("1.01", 1.01005017))
    }
    temperature.step(1.0)

    assert temperature._gradient == pytest.approx((up - down) / 0.0199, rel=0.02)
    assert temperature.scale == pytest.approx(0.99004983 if up > down else 1.01005017, rel=1e-4)
    assert float(loss().detach()) == pytest.approx(before["0.99" if up > down else "1.01"], abs=1e-4)


def test_a_learned_temperature_goes_on_from_its_state():
    def model():
        found = tiny_llama(tiny_chat())
        for parameter in found.parameters():
            parameter.grad = torch.ones_like(parameter)
        return found

    straight = LearnedTemperature(model(), 0.01)
    straight.observe()
    straight.step(1.0)
    again = LearnedTemperature(model(), 0.01)
    again.restore(json.loads(json.dumps(straight.state())))
    for temperature in (straight, again):
        temperature._gradient = 2.0
        temperature.step(0.5)

    assert again.scale == straight.scale
    assert LearnedTemperature(model(), 0).scale == 1.0
