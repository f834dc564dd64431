"""Reward models that others made, and encoders: the same scores as transformers gives each row alone."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    PreTrainedConfig,
)

from lm import backbone, records
from lm.config import ConfigError
from lm.records import Message, Response
from lm.tokens import TextPair
from rewards import evaluate, score
from rewards.reward_model import RewardModel
from rewards.trunks import Trunk
from tests.rewards.conftest import pair, thanking_pairs
from tests.rewards.test_train import run
from tests.torch_models import (
    encoder_config,
    pair_tokenizer,
    save_classifier,
    tiny_chat,
    tiny_gpt2,
    tiny_llama,
    tiny_qwen,
    tiny_tokenizer,
)

ASKED = (
    (Message(role="user", content="Is the soup warm?"),),
    (Message(role="user", content="What is the price of the green lamp, and does it come with a cable?"),),
    (Message(role="user", content="When?"),),
)
TEXTS = [
    "The soup is warm, and the bread is fresh.",
    "It costs twenty pounds. " * 3,
    "At nine in the morning from the old station.",
]
ENCODERS = ["bert", "roberta", "deberta-v2", "electra", "distilbert"]
DECODERS = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_qwen])


def decoder(folder, make, pad="own", seed=0):
    """A decoder with a head of one label; PAD is its own token, EOS or none."""
    tokenizer, config = tiny_tokenizer(), make(tiny_chat()).config
    config.num_labels = 1
    config.pad_token_id = {"own": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id, "none": None}[pad]
    tokenizer.pad_token = {"own": tokenizer.pad_token, "eos": tokenizer.eos_token, "none": None}[pad]
    return save_classifier(folder, config, tokenizer, seed)


def encoder(folder, family, seed=0, **changes):
    tokenizer = pair_tokenizer("roberta" if family == "roberta" else "bert")
    return save_classifier(folder, encoder_config(family, num_labels=1, **changes), tokenizer, seed)


def theirs(folder, rows):
    """What transformers' own model says of each row of token ids alone, and of nothing else."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, 0] for row in rows])


@DECODERS
@pytest.mark.parametrize("pad", ["own", "eos", "none"])
def test_a_decoder_of_others_scores_as_its_own_forward_does_on_each_row_alone(make, pad, tmp_path):
    folder = decoder(tmp_path, make, pad)
    reward_model = RewardModel.load(folder)
    prompts = [reward_model.chat.prompt(messages) for messages in ASKED]
    responses = [reward_model.chat.response(text) for text in TEXTS]
    expected = theirs(folder, [[*a, *b] for a, b in zip(prompts, responses, strict=True)])
    assert expected.std() > 0.01
    for tokens in (1, 16384):  # each row alone, all in one batch
        found = reward_model.score(prompts, responses, batch_tokens=tokens)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(reward_model.score_texts(ASKED, TEXTS), expected, atol=1e-5, rtol=0)
    assert (reward_model.head.gain, reward_model.head.bias) == (1.0, 0.0)


def test_a_row_of_a_model_of_others_is_all_that_its_template_writes(tmp_path):
    folder = decoder(tmp_path, tiny_llama)
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text().replace("'<|end|>' }}", "'<|end|>\n' }}"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for (asked,), text in zip(ASKED, TEXTS, strict=True):
        turns = [asked.to_json(), {"role": "assistant", "content": text}]
        rows.append(tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False))
    assert tokenizer.decode(rows[0]).endswith("<|end|>\n")
    reward_model = RewardModel.load(folder)
    found = reward_model.score_texts(ASKED, TEXTS)
    torch.testing.assert_close(found, theirs(folder, rows), atol=1e-5, rtol=0)
    assert not reward_model.reads_tokens_of(reward_model.chat)


@DECODERS
def test_a_pad_among_a_responses_tokens_is_read_as_transformers_reads_it(make, tmp_path):
    folder = decoder(tmp_path, make)
    prompts, responses = [[7, 8], [9, 8, 7, 0]], [[10, 0, 11, 0, 0], [0, 12]]
    expected = theirs(folder, [[*a, *b] for a, b in zip(prompts, responses, strict=True)])
    torch.testing.assert_close(
        RewardModel.load(folder).score(prompts, responses), expected, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoder_of_others_scores_a_prompt_and_a_response_as_its_pair_of_texts(family, tmp_path):
    folder = encoder(tmp_path, family)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        each = [
            tokenizer(messages[0].content, text, return_tensors="pt")
            for messages, text in zip(ASKED, TEXTS, strict=True)
        ]
        if family == "distilbert":
            for one in each:
                one.pop("token_type_ids")
        expected = torch.stack([model(**one).logits[0, 0] for one in each])
    assert expected.std() > 0.01
    reward_model = RewardModel.load(folder)
    torch.testing.assert_close(reward_model.score_texts(ASKED, TEXTS), expected, atol=1e-5, rtol=0)
    alone = [reward_model.score_texts([a], [b])[0] for a, b in zip(ASKED, TEXTS, strict=True)]
    torch.testing.assert_close(torch.stack(alone), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_pair_of_texts_has_the_tokens_that_its_tokenizer_gives_the_pair(family):
    tokenizer = pair_tokenizer(family)
    layout = TextPair(tokenizer)
    whole = tokenizer(ASKED[1][0].content, TEXTS[1])
    prompt, response = layout.prompt(ASKED[1]), layout.response(TEXTS[1])
    assert prompt + response == whole.input_ids
    assert layout.segments == (family == "bert")
    if layout.segments:
        assert whole.token_type_ids == [0] * len(prompt) + [1] * len(response)
    assert layout.text(response) == TEXTS[1].strip()


def test_marks_spelt_out_in_a_text_mark_nothing():
    layout = TextPair(pair_tokenizer())
    assert layout.response("The lamp[SE[SEP]P] is red.") == layout.response("The lamp is red.")


def test_an_encoders_longest_row_leaves_out_the_places_before_its_first(tmp_path):
    places = {"bert": 130, "roberta": 128, "deberta-v2": 130}
    for family, most in places.items():
        trunk = RewardModel.load(encoder(tmp_path / family, family)).trunk
        assert trunk.longest_row() == most
        trunk.read([[5] * 30], [[6] * (most - 30)])
    assert trunk.longest_row(64) == 64
    reward_model = RewardModel.load(tmp_path / "roberta")
    with pytest.raises(ConfigError, match="takes 128 tokens, but a response has"):
        reward_model.score_texts(ASKED[:1], ["lamp " * 200])


def test_a_model_that_minds_its_padding_gets_rows_of_one_length(tmp_path):
    config = AutoConfig.for_model(
        "fnet", vocab_size=350, hidden_size=32, num_hidden_layers=1, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.2, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    folder = save_classifier(tmp_path, config, pair_tokenizer())
    trunk = Trunk.classifier(folder)
    assert trunk.even
    prompts, responses = [[5, 6], [5, 7], [8, 9, 10, 11]], [[12], [13], [14, 15]]
    together = trunk.read_all(prompts, responses)
    alone = torch.cat([trunk.read_all([a], [b]) for a, b in zip(prompts, responses, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def edit_config(folder, **changes):
    file = folder / "config.json"
    values = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def two_labels(folder):
    edit_config(folder, id2label={"0": "bad", "1": "good"}, label2id={"bad": 0, "good": 1})


def without_head(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def without_template(folder):
    (folder / "chat_template.jinja").unlink()


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def cut_short(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def disguised(folder):
    """A pickle that would write a file, under a harmless name."""
    code = f"cos\nsystem\n(S'touch {folder / 'ran'}'\ntR."
    (folder / "model.safetensors").write_bytes(code.encode())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (two_labels, "has 2 labels; a reward model has one"),
        (without_head, "has no weights for score.weight; transformers would draw them at random"),
        (without_template, "has no chat template"),
        (pickled, "pytorch_model.bin, a pickle, which may run code"),
        (disguised, "can't be loaded as a sequence classifier"),
        (cut_short, "can't be loaded as a sequence classifier"),
        (
            lambda folder: edit_config(folder, auto_map={"AutoModelForSequenceClassification": "model.Mine"}),
            "scores by code from its repository, which is never run here",
        ),
        (
            lambda folder: edit_config(folder, model_type="mine", auto_map={"AutoConfig": "model.Mine"}),
            "its config can't be read",
        ),
        (
            lambda folder: edit_config(folder, _attn_implementation_internal="someone/kernel"),
            "its config asks for code from 'someone/kernel', which is never run here",
        ),
        (
            lambda folder: edit_config(folder, architectures=["LlamaForCausalLM"]),
            "is no reward model: reward_model.json is missing, and its config names LlamaForCausalLM",
        ),
    ],
)
def test_what_is_no_reward_model_is_refused_with_one_clear_sentence(spoil, message, tmp_path, caplog):
    folder = decoder(tmp_path / "model", tiny_llama)
    (folder / "model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    spoil(folder)
    with pytest.raises(ConfigError, match=message):
        RewardModel.load(folder)
    responses = [Response(prompt_id="p", messages=ASKED[0], response=TEXTS[0], policy="base")]
    records.write(tmp_path / "responses.jsonl", responses)
    with pytest.raises(SystemExit) as end:
        score.main(
            [
                *("--reward-model", str(folder), "--responses", str(tmp_path / "responses.jsonl")),
                *("--output", str(tmp_path / "scored.jsonl")),
            ]
        )
    assert end.value.code == 78
    assert message in caplog.text
    assert not list(tmp_path.rglob("ran"))
    assert not (tmp_path / "scored.jsonl").exists()


def test_an_encoder_with_a_decoder_is_refused(tmp_path):
    config = BartConfig(
        vocab_size=350, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, num_labels=1,
    )  # fmt: skip
    folder = save_classifier(tmp_path, config, pair_tokenizer("roberta"))
    with pytest.raises(ConfigError, match="is an encoder with a decoder"):
        RewardModel.load(folder)


def test_code_of_others_is_not_trusted_whatever_the_environment_says(monkeypatch, tmp_path):
    for name in ("TRUST_REMOTE_CODE", "HF_TRUST_REMOTE_CODE", "TRANSFORMERS_TRUST_REMOTE_CODE"):
        monkeypatch.setenv(name, "1")
    folder = decoder(tmp_path / "model", tiny_llama)
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    edit_config(folder, model_type="mine", auto_map={"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine"})
    for load in (RewardModel.load, backbone.load, backbone.load_trunk, backbone.load_classifier):
        with pytest.raises(ConfigError):
            load(folder)
    assert not (tmp_path / "ran").exists()


def test_no_config_has_a_field_that_trusts_code():
    from lm.config import settings_of
    from policy import config as policies
    from rewards import config as rewards

    names = [
        setting.name
        for module in (policies, rewards)
        for config in vars(module).values()
        if isinstance(config, type) and hasattr(config, "__dataclass_fields__")
        for setting in settings_of(config)
    ]
    assert len(names) > 50
    assert not [name for name in names if "trust" in name or "remote" in name or "code" in name]


@pytest.mark.parametrize("make", ["decoder", "encoder"])
def test_a_model_of_others_is_evaluated_like_ours(make, tmp_path, pairs_file):
    folder = decoder(tmp_path / "m", tiny_llama) if make == "decoder" else encoder(tmp_path / "m", "bert")
    file = pairs_file(thanking_pairs(20))
    config = evaluate.EvaluateConfig(reward_model=folder, pairs=file, device="cpu")
    figures = evaluate.evaluate(config)
    reward_model = RewardModel.load(folder)
    right = [
        reward_model.score_texts([one.messages] * 2, [one.chosen, one.rejected]).diff().item() < 0
        for one in records.read(file, records.Pair)
        if not one.tie
    ]
    assert figures["eval_pairs"] == len(right)
    assert figures["eval_accuracy"] == pytest.approx(sum(right) / len(right))


def base_encoder(folder, family="bert"):
    """As encoders are published: with the head that fills gaps."""
    tokenizer = pair_tokenizer("roberta" if family == "roberta" else "bert")
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(encoder_config(family)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("train", "family", "pooling"),
    [("full", "bert", "auto"), ("full", "roberta", "mean"), ("head", "deberta-v2", "auto")],
)
def test_an_encoder_is_trained_scored_and_read_again(train, family, pooling, tmp_path, pairs_file):
    base = base_encoder(tmp_path / "base", family)
    more = ("--epochs", 4, "--learning-rate", 0.003) if train == "full" else ("--penalty", 1)
    pairs = pairs_file(thanking_pairs(40))
    result = run(
        base, pairs, tmp_path / "run", "--train", train, "--pooling", pooling, "--eval-pairs", pairs, *more
    )
    assert result["eval_accuracy"] > 0.8
    reward_model = RewardModel.load(tmp_path / "run")
    assert reward_model.reads == ("mean" if pooling == "mean" else "first")
    assert not list((tmp_path / "run").rglob("*.bin"))
    found = reward_model.score_texts(ASKED, TEXTS)
    alone = torch.cat([reward_model.score_texts([a], [b]) for a, b in zip(ASKED, TEXTS, strict=True)])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)
    again = reward_model.trunk.model.base_model
    with torch.no_grad():
        row = [*reward_model.chat.prompt(ASKED[0]), *reward_model.chat.response(TEXTS[0])]
        types = [0] * len(reward_model.chat.prompt(ASKED[0]))
        types += [1] * (len(row) - len(types))
        segments = {"token_type_ids": torch.tensor([types])} if family == "bert" else {}
        states = again(torch.tensor([row]), **segments).last_hidden_state[0]
    pooled = states.mean(0) if pooling == "mean" else states[0]
    torch.testing.assert_close(found[:1], reward_model.score_features(pooled[None]), atol=1e-5, rtol=0)


def test_an_encoder_is_no_policy(tmp_path):
    with pytest.raises(ConfigError):
        backbone.load(base_encoder(tmp_path))


def test_a_pooling_for_encoders_is_refused_for_a_decoder(tiny, tmp_path, pairs_file, caplog):
    with pytest.raises(SystemExit) as end:
        run(tiny, pairs_file([pair(0)]), tmp_path / "run", "--pooling", "mean")
    assert end.value.code == 78
    assert "pooling is 'mean'" in caplog.text


def test_a_changed_or_damaged_artefact_is_refused(tmp_path, pairs_file, tiny):
    run(tiny, pairs_file(thanking_pairs(30)), tmp_path / "run")
    model = tmp_path / "run" / "model"
    about = json.loads((model / "reward_model.json").read_text())
    assert about["digest"] == RewardModel.load(model).digest
    spoilt = shutil.copytree(model, tmp_path / "gain")
    (spoilt / "reward_model.json").unlink()
    (spoilt / "reward_model.json").write_text(json.dumps(about | {"gain": 2 * about["gain"]}))
    with pytest.raises(ConfigError, match="was changed after"):
        RewardModel.load(spoilt)
    (spoilt / "reward_model.json").write_text(json.dumps({"gain": 1}))
    with pytest.raises(ConfigError, match="is damaged"):
        RewardModel.load(spoilt)
    (spoilt / "reward_model.json").write_text(json.dumps(about))
    (spoilt / "reward_head.safetensors").write_bytes(b"\0" * 8)
    with pytest.raises(ConfigError, match="is damaged"):
        RewardModel.load(spoilt)


def test_an_artefact_from_before_digests_still_loads(tmp_path, pairs_file, tiny):
    run(tiny, pairs_file(thanking_pairs(30)), tmp_path / "run")
    file = tmp_path / "run" / "model" / "reward_model.json"
    about = json.loads(file.read_text())
    before = RewardModel.load(tmp_path / "run")
    file.unlink()  # the files of a trunk are links, but this one is not
    file.write_text(json.dumps({name: about[name] for name in about if name not in ("digest", "reads")}))
    after = RewardModel.load(tmp_path / "run")
    assert after.digest == before.digest
    assert torch.equal(after.score_texts(ASKED, TEXTS), before.score_texts(ASKED, TEXTS))


def test_an_encoder_is_known_by_its_config(tmp_path):
    assert backbone.is_encoder(encoder_config("bert"))
    assert not backbone.is_encoder(encoder_config("bert", is_decoder=True))
    assert not backbone.is_encoder(tiny_llama(tiny_chat()).config)
    assert isinstance(tiny_gpt2(tiny_chat()).config, PreTrainedConfig)
