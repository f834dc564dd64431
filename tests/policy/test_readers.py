"""Reward models with another tokenizer than the policy's read its words."""

import pytest
import torch

from lm.records import Message, RecordError, Response, of_one_reward_model, read, write
from policy import ppo, sample, sft
from policy.readers import WordReader, reader
from rewards.reward_model import RewardModel
from tests.policy.ppo_parts import PROMPTS, exchange_two_tokens, save_reward_model
from tests.policy.test_ppo import command
from tests.torch_models import (
    encoder_config,
    pair_tokenizer,
    save_classifier,
    save_tiny,
    tiny_chat,
    tiny_gpt2,
    tiny_tokenizer,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A policy, prompts, and reward models of other tokenizers: a BERT, and a GPT-2 of others."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "base")
    save_reward_model(folder / "ours", folder / "base")
    save_classifier(folder / "bert", encoder_config("bert", num_labels=1), pair_tokenizer())
    config = tiny_gpt2(tiny_chat()).config
    config.num_labels, config.pad_token_id = 1, 0
    save_classifier(folder / "gpt2", config, tiny_tokenizer())
    exchange_two_tokens(folder / "gpt2")
    write(folder / "prompts.jsonl", PROMPTS)
    return folder


def test_a_policys_tokens_are_read_only_by_a_model_with_its_tokenizer_and_template(place):
    chat = tiny_chat()
    asked = [prompt.messages for prompt in PROMPTS]
    ours = RewardModel.load(place / "ours")
    assert reader(ours, chat, asked) is ours
    assert "trunk" not in ours.__dict__  # the model wasn't read for it
    for name in ("bert", "gpt2"):
        assert isinstance(reader(RewardModel.load(place / name), chat, asked), WordReader)
    other = tiny_chat()
    other.tokenizer.chat_template = other.tokenizer.chat_template.replace("'|> '", "'|>'")
    assert isinstance(reader(ours, other, asked), WordReader)


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_words_of_a_draw_get_the_reward_that_the_same_words_get_elsewhere(place, name):
    chat = tiny_chat()
    judge = reader(RewardModel.load(place / name), chat, [prompt.messages for prompt in PROMPTS])
    texts = ["The soup is warm.", "At nine."]
    asked = [PROMPTS[0].messages, PROMPTS[1].messages]
    drawn = [chat.response(texts[0]), chat.response(texts[1], ended=False)]
    found = judge.score([chat.prompt(messages) for messages in asked], drawn)
    expected = RewardModel.load(place / name).score_texts(asked, texts, ended=[True, False])
    assert torch.equal(found, expected)
    assert found.std() > 1e-3


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.parametrize("baseline", ["group", "value"])
def test_ppo_learns_from_a_reward_model_of_others_with_another_tokenizer(place, tmp_path, name, baseline):
    output = tmp_path / "run"
    command(place, output, "--reward-model", str(place / name), "--baseline", baseline)
    result = ppo.RunDirectory(output).result()
    assert result["stopped"] == "iterations"
    trained, base = ppo.backbone.load(output), ppo.backbone.load(place / "base")
    assert not torch.equal(ppo.weights_of(trained)["model.norm.weight"], base.model.norm.weight)
    judge = RewardModel.load(place / name)
    shown = list(read(output / "samples.jsonl", Response))
    expected = judge.score_texts(
        [one.messages for one in shown], [one.response for one in shown], ended=[one.ended for one in shown]
    )
    assert [one.reward for one in shown] == pytest.approx(expected.tolist(), abs=1e-4)
    assert {one.reward_model["digest"] for one in shown} == {judge.digest}


def test_samples_and_the_best_of_them_are_chosen_by_words(place, tmp_path):
    sample.main(
        [
            *("--policies", str(place / "base"), "--prompts", str(place / "prompts.jsonl"), "--samples", "3"),
            *("--reward-model", str(place / "bert"), "--max-new-tokens", "6", "--device", "cpu"),
            *("--output", str(tmp_path / "samples")),
        ]
    )
    drawn = list(read(tmp_path / "samples" / "responses.jsonl", Response))
    judge = RewardModel.load(place / "bert")
    rewards = judge.score_texts(
        [one.messages for one in drawn], [one.response for one in drawn], ended=[one.ended for one in drawn]
    )
    assert [one.reward for one in drawn] == pytest.approx(rewards.tolist(), abs=1e-4)
    sft.main(
        [
            *("--model", str(place / "base"), "--samples", str(tmp_path / "samples"), "--best-of", "3"),
            *("--reward-model", str(place / "bert"), "--device", "cpu", "--output", str(tmp_path / "best")),
        ]
    )
    result = ppo.RunDirectory(tmp_path / "best").result()
    assert result["mean_reward_chosen"] > result["mean_reward"]


def test_rewards_of_two_reward_models_are_not_taken_for_one():
    def rewarded(digest):
        said = {"digest": digest, "gain": 1.0, "bias": 0.0}
        asked = (Message(role="user", content="Why?"),)
        return Response(
            prompt_id="p", messages=asked, response="So.", policy="base", reward=1.0, reward_model=said
        )

    assert len(list(of_one_reward_model([rewarded("a"), rewarded("a")]))) == 2
    with pytest.raises(RecordError, match="rewards of two reward models are mixed, 'a' and 'b'"):
        list(of_one_reward_model([rewarded("a"), rewarded("b")]))
