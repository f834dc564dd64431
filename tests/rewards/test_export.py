"""A reward model gives one score three ways: by us, exported by transformers alone, and in a file."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from lm import backbone, records
from lm.config import ConfigError
from lm.records import Message, Response
from rewards import export, score
from rewards.config import ExportConfig
from rewards.head import Head
from rewards.reward_model import RewardModel
from rewards.trunks import layout
from tests.rewards.test_trunks import ASKED, ENCODERS, TEXTS, base_encoder, decoder
from tests.torch_models import pair_tokenizer, tiny_chat, tiny_gpt2, tiny_llama, tiny_qwen

DECODERS = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2, tiny_qwen])


def head(width, members=1, pessimism=0.0, seed=0):
    """A head whose every number matters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return Head.normalised(
        draw(width) / 5,
        draw(width).abs() + 0.5,
        draw(members, width),
        reference=draw(64, width),
        pessimism=pessimism,
    )


def saved(folder, make, *, members=1, pessimism=0.0, pad="own", tail="", likelihoods=False):
    """A reward model of ours on a decoder; PAD is its own token, EOS or none."""
    base, chat = folder / "base", tiny_chat()
    tokenizer = chat.tokenizer
    tokenizer.pad_token = {"own": tokenizer.pad_token, "eos": tokenizer.eos_token, "none": None}[pad]
    tokenizer.chat_template = tokenizer.chat_template.replace("'<|end|>' }}", f"'<|end|>{tail}' }}}}")
    backbone.save(make(chat), chat, base)
    width = 32 + 4 * likelihoods
    model = RewardModel(
        head(width, members, pessimism),
        folder=base,
        trunk_digest=backbone.digest(base),
        frozen_trunk=likelihoods,
        model=backbone.load(base),
        chat=layout(base, "last"),
    )
    model.save(folder / "ours")
    return RewardModel.load(folder / "ours")


def exported(reward_model, folder, member=None):
    found = export.export(ExportConfig(reward_model=reward_model.folder, output=folder, member=member))
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    assert model.config.num_labels == 1
    assert not list(folder.glob("*.bin"))
    return found, model, AutoTokenizer.from_pretrained(folder)


def by_transformers(model, tokenizer, side=None):
    """The scores of a batch that transformers alone lays out and pads."""
    turns = [
        [asked.to_json(), {"role": "assistant", "content": text.strip()}]
        for (asked,), text in zip(ASKED, TEXTS, strict=True)
    ]
    texts = [tokenizer.apply_chat_template(each, tokenize=False) for each in turns]
    tokenizer.padding_side = side or tokenizer.padding_side
    batch = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
    assert batch.attention_mask.min() == 0
    with torch.no_grad():
        return model(**batch).logits[:, 0]


@DECODERS
@pytest.mark.parametrize("pad", ["own", "eos", "none"])
def test_a_score_is_the_same_by_us_by_transformers_and_in_a_file(make, pad, tmp_path):
    ours = saved(tmp_path, make, pad=pad)
    texts = [text.strip() for text in TEXTS]
    expected = ours.score_texts(ASKED, texts)
    assert expected.std() > 0.1

    found, model, tokenizer = exported(ours, tmp_path / "exported")
    torch.testing.assert_close(by_transformers(model, tokenizer) + found.bias, expected, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "exported" / "export.json").read_text())["bias"] == found.bias
    assert repr(found.bias) in (tmp_path / "exported" / "README.md").read_text()

    drawn = [
        Response(prompt_id=f"p{i}", messages=asked, response=text, policy="base")
        for i, (asked, text) in enumerate(zip(ASKED, texts, strict=True))
    ]
    records.write(tmp_path / "in.jsonl", drawn)
    files = ("--responses", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"))
    score.main(["--reward-model", str(ours.folder), *files])
    lines = list(records.read(tmp_path / "out.jsonl", Response))
    assert [line.reward for line in lines] == pytest.approx(expected.tolist(), abs=1e-5)
    assert {line.reward_model["digest"] for line in lines} == {ours.digest}
    assert {line.reward_model["bias"] for line in lines} == {ours.head.bias}


def test_what_was_exported_comes_back_as_a_model_of_others_with_the_same_scores(tmp_path):
    ours = saved(tmp_path, tiny_llama, tail="\\n")
    found, *_ = exported(ours, tmp_path / "exported")
    assert "ends a conversation with the stop token" in found.notes[1]
    back = RewardModel.load(tmp_path / "exported")
    assert (back.head.gain, back.head.bias) == (1.0, 0.0)
    torch.testing.assert_close(
        back.score_texts(ASKED, TEXTS) + found.bias, ours.score_texts(ASKED, TEXTS), atol=1e-5, rtol=1e-5
    )


def test_the_exported_template_ends_a_row_where_ours_does(tmp_path):
    """As Qwen's does, the template writes a line's end after the stop token, which we never score."""
    ours = saved(tmp_path, tiny_llama, tail="\\n")
    found, model, tokenizer = exported(ours, tmp_path / "exported")
    expected = ours.score_texts(ASKED, [text.strip() for text in TEXTS])
    torch.testing.assert_close(by_transformers(model, tokenizer) + found.bias, expected, atol=1e-5, rtol=1e-5)
    asked = [ASKED[0][0].to_json()]
    before = ours.chat.tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True) == before


@pytest.mark.parametrize(("pad", "own"), [("own", False), ("eos", True), ("none", True)])
def test_padding_gets_a_token_of_its_own_where_it_was_the_end_or_none(pad, own, tmp_path):
    ours = saved(tmp_path, tiny_llama, pad=pad)
    found, model, tokenizer = exported(ours, tmp_path / "exported")
    size = len(ours.chat.tokenizer)
    assert (tokenizer.pad_token_id == size) == own
    assert len(tokenizer) == size + own == model.config.vocab_size
    assert model.config.pad_token_id == tokenizer.pad_token_id not in ours.chat.stop_ids
    assert ("of its own" in found.notes[0]) == own


def test_a_row_that_ends_in_pad_is_where_the_two_cannot_agree_and_the_folder_says_so(tmp_path):
    ours = saved(tmp_path, tiny_llama)
    found, model, tokenizer = exported(ours, tmp_path / "exported")
    row = [7, 8, 9, tokenizer.pad_token_id]
    with torch.no_grad():
        theirs = model(torch.tensor([row])).logits[0, 0] + found.bias
    assert abs(float(theirs - ours.score([row[:2]], [row[2:]])[0])) > 0.01
    torch.testing.assert_close(theirs, ours.score([row[:2]], [row[2:-1]])[0], atol=1e-5, rtol=1e-5)
    assert "is read at the token before" in (tmp_path / "exported" / "README.md").read_text()


@DECODERS
def test_the_mean_of_members_and_each_member_are_linear_but_doubt_is_not(make, tmp_path):
    ours = saved(tmp_path, make, members=3, pessimism=1.0)
    with pytest.raises(ConfigError, match=r"takes 1\.0 deviations of its 3 members off their mean"):
        export.export(ExportConfig(reward_model=ours.folder, output=tmp_path / "none"))
    with pytest.raises(ConfigError, match="member is 4, but there are 3"):
        export.export(ExportConfig(reward_model=ours.folder, output=tmp_path / "none", member="4"))
    assert not (tmp_path / "none").exists()
    texts = [text.strip() for text in TEXTS]
    prompts = [ours.chat.prompt(messages) for messages in ASKED]
    members = ours.head.members(ours.features(prompts, [ours.chat.response(text) for text in texts]))
    for member, expected in (("mean", members.mean(1)), ("2", members[:, 1])):
        found, model, tokenizer = exported(ours, tmp_path / member, member)
        torch.testing.assert_close(
            by_transformers(model, tokenizer) + found.bias,
            ours.head.gain * expected + ours.head.bias,
            atol=1e-5,
            rtol=1e-5,
        )


def test_an_ensemble_without_doubt_is_exported_as_it_is_scored(tmp_path):
    ours = saved(tmp_path, tiny_llama, members=3)
    found, model, tokenizer = exported(ours, tmp_path / "exported")
    expected = ours.score_texts(ASKED, [text.strip() for text in TEXTS])
    torch.testing.assert_close(by_transformers(model, tokenizer) + found.bias, expected, atol=1e-5, rtol=1e-5)


def test_likelihoods_can_not_be_exported_and_the_command_says_so_and_leaves_nothing(tmp_path, caplog):
    ours = saved(tmp_path, tiny_llama, likelihoods=True)
    with pytest.raises(SystemExit) as end:
        export.main(["--reward-model", str(ours.folder), "--output", str(tmp_path / "exported")])
    assert end.value.code == 78
    assert "reads how likely its trunk finds the words" in caplog.text
    assert not (tmp_path / "exported").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_an_output_that_holds_something_is_left_alone(tmp_path):
    ours = saved(tmp_path, tiny_llama)
    with pytest.raises(ConfigError, match="exists and isn't empty"):
        export.export(ExportConfig(reward_model=ours.folder, output=ours.folder))


def encoder(folder, family, reads):
    base = base_encoder(folder / "base", family)
    trunk = backbone.load_trunk(base)
    model = RewardModel(
        head(32),
        folder=base,
        trunk_digest=backbone.digest(base),
        frozen_trunk=False,
        reads=reads,
        model=trunk,
        chat=layout(base, reads),
    )
    model.save(folder / "ours")
    return RewardModel.load(folder / "ours")


@pytest.mark.parametrize("family", ENCODERS)
def test_an_encoders_dense_layer_is_made_straight_and_its_head_holds_the_bias_too(family, tmp_path):
    ours = encoder(tmp_path, family, "first")
    found, model, tokenizer = exported(ours, tmp_path / "exported")
    assert found.bias == 0.0
    expected = ours.score_texts(ASKED, TEXTS)
    assert expected.std() > 0.01
    with torch.no_grad():
        questions = [asked.content for (asked,) in ASKED]
        batch = tokenizer(questions, TEXTS, padding=True, return_tensors="pt")
        if family == "distilbert":
            batch.pop("token_type_ids")
        scores = model(**batch).logits[:, 0]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_a_family_with_a_norm_before_its_head_is_found_by_the_check_and_refused(tmp_path):
    base = tmp_path / "base"
    config = AutoConfig.for_model(
        "modernbert", vocab_size=350, hidden_size=32, num_hidden_layers=2, intermediate_size=64,
        num_attention_heads=2, max_position_embeddings=128, initializer_range=0.2, pad_token_id=0,
        bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
    )  # fmt: skip
    AutoModelForMaskedLM.from_config(config).save_pretrained(base)
    pair_tokenizer().save_pretrained(base)
    model = RewardModel(
        head(32),
        folder=base,
        trunk_digest=backbone.digest(base),
        frozen_trunk=True,
        reads="first",
    )
    model.save(tmp_path / "ours")
    assert RewardModel.load(tmp_path / "ours").score_texts(ASKED, TEXTS).std() > 0.01
    with pytest.raises(ConfigError, match="modernbert can't give these scores"):
        export.export(ExportConfig(reward_model=tmp_path / "ours", output=tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()


def test_a_tokenizer_without_a_template_is_exported_with_our_plain_one(tmp_path):
    base, chat = tmp_path / "base", tiny_chat()
    chat.tokenizer.chat_template = None
    backbone.save(tiny_llama(chat), chat, base)
    model = RewardModel(head(32), folder=base, trunk_digest="", frozen_trunk=False, reads="last")
    model.save(tmp_path / "ours")
    ours = RewardModel.load(tmp_path / "ours")
    found, exported_model, tokenizer = exported(ours, tmp_path / "exported")
    expected = ours.score_texts(ASKED, [text.strip() for text in TEXTS])
    scores = by_transformers(exported_model, tokenizer) + found.bias
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)


def test_an_encoders_mean_can_not_be_exported(tmp_path):
    ours = encoder(tmp_path, "bert", "mean")
    with pytest.raises(ConfigError, match="reads the mean of an encoder's states"):
        export.export(ExportConfig(reward_model=ours.folder, output=tmp_path / "exported"))


def test_a_classifier_that_answers_otherwise_is_found_and_not_left_behind(tmp_path, monkeypatch):
    """Such as would a family whose classifier isn't what its language model is."""
    ours = saved(tmp_path, tiny_llama)
    honest = export._give_padding

    def spoils(model, tokenizer, chat):
        with torch.no_grad():
            model.base_model.norm.weight.mul_(1.001)
        return honest(model, tokenizer, chat)

    monkeypatch.setattr(export, "_give_padding", spoils)
    with pytest.raises(ConfigError, match="can't give these scores: they differ by"):
        export.export(ExportConfig(reward_model=ours.folder, output=tmp_path / "exported"))
    assert not (tmp_path / "exported").exists()


def test_a_model_of_others_is_exported_with_its_gain(tmp_path):
    from rewards import adopt
    from rewards.config import AdoptConfig

    folder = decoder(tmp_path / "theirs", tiny_gpt2)
    asked = (Message(role="user", content="When?"),)
    drawn = [
        Response(prompt_id="p", messages=asked, response=text, policy="base")
        for text in (*TEXTS, "Yes.", "No, not that.")
    ]
    records.write(tmp_path / "samples.jsonl", drawn)
    adopt.adopt(
        AdoptConfig(model=folder, samples=tmp_path / "samples.jsonl", output=tmp_path / "ours", device="cpu")
    )
    ours, theirs = RewardModel.load(tmp_path / "ours"), RewardModel.load(folder)
    assert ours.head.gain != 1
    found, *_ = exported(ours, tmp_path / "exported")
    raw, back = (
        theirs.score_texts(ASKED, TEXTS),
        RewardModel.load(tmp_path / "exported").score_texts(ASKED, TEXTS),
    )
    torch.testing.assert_close(back, ours.head.gain * raw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(back + found.bias, ours.score_texts(ASKED, TEXTS), atol=1e-5, rtol=1e-5)
    rewards = ours.score_texts([asked] * len(drawn), [one.response for one in drawn])
    assert float(rewards.mean()) == pytest.approx(0, abs=1e-5)
    assert float(rewards.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert ours.logits_per_reward == pytest.approx(1 / ours.head.gain)
