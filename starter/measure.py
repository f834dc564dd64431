"""How good responses to scenes are, by the values and the sentences that the generator knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from statistics import fmean

from starter.phrases import CLOSINGS, DOMAINS, EVENTS, OPENINGS, PRODUCTS, variants
from starter.scenes import Scene, respond, scene

GENERATED = 25_000  # scenes whose sentences count as those that the generator could have written
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LINK = re.compile(r"^(?:also, |besides, |and )")  # before a second fact
NUMBER = re.compile(r"\$\d+|\b\d+(?:\.\d+)? (?:hours|days|grams|litres|minutes|people)\b")


@dataclass(frozen=True, slots=True)
class Found:
    """What is in one response."""

    right: int  # the notes' values
    wrong: int  # other values
    answered: bool  # the value asked for is there; of an open question, any
    rude: bool
    repetition: int  # sentences, or else values, said again
    clean: tuple[bool, ...]  # for each sentence, whether the generator could have written it


@dataclass(frozen=True, slots=True)
class Figures:
    """What is in many responses, as means."""

    facts_right: float  # of the values told, the share that stands in the notes
    correct: float  # the value asked for is there, and no wrong one
    clean: float  # sentences that the generator could have written
    distinct: float  # different responses
    fourgrams: float  # different runs of four words
    words: float
    rude: float
    repetition: float


def measure(scenes: Sequence[Scene], responses: Sequence[str]) -> Figures:
    """What there is in one response to each scene."""
    if not scenes or len(scenes) != len(responses):
        raise ValueError(f"there must be a response to each scene, not {len(responses)} to {len(scenes)}")
    found = [look(scene, response) for scene, response in zip(scenes, responses, strict=True)]
    right, told = sum(each.right for each in found), sum(each.right + each.wrong for each in found)
    words = [response.split() for response in responses]
    runs = [tuple(each[start : start + 4]) for each in words for start in range(len(each) - 3)]
    return Figures(
        facts_right=right / max(1, told),
        correct=fmean(each.answered and not each.wrong for each in found),
        clean=fmean([is_clean for each in found for is_clean in each.clean] or [False]),
        distinct=len(set(responses)) / len(responses),
        fourgrams=len(set(runs)) / max(1, len(runs)),
        words=fmean(map(len, words)),
        rude=fmean(each.rude for each in found),
        repetition=fmean(each.repetition for each in found),
    )


def look(scene: Scene, response: str) -> Found:
    """What there is in one response."""
    text, values = response.lower(), {key: value.lower() for key, value in scene.facts}
    others = _any_of((*values.values(), scene.name, scene.audience)).sub("", text)
    wrong = {match[0] for match in _values_of(scene.domain).finditer(others)}
    wrong |= {match[0] for match in NUMBER.finditer(_values_of(scene.domain).sub("", others))}
    told = {key for key, value in values.items() if _any_of((value,)).search(text)}
    sentences = _sentences(text)
    again = len(sentences) - len(set(sentences))
    if not again:
        again = sum(
            max(0, len(_any_of((value,)).findall(text)) - 1) for value in values.values() if len(value) > 3
        )
    return Found(
        right=len(told),
        wrong=len(wrong),
        answered=scene.asked in told or (scene.asked in ("overview", "use") and bool(told)),
        rude=not _rude().isdisjoint(sentences),
        repetition=again,
        clean=tuple(sentence in _generated() for sentence in blanked(scene, response)),
    )


def blanked(scene: Scene, text: str) -> list[str]:
    """The sentences of a text without what they are about: values, names and numbers."""
    kinds, pattern = _blanks(scene.domain)
    own = {scene.audience, scene.noun, scene.noun.split()[-1], *scene.companions}

    def letter(match: re.Match[str]) -> str:
        kind = kinds[match[0]]
        return kind if kind == "V" or match[0] in own else match[0]

    text = pattern.sub(letter, text.lower().replace(scene.name.lower(), "N"))
    text = re.sub(r"\ban (?=[VC])", "a ", text)
    text = re.sub(r"\$?\d+(?:\.\d+)?", "#", text)
    return [LINK.sub("", sentence) for sentence in _sentences(text)]


def _sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in SENTENCE_END.split(text) if sentence.strip()]


@cache
def _generated() -> frozenset[str]:
    """The blanked sentences of many responses that the generator has written."""
    chance = Random("sentences")
    found = set()
    for _ in range(GENERATED):
        about = scene(chance, two_turns=0)
        found.update(blanked(about, respond(chance, about, "sft").text))
    return frozenset(found)


@cache
def _values_of(domain: str) -> re.Pattern[str]:
    return _any_of([value for fact in DOMAINS[domain].facts.values() for value in fact.values])


@cache
def _blanks(domain: str) -> tuple[Mapping[str, str], re.Pattern[str]]:
    """What may be blanked, with the letter that stands for it, and what finds it."""
    products = PRODUCTS.values() if domain == "shop" else [DOMAINS[domain]]
    nouns = {"shop": PRODUCTS, "help": PRODUCTS, "event": EVENTS}.get(domain, ())
    kinds = dict.fromkeys((word for noun in nouns for word in (noun, noun.split()[-1])), "K")
    kinds |= dict.fromkeys((audience for product in products for audience in product.audiences), "A")
    kinds |= dict.fromkeys((companion for product in products for companion in product.companions), "C")
    facts = DOMAINS[domain].facts.values()
    kinds |= dict.fromkeys((value.lower() for fact in facts for value in fact.values), "V")
    return kinds, _any_of(tuple(kinds))


@cache
def _rude() -> frozenset[str]:
    templates = (*OPENINGS["rude"], *CLOSINGS["rude"])
    return frozenset(text.lower() for template in templates for text in variants(template))


def _any_of(texts: Sequence[str]) -> re.Pattern[str]:
    """What finds any of the texts, the longest first, and none inside a word or a number."""
    longest_first = sorted({text.lower() for text in texts}, key=lambda text: (-len(text), text))
    return re.compile(rf"(?<![\w$.])(?:{'|'.join(map(re.escape, longest_first))})(?!\w|\.\d)")
