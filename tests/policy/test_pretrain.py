import json

import pytest
import torch
from safetensors.torch import load_file

from lm import backbone, records
from lm.records import Conversation, Message
from lm.run_directory import EX_NUMERIC
from lm.tokens import Chat
from policy import packing, pretrain, row_training
from policy.auxiliary import Readouts
from policy.config import PretrainConfig
from policy.pretrain import main, train_tokenizer
from tests.policy.test_packing import settings

TINY = [
    *("--vocabulary", "300", "--hidden", "16", "--layers", "1", "--heads", "2", "--feed-forward", "32"),
    *("--max-length", "64", "--batch-size", "2", "--warmup-steps", "1", "--report-every", "1"),
]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def corpus(tmp_path):
    """Twelve conversations, of which some say nothing of their responses."""

    def conversation(number):
        value = str(number % 5)
        messages = (
            Message(role="system", content=f"Notes: price {value}"),
            Message(role="user", content="Price?"),
            Message(role="assistant", content=f"It costs {value}."),
        )
        properties = {"right": 1.0, "length": number / 12}
        return Conversation(messages=messages, properties=(properties if number % 3 else None,))

    path = tmp_path / "corpus.jsonl"
    records.write(path, map(conversation, range(12)))
    return path


def run(corpus, output, steps, *more):
    tokens = str(steps * 2 * 64)
    main(["--corpus", str(corpus), "--tokens", tokens, *TINY, "--output", str(output), *more])
    return json.loads((output / "result.json").read_text())


def test_a_model_tokenizer_and_read_outs_come_out_and_load_again(corpus, tmp_path):
    result = run(corpus, tmp_path / "run", 4)
    model, chat = backbone.load(tmp_path / "run"), Chat.load(tmp_path / "run")
    readouts = Readouts.load(tmp_path / "run" / "model")

    assert (result["steps"], result["rows"], result["tokens_processed"]) == (4, 8, 512)
    assert model.config.eos_token_id == chat.end_id
    assert readouts.names == ("right", "length")
    assert {"seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes"} <= result.keys()
    text = "Any text: Größe 😀"
    assert chat.text(chat.response(text)) == text


def test_a_resumed_run_ends_with_exactly_the_weights_of_one_that_never_stopped(corpus, tmp_path, monkeypatch):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    run(corpus, straight, 4)

    class StopsAtTheSecondStep:
        def __init__(self):
            self.asked = 0

        def __bool__(self):
            self.asked += 1
            return self.asked == 2

    with monkeypatch.context() as patch:
        patch.setattr(row_training, "StopSignal", StopsAtTheSecondStep)
        with pytest.raises(SystemExit):
            run(corpus, stopped, 4)
    assert [path.name for path in (stopped / "checkpoints").iterdir()] == ["step-00000002"]
    run(corpus, stopped, 4, "--resume")

    for name in ("model.safetensors", "readouts.safetensors"):
        expected, found = load_file(straight / "model" / name), load_file(stopped / "model" / name)
        assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_a_corpus_too_small_for_the_budget_is_refused_with_both_numbers(corpus, tmp_path, caplog):
    with pytest.raises(SystemExit) as ended:
        run(corpus, tmp_path / "run", 7)

    assert ended.value.code == 78
    assert "12 conversations" in caplog.text
    assert "need 14" in caplog.text


def test_training_fits_a_small_batch_and_its_properties(corpus):
    conversations = list(packing.conversations(corpus))[:4]
    chat = train_tokenizer(map(packing.rendered, conversations), size=300, context=64)
    config = PretrainConfig(corpus=corpus, hidden=32, layers=1, heads=2, feed_forward=64, max_length=64)
    torch.manual_seed(0)
    training = row_training.RowTraining(
        pretrain.new_model(config, chat), chat, Readouts(("right", "length"), 32), settings()
    )
    rows = list(packing.rows(conversations, chat, length=64))
    batch = packing.batch(rows, length=64, pad=chat.pad_id, names=("right", "length"))

    first = training.train_step(batch, 1.0)
    for _ in range(120):
        last = training.train_step(batch, 1.0)

    assert first[0] > 5
    assert last[0] < 0.3
    assert last[1] < first[1] / 5


def test_the_rate_rises_stays_and_falls_to_its_last_share():
    rates = settings(tokens=100 * 2 * 96, warmup_steps=10)

    assert rates.steps == 100
    assert rates.rate(0) == pytest.approx(0.1)
    assert rates.rate(9) == rates.rate(29) == 1.0
    assert rates.rate(65) == pytest.approx(0.5)
    assert rates.rate(99) == pytest.approx(0.02)


def test_only_the_matrices_of_the_layers_go_to_muon(corpus):
    chat = train_tokenizer(map(packing.rendered, packing.conversations(corpus)), size=300, context=64)
    config = PretrainConfig(corpus=corpus, hidden=16, layers=2, heads=2, feed_forward=32, max_length=64)
    matrices, others = row_training.split_parameters(pretrain.new_model(config, chat))

    assert len(matrices) == 2 * 7
    assert sorted(parameter.ndim for parameter in others) == [1, 1, 1, 1, 1, 2]  # norms, and embeddings once


def test_a_loss_that_is_no_number_ends_the_run_and_saves_nothing(corpus, tmp_path):
    with pytest.raises(SystemExit) as ended:
        run(corpus, tmp_path / "run", 4, "--learning-rate", "1e30", "--matrix-rate", "1e30")

    assert ended.value.code == EX_NUMERIC
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.verify
def test_a_compiled_model_has_the_same_losses(corpus, tmp_path):
    plain = run(corpus, tmp_path / "plain", 4)
    compiled = run(corpus, tmp_path / "compiled", 4, "--compile")

    assert compiled["loss"] == pytest.approx(plain["loss"], abs=1e-4)
