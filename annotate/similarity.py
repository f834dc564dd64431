"""How alike two responses are, so that raters aren't asked to choose between twins.

Compared are the words in their order: of each text the pairs of neighbouring words, and the share that both
have (Dice's coefficient over multisets), in time that grows with the texts' length. Case, punctuation,
Markdown's marks and the numbers of list items don't count. Other numbers, negations and symbols (`<`, `%`, an
emoji) count for more than their share: texts that differ in one of them say different things, however long.
"""

import re
import unicodedata
from collections import Counter
from itertools import pairwise
from string import ascii_lowercase

# Scripts without spaces between words: there a letter is a word.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_PUNCTUATION = r".,;:!?'\"()\[\]{}*_#`\-\u2010-\u2027\u2030-\u205e\u00a1\u00ab\u00bb\u00bf\u00b7\u3001-\u301f"
_FACT = (
    r"(?:(?<![\w.,)\]])[-+])?\d+(?:[.,:/]\d+)*"  # a number with its sign
    r"|!=|(?<=[\d)\]] )[-*](?= [\d(\[])|(?<=[\d)\]])[-*](?=[\d(\[])"  # minus, times
    rf"|[^\w\s{_PUNCTUATION}]"
)
_ASCII = re.compile(rf"[a-z]+(?:'[a-z]+)*|{_FACT}")
_ANY = re.compile(
    rf"[{_SPACELESS}]|[^\W\d_{_SPACELESS}]+(?:'[^\W\d_{_SPACELESS}]+)*|{_FACT}|[^\W_]"  # last: odd digits
)
_UNCOUNTED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))|^\s*\d{1,2}[.)]\s", re.MULTILINE)  # 2,000 is 2000
_LETTERS = bytes(byte if chr(byte) in ascii_lowercase else ord(" ") for byte in range(256))
_COMMON = (ascii_lowercase + " \n\t.,;:!?'\"()[]{}*_#`-").encode()
_DIGIT = re.compile(r"\d")
NEGATIONS = frozenset(
    (
        *("no", "not", "never", "none", "nothing", "nobody", "neither", "nor", "without", "cannot"),
        *("nein", "nicht", "nie", "niemals", "kein", "keine", "keinen", "keinem", "keiner", "keines", "ohne"),
        *("weder", "non", "ne", "pas", "jamais", "sans", "aucun", "aucune", "ni", "nunca", "jamás", "sin"),
        *(
            "não",
            "nem",
            "sem",
            "mai",
            "senza",
            "nie",
            "bez",
            "нет",
            "не",
            "ни",
            "без",
            "لا",
            "ليس",
            "لم",
            "لن",
        ),
        *("不", "没", "沒", "無", "无", "未", "非", "别", "別"),
    )
)


def alike(one: str, other: str) -> float:
    """The share of neighbouring words that two texts have in common, 0 to 1; half at most if facts differ."""
    return 1.0 if one == other else _share(_words(one), _words(other))


def twins(one: str, other: str, threshold: float) -> bool:
    """Whether two texts are alike to this share or more; most pairs are told apart by a cheap bound."""
    if one == other:
        return True
    if one.isascii() and other.isascii() and _told_apart_by_letters(one, other, threshold):
        return False
    return _share(_words(one), _words(other)) >= threshold


def _told_apart_by_letters(one: str, other: str, threshold: float) -> bool:
    """Whether so many words are in one text alone that the two can't be twins.

    Each such word breaks a pair of neighbours or more, and so does each pair of neighbours in one text alone.
    A word holds three runs of letters at most (rock'n'roll), and beside those runs there are no more words
    than other characters.
    """
    left, right = one.lower().encode(), other.lower().encode()
    first, second = left.translate(_LETTERS).split(), right.translate(_LETTERS).split()
    others = len(left.translate(None, _COMMON)) + len(right.translate(None, _COMMON))
    broken = (1 - threshold) * (len(first) + len(second) + others + 2)
    if len(set(first).symmetric_difference(second)) > 3 * broken:
        return True
    pairs = set(pairwise(first))
    return len(pairs.symmetric_difference(pairwise(second))) > 3 * broken + others


def _words(text: str) -> list[str]:
    """A text's words, numbers and symbols as they are compared."""
    plain = text.isascii()
    text = text.lower() if plain else unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    if _DIGIT.search(text):
        text = _UNCOUNTED.sub("", text)
    return (_ASCII if plain else _ANY).findall(text)


def _share(first: list[str], second: list[str]) -> float:
    if not first and not second:  # punctuation alone, and not the same
        return 0.0
    left, right = _neighbours(first), _neighbours(second)
    share = 2 * (left & right).total() / (len(first) + len(second) + 2)
    return share if _facts(first) == _facts(second) else min(share, 0.5)


def _neighbours(words: list[str]) -> Counter[tuple[str, str]]:
    """Pairs of words that follow each other; the text's ends count as words."""
    return Counter(zip(["", *words], [*words, ""], strict=True))


def _facts(words: list[str]) -> list[str]:
    """What must be the same, in its order: numbers, symbols, negations."""
    return [word for word in words if word in NEGATIONS or not word[0].isalpha() or word.endswith("n't")]
