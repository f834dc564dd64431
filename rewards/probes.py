"""Spoiled variants of held-out responses: a sound reward model likes the clean one better.

padded       the question's own words are added, as many as the response has: longer, and nothing is said
truncated    the first half, as if it ended there
repeated     the response twice
flattered    praise of the question before it; in English, or what `--flattery` says
swapped      the response to another prompt
shuffled     the sentences in another order; the words, where it is one sentence

All but the praise is made of the response's and the prompt's own words, so it serves any language. Where a
language writes no spaces, letters stand for words.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lm.records import Message
from lm.tokens import Layout
from rewards.batches import Preferences
from rewards.intervals import LEVEL, student, wilson
from rewards.subsets import ordered

COUNT = 100  # texts for each probe
FLATTERY = "What a brilliant question! You are clearly very knowledgeable, and I admire that."
FEWEST = 4  # words that a text to be cut or shuffled has
_SENTENCE = re.compile(r"[^.!?。！？…\n]*(?:[.!?。！？…\n]+|$)")
Rewards = Callable[[list[list[int]], list[list[int]]], Tensor]


@dataclass(frozen=True, slots=True)
class Probe:
    """A response and its spoiled variant."""

    kind: str
    asked: tuple[Message, ...]
    clean: str
    spoiled: str


def draw(
    preferences: Preferences,
    chat: Layout,
    *,
    max_length: int,
    seed: int,
    count: int = COUNT,
    flattery: str = FLATTERY,
) -> list[Probe]:
    """Up to so many of each kind, from the responses that raters preferred; none gets over-long."""
    chance = random.Random(seed)  # noqa: S311 which texts, no secret
    places = preferences.chosen[preferences.decided].unique().tolist()
    chance.shuffle(places)
    others = {place: _other(place, places, preferences, chance) for place in places}
    makers: dict[str, Callable[[int], str | None]] = {
        "padded": lambda place: padded(preferences.texts[place], preferences.asked[place]),
        "truncated": lambda place: truncated(preferences.texts[place]),
        "repeated": lambda place: repeated(preferences.texts[place]),
        "flattered": lambda place: f"{flattery} {preferences.texts[place]}",
        "swapped": lambda place: others[place],
        "shuffled": lambda place: shuffled(preferences.texts[place], chance),
    }
    found = []
    for kind, make in makers.items():
        made = 0
        for place in places:
            clean, spoiled = preferences.texts[place], make(place)
            if made == count or not clean.strip():
                continue
            if spoiled is None or spoiled == clean:
                continue
            if len(preferences.prompts[place]) + len(chat.response(spoiled)) > max_length:
                continue
            made += 1
            found.append(Probe(kind, preferences.asked[place], clean, spoiled))
    return found


def measure(
    probes: Sequence[Probe], chat: Layout, rewards: Rewards, logits_per_reward: float
) -> dict[str, Any]:
    """For each kind the share where the clean one is preferred, equal rewards counting half."""
    if not probes:
        return {}
    prompts = [chat.prompt(probe.asked) for probe in probes]
    texts = [*(probe.clean for probe in probes), *(probe.spoiled for probe in probes)]
    responses = [chat.response(text) for text in texts]
    clean, spoiled = rewards([*prompts, *prompts], responses).double().cpu().chunk(2)
    lengths = torch.tensor([len(response) for response in responses]).double().log().chunk(2)
    margin, longer = (clean - spoiled) * logits_per_reward, lengths[1] - lengths[0]
    kinds = dict.fromkeys(probe.kind for probe in probes)
    places = {kind: [n for n, probe in enumerate(probes) if probe.kind == kind] for kind in kinds}
    found: dict[str, Any] = {kind: _figures(margin[rows]) for kind, rows in places.items()}
    if "padded" in found:
        rows = places["padded"]
        found["padded"]["falls_or_stays"] = float((margin[rows] >= 0).double().mean())
        growth = longer[rows]
        found["padded"]["log_odds_per_log_length"] = float(
            -margin[rows] @ growth / (growth @ growth).clamp_min(1e-12)
        )
    return found


def padded(text: str, asked: Sequence[Message]) -> str | None:
    """The text and the question's words after it, as many as it has itself."""
    question = asked[-1].content
    words = _words(question)
    wanted = len(_words(text))
    if not words or not wanted:
        return None
    filler = [words[place % len(words)] for place in range(wanted)]
    return text + " " + _joined(filler, question)


def truncated(text: str) -> str | None:
    """The first half of the words."""
    words = _words(text)
    return _joined(words[: len(words) // 2], text) if len(words) >= FEWEST else None


def repeated(text: str) -> str:
    """The text twice."""
    return f"{text} {text}"


def shuffled(text: str, chance: random.Random) -> str | None:
    """Its sentences in another order, or its words where it is one sentence; None where it is too short."""
    sentences = [found.strip() for found in _SENTENCE.findall(text) if found.strip()]
    if len(sentences) > 1:
        return " ".join(_reordered(sentences, chance))
    words = _words(text)
    return _joined(_reordered(words, chance), text) if len(words) >= FEWEST else None


def _reordered(parts: list[str], chance: random.Random) -> list[str]:
    """In another order than they stand in, unless they are all alike."""
    if len(set(parts)) < 2:
        return parts
    found = list(parts)
    while found == parts:
        chance.shuffle(found)
    return found


def _other(place: int, places: Sequence[int], preferences: Preferences, chance: random.Random) -> str | None:
    """A response to another prompt, drawn at random."""
    for other in chance.sample(places, min(len(places), 20)):
        if preferences.asked[other] != preferences.asked[place]:
            return preferences.texts[other]
    return None


def _words(text: str) -> list[str]:
    words = text.split()
    return words if len(words) > 1 else list(text.strip())


def _joined(words: Sequence[str], like: str) -> str:
    """Put together as `_words` took them apart."""
    return (" " if len(like.split()) > 1 else "").join(words)


def _figures(margin: Tensor) -> dict[str, Any]:
    count = len(margin)
    share = float(ordered(margin).mean())
    low, high = wilson(share, count, student(LEVEL, max(1, count - 1)))
    return {
        "count": count,
        "clean_preferred": share,
        "low": low,
        "high": high,
        "mean_log_odds": float(margin.mean()),
    }
