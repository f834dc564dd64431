import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from lm import backbone
from lm.config import ConfigError
from lm.tokens import Chat
from tests.torch_models import save_tiny, tiny_chat, tiny_gpt2, tiny_llama

torch.set_num_threads(1)
SHAPES = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])


@pytest.fixture(scope="module")
def chat():
    return tiny_chat()


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "model")


def padded(rows, side, pad=0):
    width = max(map(len, rows)) + 3
    ids, mask = torch.full((len(rows), width), pad), torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place], mask[i, place] = torch.tensor(row), 1
    return ids, mask


@SHAPES
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", [0, 2])  # 2 is EOS
def test_a_row_is_the_same_alone_and_in_a_batch_padded_on_either_side(chat, make, side, pad):
    model = make(chat)
    rows = [[7, 8, 9, 10, 2, 11], [12], [13, 14, 15]]
    ids, mask = padded(rows, side, pad)
    with torch.no_grad():
        together = backbone.hidden(model, ids, mask)[mask.bool()]
        alone = [model.base_model(torch.tensor([row])).last_hidden_state[0] for row in rows]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


@SHAPES
def test_what_is_in_one_row_changes_no_bit_of_another(chat, make):
    model = make(chat)
    ids, mask = padded([[7, 8, 9, 10], [12, 13], [14, 15, 16]], "right")
    other = ids.clone()
    other[0, :4] = torch.tensor([20, 21, 22, 23])
    with torch.no_grad():
        before, after = backbone.hidden(model, ids, mask), backbone.hidden(model, other, mask)
    assert torch.equal(before[1:], after[1:])
    assert not torch.equal(before[0], after[0])


@SHAPES
def test_the_head_on_hidden_states_gives_the_models_own_logits(chat, make):
    model = make(chat)
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        ours = backbone.logits(model, backbone.hidden(model, ids, torch.ones_like(ids))[0])
        assert torch.equal(ours, model(ids).logits[0])


def test_training_mode_changes_nothing_since_dropout_is_off(tmp_path, chat):
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, vocab_size=len(chat.tokenizer), resid_pdrop=0.5, eos_token_id=2
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    model = backbone.load(tmp_path)
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        evaluating, training = model.eval()(ids).logits, model.train()(ids).logits
    assert torch.equal(evaluating, training)


def test_weights_are_fp32_however_they_were_saved(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    loaded = backbone.load(folder)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert not loaded.training


def test_products_are_bf16_only_while_computing_and_logits_fp32_always(folder):
    model = backbone.load(folder)
    states = torch.randn(5, 32)
    with torch.no_grad(), backbone.computing("cpu", "bfloat16"):
        low = backbone.logits(model, states)
        assert model.lm_head(states).dtype is torch.bfloat16
    with torch.no_grad(), backbone.computing("cpu", "float32"):
        exact = backbone.logits(model, states)
    assert low.dtype is exact.dtype is torch.float32
    assert not torch.equal(low, exact)
    with pytest.raises(ConfigError, match="precision is 'float16'"):
        backbone.computing("cpu", "float16")


def test_a_saved_model_is_the_same_for_transformers_alone(tmp_path, chat):
    model = tiny_llama(chat)
    backbone.save(model, chat, tmp_path)
    loaded, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    ids = torch.tensor([[7, 8, 9, 10]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, model(ids).logits)
    assert tokenizer.chat_template == chat.tokenizer.chat_template
    assert Chat.load(tmp_path).pad_id == chat.pad_id
    assert not list(tmp_path.glob("*.bin"))


def test_a_digest_follows_the_weights(tmp_path):
    one, same, other = (
        save_tiny(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert backbone.digest(one) == backbone.digest(same)
    assert backbone.digest(one) != backbone.digest(other)


def test_a_run_directory_stands_for_its_model(tmp_path):
    model = save_tiny(tmp_path / "run" / "model")
    (tmp_path / "run" / "config.json").write_text(json.dumps({"seed": 1}))
    assert backbone.model_folder(tmp_path / "run") == backbone.model_folder(model) == model
    assert backbone.digest(tmp_path / "run") == backbone.digest(model)
    backbone.load(tmp_path / "run")
    Chat.load(tmp_path / "run")


def test_a_run_without_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(ConfigError, match=f"{tmp_path}: holds no model"):
        backbone.load(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    for call in (backbone.load, backbone.model_folder, backbone.digest, Chat.load):
        with pytest.raises(ConfigError, match=f"{tmp_path}/none: there is no such folder"):
            call(tmp_path / "none")


def test_a_folder_without_weights_is_named(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=f"{folder}: has no weights"):
        backbone.load(folder)


def test_a_pickle_is_never_read(folder):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"pytorch_model.bin, a pickle"):
        backbone.load(folder)


def test_a_truncated_file_is_refused(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=f"{folder}: can't be loaded"):
        backbone.load(folder)


@pytest.mark.parametrize(
    ("cls", "problem"), [(BertModel, "no weights for"), (BertForMaskedLM, "is an encoder")]
)
def test_an_encoder_is_refused(tmp_path, cls, problem):
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        pad_token_id=0,
    )
    cls(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=problem):
        backbone.load(tmp_path)


def test_devices_are_picked_or_refused():
    assert backbone.pick_device("cpu") == "cpu"
    if torch.cuda.is_available():
        assert backbone.pick_device("auto") == "cuda"
    else:
        assert backbone.pick_device("auto") == "cpu"
        with pytest.raises(ConfigError, match="device is 'cuda'"):
            backbone.pick_device("cuda")
