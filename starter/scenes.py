"""Scenes: notes with facts, a question about them, and responses whose properties are known."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Literal, TypeVar

from lm.records import Message
from starter import phrases
from starter.phrases import DOMAINS, variants

Mix = Literal["pretrain", "sft"]
T = TypeVar("T")

# How a property is made comparable to the others, for a read-out: less the first, over the second.
SCALES: Mapping[str, tuple[float, float]] = {
    "right": (0, 1),  # facts told as the notes have them
    "wrong": (0, 0.5),  # values that are not the notes'
    "answered": (0, 0.5),  # the fact asked for is told; of an open question, any
    "warm": (0, 0.7),  # expressions, up to two
    "rude": (0, 0.4),
    "question": (0, 0.4),  # asks back at the end
    "pushy": (0, 0.4),
    "jargon": (0, 0.4),
    "vague": (0, 0.4),
    "repetition": (0, 0.5),  # sentences said again
    "suggestion": (0, 0.4),
    "words": (16, 8),
}


@dataclass(frozen=True, slots=True)
class Shares:
    """How often a response of a mix has each manner and each defect."""

    opening: Mapping[str, float]
    closing: Mapping[str, float]
    warm_tone: float
    wrong: float
    elsewhere: float  # answers another question
    vague: float
    repetition: float
    jargon: float
    suggestion: float


MIXES: Mapping[Mix, Shares] = {
    "pretrain": Shares(
        opening={"none": 40, "warm": 27, "neutral": 15, "rude": 18},
        closing={"none": 48, "question": 20, "thanks": 10, "pushy": 13, "rude": 9},
        warm_tone=0.3,
        wrong=0.07,
        elsewhere=0.12,
        vague=0.12,
        repetition=0.08,
        jargon=0.12,
        suggestion=0.15,
    ),
    "sft": Shares(
        opening={"none": 50, "warm": 24, "neutral": 14, "rude": 12},
        closing={"none": 54, "question": 18, "thanks": 9, "pushy": 11, "rude": 8},
        warm_tone=0.25,
        wrong=0.08,
        elsewhere=0.14,
        vague=0.13,
        repetition=0.08,
        jargon=0.11,
        suggestion=0.12,
    ),
}
FACTS_TOLD = {1: 52, 2: 33, 3: 15}  # how many facts a response tells, in percent


@dataclass(frozen=True)
class Scene:
    """Notes and a conversation about them that ends in a question."""

    domain: str
    name: str  # what the notes are about; a tenth of all names is held out
    noun: str
    head: str  # how the notes open
    facts: tuple[tuple[str, str], ...]
    companions: tuple[str, ...]
    audience: str
    asked: str = ""  # a key of the facts, "overview" or "use"
    question: str = ""
    history: tuple[tuple[str, str], ...] = ()  # questions and responses before

    @property
    def notes(self) -> str:
        """The facts as the system message has them."""
        return "; ".join((f"Notes: {self.head}", *(f"{key}: {value}" for key, value in self.facts)))

    @property
    def messages(self) -> tuple[Message, ...]:
        """The whole conversation, as a model is asked."""
        turns = [Message(role="system", content=self.notes)]
        for question, response in self.history:
            turns += [
                Message(role="user", content=question),
                Message(role="assistant", content=response),
            ]
        return (*turns, Message(role="user", content=self.question))

    def values(self, key: str) -> tuple[str, ...]:
        """All values that a key can have."""
        return DOMAINS[self.domain].facts[key].values


@dataclass(frozen=True)
class Style:
    """What a response is to be like."""

    opening: str = "none"
    closing: str = "none"
    warm_tone: bool = False
    wrong: bool = False
    elsewhere: bool = False
    vague: bool = False
    repetition: bool = False
    jargon: bool = False
    suggestion: bool = False
    facts: int = 1


@dataclass(frozen=True)
class Written:
    """A response, and what there is in it."""

    text: str
    found: Mapping[str, float]  # the names of SCALES, as counts

    @cached_property
    def properties(self) -> dict[str, float]:
        """What there is in it, scaled for a read-out."""
        return {name: (self.found[name] - centre) / scale for name, (centre, scale) in SCALES.items()}


def is_held_out(name: str) -> bool:
    """Whether a name is kept from training: a tenth of all, always the same."""
    return zlib.crc32(name.encode()) % 10 == 0


def scene(chance: Random, *, held_out: bool = False, two_turns: float = 0.2, mixed: float = 0.0) -> Scene:
    """A new scene, its name one of those for training or one of those held out.

    There are few explanations, each with facts of its own, so whoever learns from them would answer from
    memory and not from the notes. In the share that is mixed, the facts come from any of them.
    """
    (domain,) = chance.choices(list(DOMAINS), [domain.weight for domain in DOMAINS.values()])
    while True:
        drawn = _about(chance, domain, mixed)
        if is_held_out(drawn.name) == held_out:
            break
    drawn = ask(chance, drawn)
    if chance.random() < two_turns:
        first = respond_in(chance, drawn, _faultless(chance))
        drawn = replace(ask_again(chance, drawn), history=((drawn.question, first.text),))
    return drawn


def ask(chance: Random, about: Scene) -> Scene:
    """The scene with a question that says what it is about, and not the one it had."""
    domain = DOMAINS[about.domain]
    kinds = {"overview": 38.0, "use": 8.0 if domain.use else 0.0, "fact": 54.0 if domain.use else 62.0}
    kinds.pop(about.asked, None)
    (asked,) = chance.choices(list(kinds), list(kinds.values()))
    if asked == "overview":
        questions = domain.overview
    elif asked == "use":
        questions = domain.use
    else:
        asked = _other_key(chance, about)
        questions = domain.facts[asked].asked
    return replace(about, asked=asked, question=_filled(chance, questions, _words(about)))


def ask_again(chance: Random, about: Scene) -> Scene:
    """The scene with a short question about another fact, as one who goes on asking puts it."""
    asked = _other_key(chance, about)
    question = chance.choice(phrases.FOLLOW_ON) + chance.choice(DOMAINS[about.domain].facts[asked].again)
    return replace(about, asked=asked, question=question)


def respond(chance: Random, to: Scene, mix: Mix) -> Written:
    """A response as often good and bad in each way as the mix says."""
    shares = MIXES[mix]
    style = Style(
        opening=_draw(chance, shares.opening),
        closing=_draw(chance, shares.closing),
        warm_tone=chance.random() < shares.warm_tone,
        wrong=chance.random() < shares.wrong,
        elsewhere=chance.random() < shares.elsewhere,
        vague=chance.random() < shares.vague,
        repetition=chance.random() < shares.repetition,
        jargon=chance.random() < shares.jargon,
        suggestion=chance.random() < shares.suggestion,
        facts=_draw(chance, FACTS_TOLD),
    )
    return respond_in(chance, to, style)


def respond_in(chance: Random, to: Scene, style: Style) -> Written:
    """A response in a style; a response without facts says something vague."""
    domain, words = DOMAINS[to.domain], _words(to)
    found = dict.fromkeys(SCALES, 0.0)
    facts = _told(chance, to, style)
    body: list[str] = []
    if to.asked == "use" and (facts or chance.random() < 0.5):
        body.append(_filled(chance, domain.suits, words))
        facts = facts[:2]
    wrong = chance.randrange(len(facts)) if style.wrong and facts else -1
    technical = chance.randrange(len(facts)) if style.jargon and facts and chance.random() < 0.6 else -1
    right = set()
    for number, (key, value) in enumerate(facts):
        if number == wrong:
            value = _another_value(chance, to, key)  # noqa: PLW2901 the same fact, told wrongly
        else:
            right.add(key)
        warm = style.warm_tone and number != technical and chance.random() < 0.8
        found["warm"] += warm
        tone = "technical" if number == technical else "warm" if warm else "plain"
        body.append(_sentence(chance, to, key, value, tone, first=not body))
    if style.vague or not body:
        body.insert(chance.choice([0, len(body)]), _filled(chance, phrases.VAGUE, words))
    if style.jargon and technical < 0:
        body.append(_filled(chance, phrases.JARGON, words))
    suggestion = style.suggestion and len(body) < 3
    if suggestion:
        words["companion"] = chance.choice(to.companions)
        body.append(_filled(chance, domain.suggestions, words))
    again = chance.choice([1, 1, 2]) if style.repetition else 0
    body += [chance.choice(body)] * again
    words["asks_back"] = _filled(chance, domain.asks_back, words)
    opening = _filled(chance, phrases.OPENINGS[style.opening], words)
    closing = _filled(chance, phrases.CLOSINGS[style.closing], words)
    text = " ".join(part for part in (opening, *body, closing) if part)
    rude = "rude" in (style.opening, style.closing)
    found |= {
        "right": len(right),
        "wrong": wrong >= 0,
        "answered": to.asked in right or (to.asked in ("overview", "use") and bool(right)),
        "warm": min(2, found["warm"] + (style.opening == "warm") + (style.closing == "thanks")),
        "rude": rude,
        "question": style.closing == "question" and not rude,
        "pushy": style.closing == "pushy",
        "jargon": style.jargon,
        "vague": any(sentence in _VAGUE for sentence in body),
        "repetition": again,
        "suggestion": suggestion,
        "words": len(text.split()),
    }
    return Written(text, {name: float(value) for name, value in found.items()})


_VAGUE = frozenset(text for template in phrases.VAGUE for text in variants(template))


def _about(chance: Random, domain: str, mixed: float) -> Scene:
    """Notes on something, without a question yet."""
    if domain == "explanation":
        name, *values = chance.choice(phrases.EXPLAINED)
        if chance.random() < mixed:
            values = [chance.choice(fact.values) for fact in DOMAINS[domain].facts.values()]
        told = list(zip(DOMAINS[domain].facts, values, strict=True))
        if chance.random() < 0.5:
            told.pop(chance.choice([1, 2, 3]))
        chance.shuffle(told)
        return _with_audience(chance, domain, name, "topic", f"why {name}", tuple(told))
    if domain == "shop":
        noun = chance.choice(list(phrases.PRODUCTS))
        product = phrases.PRODUCTS[noun]
        name = " ".join(map(chance.choice, (phrases.BRANDS, phrases.SERIES, phrases.MARKS)))
        pools = {key: DOMAINS["shop"].facts[key].values for key in product.keys}
        pools |= {"extra": product.features, "material": product.materials}
        facts = _facts(chance, {key: pools[key] for key in product.keys})
        return Scene(
            domain, name, noun, f"{noun} {name}", facts, product.companions, chance.choice(product.audiences)
        )
    facts = _facts(chance, {key: fact.values for key, fact in DOMAINS[domain].facts.items()})
    if domain == "travel":
        name = "".join(map(chance.choice, (phrases.PLACES, phrases.PLACE_ENDS, phrases.PLACE_KINDS)))
        return _with_audience(chance, domain, name, "place", f"place {name}", facts)
    if domain == "cooking":
        name = f"{chance.choice(phrases.INGREDIENTS)} {chance.choice(phrases.DISHES)}"
        return _with_audience(chance, domain, name, "dish", f"dish {name}", facts)
    if domain == "help":
        name, noun = str(chance.randint(100, 999)), chance.choice(list(phrases.PRODUCTS))
        return _with_audience(chance, domain, name, noun, f"order {name}, {noun}", facts)
    name = f"{chance.choice(phrases.OCCASIONS)} {chance.choice(phrases.EVENTS)}"
    return _with_audience(chance, domain, name, name.split()[1], name, facts)


def _with_audience(
    chance: Random, domain: str, name: str, noun: str, head: str, facts: tuple[tuple[str, str], ...]
) -> Scene:
    companions, audiences = DOMAINS[domain].companions, DOMAINS[domain].audiences
    return Scene(domain, name, noun, head, facts, companions, chance.choice(audiences))


def _facts(chance: Random, pools: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Three or four facts in any order."""
    keys = chance.sample(list(pools), chance.choice([3, 3, 4]))
    return tuple((key, chance.choice(pools[key])) for key in keys)


def _faultless(chance: Random) -> Style:
    """The style of a turn before the question."""
    return Style(
        opening=chance.choice(["none", "none", "warm"]),
        warm_tone=chance.random() < 0.3,
        facts=chance.choice([1, 1, 2]),
    )


def _other_key(chance: Random, about: Scene) -> str:
    return chance.choice([key for key, _ in about.facts if key != about.asked])


def _told(chance: Random, to: Scene, style: Style) -> list[tuple[str, str]]:
    """The facts that a response tells, in order."""
    facts = list(to.facts)
    chance.shuffle(facts)
    evades = style.vague and chance.random() < 0.6
    if to.asked in ("overview", "use"):
        return facts[evades : style.facts]
    rest = [fact for fact in facts if fact[0] != to.asked]
    if evades:
        return []
    if style.elsewhere:
        return rest[: max(1, style.facts - 1)]
    return [fact for fact in facts if fact[0] == to.asked] + rest[: style.facts - 1]


def _another_value(chance: Random, of: Scene, key: str) -> str:
    """A value of the key's that stands nowhere in the notes."""
    known = {value for _, value in of.facts}
    return chance.choice([value for value in of.values(key) if value not in known])


def _sentence(chance: Random, to: Scene, key: str, value: str, tone: str, *, first: bool) -> str:
    """One fact told; after the first, perhaps linked to what came before."""
    words = _words(to)
    it = "it"
    if first and to.domain == "shop":
        it = chance.choice(["it", f"the {to.name}", f"this {to.noun.split()[-1]}"])
    words |= {
        "it": it,
        "It": it,
        "value": value,
        "a_value": _with_article(value),
        "on_value": value if value in ("next week", "tomorrow") else f"on {value}",
    }
    sentence = _filled(chance, getattr(DOMAINS[to.domain].facts[key], tone), words)
    if first or sentence.partition(" ")[0] not in phrases.LINKABLE:
        return sentence
    link = chance.choice(phrases.LINKS)
    return link + sentence[0].lower() + sentence[1:] if link else sentence


def _words(of: Scene) -> dict[str, str]:
    return {"name": of.name, "noun": of.noun, "audience": of.audience}


def _filled(chance: Random, templates: Sequence[str], words: Mapping[str, str]) -> str:
    """One of the templates with its words chosen and filled in, as a sentence begins."""
    text = chance.choice(variants(chance.choice(templates))).format_map(words)
    return text[:1].upper() + text[1:]


def _with_article(value: str) -> str:
    if value.endswith("feet") or (value.endswith("s") and not value.endswith("ss")):
        return value
    return f"an {value}" if value[0] in "aeiou" else f"a {value}"


def _draw(chance: Random, shares: Mapping[T, float]) -> T:
    (drawn,) = chance.choices(list(shares), list(shares.values()))
    return drawn
