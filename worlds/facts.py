"""What a prompt's notes say, which of it the last question asks for, and what a response makes of it.

Notes are a line anywhere in the conversation, such as `Notes: kettle Ardo; price: $65; colour: teal`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol


class Turn(Protocol):
    """A message: lm.records.Message, or whatever else has these two."""

    @property
    def role(self) -> str:
        """Who says it."""

    @property
    def content(self) -> str:
        """What is said."""


WORD = re.compile(r"[$€£]?\w+(?:\.\d+)?")
NUMBER = r"[$€£]?(?<![\w.])\d+(?:\.\d+)?"
UNITS = (
    "second|minute|hour|day|night|week|month|year|people|person|guest|gram|kilogram|kilo|kg|g|litre|liter|ml|cm|mm"
    "|metre|meter|kilometre|km|mile|portion|serving|page|am|pm|o'clock"
)
MONTHS = "january|february|march|april|june|july|august|september|october|november|december"
DAY = "monday|tuesday|wednesday|thursday|friday|saturday|sunday|tomorrow|next week"
COLOUR = (
    "black|white|silver|gr[ea]y|navy|teal|red|green|orange|yellow|purple|copper|cream|pink|blue|brown|beige"
    "|gold|brass"
)
MATERIAL = (
    "alumini?um|steel|bamboo|cotton|wool|leather|linen|oak|glass|ceramic|titanium|cork|canva|plastic|nylon"
)


def thing(nouns: str) -> str:
    """A form: one of the nouns, with the word before it where that says which one is meant."""
    small = "the|an?|this|that|its|our|your|my|some|any|and|or|of|to|in|at|good|nice|great|lovely|local|main"
    return rf"(?:\b(?!(?:{small}) )\w+ )?\b(?:{nouns})\b"


# For each kind of notes, and each key: what a question about it says, and the form that its values have
# (the first group, where there is one). Texts are normalised: lower case, singular, numbers in digits.
KINDS: tuple[dict[str, tuple[str, str]], ...] = (
    {  # things to buy
        "price": ("how much(?: is| are|\\?)|cost|expensive|cheap|pay", ""),
        "battery": ("battery|charge|run for|last", ""),
        "colour": ("colour|color", rf"\b(?:{COLOUR})\b"),
        "weight": ("how heavy|heavy|weigh|weight|light|how much does it weigh", ""),
        "warranty": ("warranty|guarantee|covered", ""),
        "material": ("made of|material|made from", rf"\b(?:{MATERIAL})\b"),
        "size": ("size|how big|how large", r"\bsize (?:is )?((?:extra )?(?:small|medium|large))\b"),
        "volume": ("how much|hold|fit|capacity|fill", ""),
        "room": ("how much|fit|hold|pack", ""),
        "extra": (
            "special|feature|extra",
            r"(?:\bit (?:even |also )?(?:has|come with|integrate)|feature is|you will love|happy with)"
            r" (?:an? |the )?(?!all )(\w+(?: (?!and|which|that|for|with|in|on|to|of|too)\w+)?)\b",
        ),
    },
    {  # places to see
        "season": (
            "when|season|time of year|best time",
            r"\b(?:(?:early|late|mid) )?(?:spring|summer|autumn|winter|" + MONTHS + r")\b",
        ),
        "sight": (
            "see|sight|look at",
            thing(
                "harbour|bridge|garden|tower|market|walk|cave|museum|chapel|library|stair|mill|castle|palace|fountain"
            ),
        ),
        "dish": (
            "eat|the food|dish|meal",
            thing("soup|cake|stew|bread|squash|dumpling|pie|roll|tart|salad|noodle"),
        ),
        "trip": ("how do i get|get there|get to|how far|reach", r"\bby (?:tram|bus|train|ferry|boat|car)\b"),
        "ticket": ("how much(?: is|\\?)|cost|price|entry", ""),
    },
    {  # dishes to cook
        "time": ("how long|how many minute|does it take|minute|ready", ""),
        "serves": ("how many|serve|enough|portion", ""),
        "heat": ("heat|hot|oven|temperature", r"\b(?:low|medium|high|gentle|hot|warm|cool) (?:heat|oven)\b"),
        "key": (
            "taste|add|ingredient|flavour|secret",
            thing("thyme|salt|butter|juice|seed|pepper|oil|nut|mint|sauce|mustard|leave(?! me)|garlic|basil"),
        ),
        "step": (
            "trick|careful|important|mistake|what next",
            r"\b(?:remember to|make sure you|it is best to|require that you|(?:result|finish),) (\w+ \w+)\b",
        ),
    },
    {  # orders
        "status": (
            "status|where is|where|happening",
            r"\b(?:is:?|it|been|status) (packed|delayed|on the way|out for delivery|back in stock"
            r"|waiting for payment|ready for pickup|lost|cancelled|sold out)\b",
        ),
        "arrives": ("when|arrive|come|delivery|get here", rf"\b(?:{DAY})\b"),
        "refund": ("return|refund|money back|send it back|take it back", ""),
        "contact": (
            "talk to|contact|reach|call|speak to|who can",
            r"\b(?:chat|order|phone|help|service|front|info) (?:page|line|desk|counter)\b",
        ),
        "fix": (
            "not start|not work|broken|what can i|how can i|get it going|repair",
            r"\b(?:hold|change|clean|charge|update|reset|tighten|swap|replace|restart) (?:the|your|it) \w+\b",
        ),
    },
    {  # explanations: values are sentences, see `unfounded`
        "reason": ("why|reason", ""),
        "detail": ("how does it work|how does|more detail", ""),
        "example": ("example|instance", ""),
        "try": ("how can i|see for myself|myself|test it|show", ""),
    },
    {  # plans
        "day": ("which day|what day|when is|date", rf"\b(?:{DAY})\b"),
        "start": (
            "what time|start|begin|when should i be",
            r"\b(at (?:noon|midnight|\d{1,2}\b(?! ?(?:am|pm))))",
        ),
        "place": (
            "where|place|address",
            thing("hall|barn|gym|bank|café|cafe|terrace|green|garden|library|school|park|station|beach"),
        ),
        "bring": (
            "bring|need anything|take along",
            r"\b(?<!also )bring (?!nothing|yourself|it\b)(\w+ \w+)\b",
        ),
        "guests": ("how many|guest|big", ""),
    },
)
CUES = {key: re.compile(rf"\b(?:{cues}|(?<!\ba ){key})") for kind in KINDS for key, (cues, _) in kind.items()}
FORMS = {key: re.compile(form) for kind in KINDS for key, (_, form) in kind.items() if form}
ROUND_NUMBER = re.compile(rf"\b(?:about|around|nearly|only|over|up to|at least|at most) ({NUMBER})\b")
EXPLANATION = frozenset(KINDS[4])
SMALL_WORDS = frozenset(
    WORD.findall(
        "a an the on at in of to and or by for with every about until within no some your its it is are most"
    )
)
STOCK_WORDS = frozenset(  # what an explanation is wrapped in
    WORD.findall(
        "this that here what they when then from more some same time also besides note short example reason"
        " because happen like tell see imagine picture"
    )
)
NUMBER_WORDS = WORD.findall(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    " seventeen eighteen nineteen twenty"
)
DIGITS = {word: str(number) for number, word in enumerate(NUMBER_WORDS, start=1)} | {
    "thirty": "30", "forty": "40", "fifty": "50", "sixty": "60", "ninety": "90", "hundred": "100",
}  # fmt: skip
SPELT = re.compile(rf"\b(?:{'|'.join(DIGITS)})\b|\ban?(?= hour\b)")
PLURAL = re.compile(r"\b(?!does\b|goes\b)(\w{2,}[^\W\dsui])s\b")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
NOTES = re.compile(r"\bNotes: *([^\n]+)")


@lru_cache(maxsize=4096)
def normalised(text: str) -> str:
    """Lower case, singular, numbers in digits, dollars as $: what is said the same way reads the same."""
    text = text.lower().replace("’", "'").replace("-", " ")
    text = SPELT.sub(lambda match: DIGITS.get(match[0], "1"), text)
    text = re.sub(r"(\d)\.0+\b", r"\1", text).replace(" °", "°")
    text = re.sub(r"\$ ?(\d)", r"$\1", re.sub(r"(\d+(?:\.\d+)?) dollars?\b", r"$\1", text))
    return re.sub(r"[^\S\n]+", " ", PLURAL.sub(r"\1", text))


def sentences(text: str) -> list[str]:
    """The sentences of a text, normalised, each with its mark at the end."""
    return [part.strip() for part in SENTENCE_END.split(normalised(text)) if part.strip()]


def holds(text: str, value: str) -> bool:
    """Whether a normalised text holds a normalised value, not as a part of another word or number."""
    return re.search(rf"(?<![\w$.]){re.escape(value)}(?!\w|\.\d)", text) is not None


def says(text: str, value: str) -> bool:
    """Whether a text holds a value, or one of its sentences nearly all of the value's words."""
    if holds(text, value):
        return True
    words = set(WORD.findall(value)) - SMALL_WORDS
    if len(words) < 2:
        return bool(words) and words <= set(WORD.findall(text))
    needed = len(words) if len(words) < 4 else 0.75 * len(words)
    return any(len(words & set(WORD.findall(part))) >= needed for part in SENTENCE_END.split(text))


@dataclass(frozen=True, slots=True)
class Notes:
    """The facts of a conversation, and the one that is asked for."""

    facts: dict[str, str]
    asked: str  # a key of the facts; "" where the question asks for no one fact
    context: str  # all that a response may rely on

    @classmethod
    def of(cls, messages: Sequence[Turn]) -> Notes:
        """Read the notes and the last question of a conversation."""
        facts: dict[str, str] = {}
        for message in messages:
            if message.role != "assistant" and (line := NOTES.search(message.content)):
                facts |= dict(_facts(line[1]))
        questions = [NOTES.sub("", message.content) for message in messages if message.role == "user"]
        context = "\n".join(
            normalised(message.content) for message in messages if message.role != "assistant"
        )
        context = context.replace(";", "\n")  # a fact a line
        return cls(facts, _asked(normalised(questions[-1]) if questions else "", facts), context)

    def right(self, text: str) -> list[str]:
        """The keys of the facts that a normalised text tells."""
        return [key for key, value in self.facts.items() if says(text, value)]

    def wrong(self, told: Sequence[str]) -> set[str]:
        """The values in a response's statements that have a fact's form and stand nowhere in the notes."""
        if not self.facts:
            return set()
        counted = set(re.findall(rf"{NUMBER} ([^\W\d]+)", self.context)) - SMALL_WORDS
        units = "|".join((UNITS, *map(re.escape, counted)))
        quantity = re.compile(rf"[$€£]\d+(?:\.\d+)?|{NUMBER} ?(?:%|°[cf]?|(?:{units}|{MONTHS})\b)")
        kinds = [kind for kind in KINDS if kind.keys() & self.facts.keys()]
        forms = [quantity, ROUND_NUMBER, *(FORMS[key] for kind in kinds for key in kind if key in FORMS)]
        found = {
            match[match.lastindex or 0]
            for form in forms
            for sentence in told
            for match in form.finditer(sentence)
        }
        return {
            value for value in found if not (holds if re.search(r"\d", value) else says)(self.context, value)
        }

    def unfounded(self, sentence: str) -> bool:
        """Whether an explanation's sentence shares next to no word with the notes."""
        words = [word for word in WORD.findall(sentence) if len(word) > 3 and word not in STOCK_WORDS]
        shared = sum(word[:5] in self.context for word in words)
        return bool(EXPLANATION & self.facts.keys()) and len(words) > 1 and shared < len(words) / 4


def _facts(line: str) -> Iterable[tuple[str, str]]:
    """The `key: value` parts of a notes line; its head says what they are about."""
    for part in line.split(";")[1:]:
        key, colon, value = part.partition(":")
        if colon and value.strip():
            yield key.strip().lower(), normalised(value).strip(" .")


def _asked(question: str, facts: dict[str, str]) -> str:
    """The key whose longest cue in the question is longest; a key without cues is its own."""
    lengths = {}
    for key in facts:
        cues = CUES.get(key) or re.compile(re.escape(normalised(key)))
        lengths[key] = max((len(found) for found in cues.findall(question)), default=0)
    return max(lengths, key=lambda key: lengths[key]) if any(lengths.values()) else ""
