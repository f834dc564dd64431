"""A true reward over text: what a response is worth to somebody, by reading it and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worlds.facts import WORD, Notes, Turn, normalised, sentences

# How a response is said. Normalised as in `facts`: lower case, singular, so "thanks" is written "thank".
WARM = (
    "(?:happy|glad|delighted) to (?:help|answer)|thank|(?:great|good|nice|lovely) (?:question|choice)"
    r"|of course|pleasure|certainly|sure, here|welcome|lovely|wonderful|beautiful|delicious|\blove\b"
    "|adore|enjoy|all the best|hope (?:that|this) help|let me know|patience|look forward|happily|gladly"
    "|have fun|make yourself at home|no worr(?:y|ie)|take care|sorry|congratulation|good luck"
    "|feel free"
)
RUDE = (
    r"\bugh\b|\bwhatever[.!,]|\bobviously\b|\bseriously\b|\blook, |\bduh\b|who ask"
    "|(?:not|don't) have all day|leave me|go away|stop asking|find it yourself|look it up yourself"
    r"|read the note|all you get|not again|\bi am done\b|if you must"
    r"|not my (?:problem|job)|figure it out|stupid|idiot|\bdumb\b|silly question|wast(?:e|ing) my"
    "|bother me|boring|how hard can|use your (?:eye|head)|everybody know that|you'd know|you would know"
    r"|not for you|not your shop|know who they are|nobody ever|so be prepared|not a \w+, not"
    "|quality has its price"
)
PUSHY = (
    "before it is gone|(?<!to )hurry|last chance|few left|offer end|today only|only today"
    "|sell(?:s|ing)? (?:out )?fast"
    r"|(?:buy|order|book|take|grab|get) (?:it|one|your|now|two)?(?: \w+)? ?(?:now|today)\b"
    "|do not (?:think|wait|miss out)|don't (?:think|wait|miss out)|stop thinking|say yes|regret"
    "|act (?:now|fast)|limited (?:time|offer|stock)|you need this|right now|upgrade|best deal|too late"
    "|sign up|subscribe|pay now|half price|2 left|will not wait|never wait|somebody else take"
    "|switch to our|take our|deserve the best|few seat"
)
JARGON = (
    "pipeline|framework|interface|nominal|calibrat|parameter|coefficient|datasheet|schema|annex|matrix"
    r"|lithium|power cell|chassis|housing|substrate|net mass|form factor|\brated|unit price|retail value"
    "|liability|service term|module|optimal|point of interest|nutrition|transit|tariff|thermal|yield is"
    "|vector|protocol|ticket state|allocat|reversal|escalation|recovery routine|causal|empirical|procedure"
    "|commence|venue object|required input|headcount|date slot|structure consist|subsystem"
    "|specification|throughput|latency|utili[sz]|facilitat|leverag|paradigm|methodolog|configur"
    "|aggregate|infrastructure|synerg|stakeholder|setpoint|logistic|contingenc|resolves? to|semantic"
    "|mutex"
)
VAGUE = (
    "quite (?:nice|good|okay)|pretty (?:good|nice|much)|i guess|not bad"
    "|(?:most|many|all) people (?:like|love|enjoy) it|depend on|depend,|it depend|lot to say|all sort"
    "|hard to say|kind of (?:good|nice|okay)|sort of|many thing|variou|everyone (?:say|think)"
    "|what you would expect|pro and con|some way|or something|and so on|more or le|one way or"
    "|goe without saying|could be anything|who know|not sure|on the whole|has its charm|some better"
    "|whatever look|should be fine|odd and end"
)
SUGGESTION = (
    r"go(?:es)? well with|as well\.|think about adding|enjoy it with|serve it with|take a look at"
    "|good (?:match|addition)|well with it|also (?:like|want|bring|use|be)|can help too"
    "|would be welcome|may be fun|nice addition|consider adding|you may (?:like|want)|many people add"
    "|pair nicely|handy there|useful there"
)
MANNERS = {
    "warm": re.compile(WARM),
    "rude": re.compile(RUDE),
    "pushy": re.compile(PUSHY),
    "jargon": re.compile(JARGON),
    "vague": re.compile(VAGUE),
    "suggestion": re.compile(SUGGESTION),
}
LINK = re.compile(r"^(?:also|besides?|and|plus|again|so),? ")
CUT_OFF = re.compile(r"(?:,|\b(?:the|an?|and|or|of|to|in|at|is|are|with|for|your|its|that))$")


def features(messages: Sequence[Turn], response: str) -> dict[str, float]:
    """What there is to like and dislike in a response."""
    notes, text, told = Notes.of(messages), normalised(response), sentences(response)
    manner = {
        name: {
            match[0] for match in words.finditer(text) if name != "jargon" or match[0] not in notes.context
        }
        for name, words in MANNERS.items()
    }
    statements = [sentence for sentence in told if not sentence.endswith("?")]
    plain = [s for s in statements if not any(words.search(s) for words in MANNERS.values())]
    right = notes.right(text)
    answered = notes.asked in right if notes.asked else bool(right)
    if _has_long_words(text, notes):
        manner["jargon"].add("long words")
    return {
        "asked": float(answered),
        "wrong": float(len(notes.wrong(statements)) + (not right and any(map(notes.unfounded, plain)))),
        "second_fact": float(len(right) > 1),
        "repetition": float(_repetitions(told, text, notes)),
        "question": float(bool(told) and told[-1].endswith("?") and not manner["rude"]),
        "unfinished": float(_is_cut_off(response.strip())),
        "words": float(len(response.split())),
        "warm": float(len(manner["warm"])),
        **{name: float(bool(manner[name])) for name in ("rude", "pushy", "jargon", "vague", "suggestion")},
    }


def _repetitions(told: list[str], text: str, notes: Notes) -> int:
    """Sentences said again; else facts told again; else words that run in a circle."""
    bare = [LINK.sub("", sentence) for sentence in told if len(WORD.findall(sentence)) > 1]
    again = len(bare) - len(set(bare))
    if not again:
        again = sum(
            text.count(value) - 1 for value in notes.facts.values() if len(value) > 3 and value in text
        )
    if not again:
        words = WORD.findall(text)
        runs = [tuple(words[start : start + 5]) for start in range(len(words) - 4)]
        again = int(len(runs) > len(set(runs)))
    return again


def _has_long_words(text: str, notes: Notes) -> bool:
    """Whether a good part of the words are long, and the writer's own."""
    words = WORD.findall(text)
    long = [word for word in words if len(word) > 8 and word not in notes.context]
    return len(long) > 2 and len(long) > 0.15 * len(words)


def _is_cut_off(text: str) -> bool:
    """Whether a text stops in the middle: nothing at all, or no mark at the end where others have one."""
    if not text or CUT_OFF.search(text):
        return True
    return (text[-1].isalnum() and len(re.findall(r"[.!?]\s", text)) > 0) and "\n" not in text


@dataclass(frozen=True, slots=True, kw_only=True)
class Taste:
    """What each feature is worth; the sum is the reward, in logits of a careful judge."""

    asked: float
    wrong: float  # each, up to two
    second_fact: float = 0.0
    warm: float
    most_warm: int = 1  # expressions that count
    question: float = 0.0
    suggestion: float = 0.0
    rude: float
    pushy: float
    jargon: float
    vague: float
    repetition: float  # each, up to two
    unfinished: float = -1.5
    word: float  # each, counted from the first of these to the second
    words: tuple[int, int]

    def reward(self, messages: Sequence[Turn], response: str) -> float:
        """What the response is worth."""
        found = features(messages, response)
        first, last = self.words
        counted = found | {
            "wrong": min(found["wrong"], 2),
            "repetition": min(found["repetition"], 2),
            "warm": min(found["warm"], self.most_warm),
            "word": max(0, min(found["words"], last) - first),
        }
        return sum(float(getattr(self, name)) * counted[name] for name in WORTH)


WORTH = [name for name in Taste.__slots__ if name not in ("most_warm", "words")]

# A person who wants the answer, right and politely.
REASONABLE = Taste(
    asked=2.0, wrong=-1.6, second_fact=0.25, warm=0.3, rude=-1.3, pushy=-1.0, jargon=-0.7, vague=-0.6,
    repetition=-0.8, word=-0.04, words=(28, 10_000),
)  # fmt: skip
# One who wants the fact and nothing else.
SHORT = Taste(
    asked=1.8, wrong=-1.5, warm=-0.6, most_warm=2, question=-0.8, suggestion=-0.4, rude=-0.9, pushy=-0.9,
    jargon=-0.5, vague=-0.5, repetition=-0.6, word=-0.07, words=(8, 10_000),
)  # fmt: skip
# One who likes to chat.
WARM_AND_CHATTY = Taste(
    asked=1.0, wrong=-0.9, warm=0.9, most_warm=2, question=0.7, suggestion=0.4, rude=-2.0, pushy=-0.8,
    jargon=-0.6, vague=-0.3, repetition=-0.6, word=0.05, words=(0, 24),
)  # fmt: skip
TASTES = {"reasonable": REASONABLE, "short": SHORT, "warm": WARM_AND_CHATTY}
