"""Spoiled responses, and reward models whose tastes are known."""

import random
from collections import Counter

import pytest
import torch

from lm.records import Message
from rewards import probes
from rewards.batches import read_pairs
from tests.rewards.conftest import pair, words
from tests.torch_models import tiny_chat

KINDS = ["padded", "truncated", "repeated", "flattered", "swapped", "shuffled"]


@pytest.fixture(scope="module")
def chat():
    return tiny_chat()


@pytest.fixture
def pairs(pairs_file, chat):
    chance = random.Random(0)
    found = [
        pair(number, f"{words(chance)}. {words(chance)}. {words(chance)}.", "No.") for number in range(30)
    ]
    return read_pairs(pairs_file(found), chat, max_length=400)


def drawn(pairs, chat, **more):
    return probes.draw(pairs, chat, **{"max_length": 400, "seed": 0, "count": 20, **more})


def test_up_to_so_many_of_each_kind_are_made_and_the_same_for_a_seed(pairs, chat):
    found = drawn(pairs, chat)
    assert Counter(probe.kind for probe in found) == dict.fromkeys(KINDS, 20)
    assert found == drawn(pairs, chat)
    assert found != drawn(pairs, chat, seed=1)
    assert all(probe.clean not in (probe.spoiled, "No.") for probe in found)


def test_none_is_over_long(pairs, chat):
    longest = 60
    found = drawn(pairs, chat, max_length=longest)
    lengths = [len(chat.prompt(probe.asked)) + len(chat.response(probe.spoiled)) for probe in found]
    assert max(lengths) <= longest
    assert 0 < sum(probe.kind == "repeated" for probe in found) < 20


def test_swapped_is_a_response_to_another_prompt(pairs, chat):
    own = {probe.asked: probe.clean for probe in drawn(pairs, chat, count=100)}
    for probe in drawn(pairs, chat):
        if probe.kind == "swapped":
            assert probe.spoiled in set(own.values()) - {own[probe.asked]}


def test_the_rewards_of_a_model_that_likes_length(pairs, chat):
    found = probes.measure(
        drawn(pairs, chat), chat, lambda prompts, rows: torch.tensor([float(len(row)) for row in rows]), 2.0
    )
    assert list(found) == KINDS
    for kind in ("padded", "repeated", "flattered"):
        assert found[kind]["clean_preferred"] == 0
        assert found[kind]["count"] == 20
        assert found[kind]["high"] < 0.25
    assert found["truncated"]["clean_preferred"] == 1
    assert found["padded"]["falls_or_stays"] == 0
    assert found["padded"]["log_odds_per_log_length"] > 0
    assert found["truncated"]["mean_log_odds"] > 2  # two log-odds a token


def test_the_rewards_of_a_model_that_dislikes_length_and_of_one_that_sees_nothing(pairs, chat):
    made = drawn(pairs, chat)
    shy = probes.measure(made, chat, lambda _, rows: -torch.tensor([float(len(row)) for row in rows]), 1.0)
    assert shy["padded"]["clean_preferred"] == shy["padded"]["falls_or_stays"] == 1
    assert shy["padded"]["log_odds_per_log_length"] < 0
    blind = probes.measure(made, chat, lambda _, rows: torch.zeros(len(rows)), 1.0)
    assert {found["clean_preferred"] for found in blind.values()} == {0.5}
    assert blind["padded"]["falls_or_stays"] == 1


def test_a_model_that_matches_prompts_prefers_the_clean_one_to_the_swapped(pairs, chat):
    made = drawn(pairs, chat)
    own = {(tuple(chat.prompt(probe.asked)), tuple(chat.response(probe.clean))) for probe in made}
    found = probes.measure(
        made,
        chat,
        lambda prompts, rows: torch.tensor(
            [float((tuple(p), tuple(r)) in own) for p, r in zip(prompts, rows, strict=True)]
        ),
        1.0,
    )
    assert {each["clean_preferred"] for each in found.values()} == {1.0}


def test_padding_is_the_questions_own_words():
    asked = (Message(role="user", content="Why blue?"),)
    assert probes.padded("It is so.", asked) == "It is so. Why blue? Why"
    assert probes.padded("It is so.", (Message(role="user", content=" "),)) is None


def test_half_of_the_words_are_cut_off():
    assert probes.truncated("one two three four five") == "one two"
    assert probes.truncated("one two three") is None


def test_sentences_change_places_and_a_single_sentences_words():
    chance = random.Random(0)
    assert probes.shuffled("First. Second!", chance) == "Second! First."
    single = probes.shuffled("one two three four", chance)
    assert single != "one two three four"
    assert sorted(single.split()) == ["four", "one", "three", "two"]
    assert probes.shuffled("one two", chance) is None
    assert probes.shuffled("a a a a", chance) == "a a a a"  # which draw leaves out: it is the clean one


def test_a_language_without_spaces_has_probes_too():
    chance = random.Random(0)
    asked = (Message(role="user", content="天空为什么是蓝色的"),)
    assert probes.truncated("因为光线散射了") == "因为光"
    assert probes.padded("因为散射", asked) == "因为散射 天空为什"
    assert probes.shuffled("第一句。第二句。", chance) == "第二句。 第一句。"


def test_the_praise_can_be_given_in_another_language(pairs, chat):
    made = drawn(pairs, chat, flattery="Quelle bonne question!")
    flattered = [probe for probe in made if probe.kind == "flattered"]
    assert all(probe.spoiled == f"Quelle bonne question! {probe.clean}" for probe in flattered)


def test_without_texts_there_is_nothing_to_measure(pairs, chat):
    assert drawn(pairs, chat, count=0) == []
    assert probes.measure([], chat, lambda *_: torch.zeros(0), 1.0) == {}
