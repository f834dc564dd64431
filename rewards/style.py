"""How a response looks, counted without reading it: what raters may pay for though it says nothing.

A pair is compared by the share (a - b) / (a + b + 1) for each count, which is bounded, so that one very long
response does not outweigh all others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PATTERNS = {
    "lists": re.compile(r"^[ \t]*(?:[-*+•]|\d+[.)])[ \t]+", re.MULTILINE),
    "headers": re.compile(r"^#{1,6}[ \t]", re.MULTILINE),
    "emphasis": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
    "code": re.compile(r"^```|`[^`\n]+`", re.MULTILINE),
    "links": re.compile(r"\[[^\]\n]+\]\([^)\n]+\)|https?://"),
    "exclamations": re.compile(r"!"),
    "questions": re.compile(r"\?"),
    "emojis": re.compile("[\u2600-\u27bf\U0001f300-\U0001faff]"),
}
NAMES = ("length", *_PATTERNS)  # the columns of `counts`; length is in words
MARKDOWN = ("lists", "headers", "emphasis", "code", "links")


def counts(texts: Sequence[str]) -> Tensor:
    """How often each thing of NAMES is in each text: (texts, NAMES) in float64."""
    rows = [
        [len(text.split()), *(len(pattern.findall(text)) for pattern in _PATTERNS.values())] for text in texts
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(texts), len(NAMES))


def differences(found: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Of pairs of rows of `counts`, how much more of each the first has: (pairs, NAMES), each in (-1, 1)."""
    one, other = found[first], found[second]
    return (one - other) / (one + other + 1)


@dataclass(frozen=True, slots=True)
class Terms:
    """What pairs differ in by style, as columns whose root mean square is 1; none of them is all zero."""

    names: tuple[str, ...]
    columns: Tensor  # (pairs, names) in float64: of the chosen less the rejected
    units: Tensor  # (names,): the difference that a column's 1 stands for

    @classmethod
    def of(cls, names: Sequence[str], found: Tensor) -> "Terms":
        """The terms of these differences; a column that tells no pair's responses apart is dropped."""
        found = found.double()
        units = found.square().mean(0).sqrt()
        kept = (units > 1e-9).nonzero()[:, 0].tolist()
        return cls(tuple(names[place] for place in kept), found[:, kept] / units[kept], units[kept])

    @classmethod
    def counted(cls, texts: Sequence[str], chosen: Tensor, rejected: Tensor) -> "Terms":
        """The terms of pairs of texts."""
        return cls.of(NAMES, differences(counts(texts), chosen, rejected))

    @classmethod
    def none(cls, pairs: int) -> "Terms":
        """No terms, for so many pairs."""
        return cls((), torch.zeros(pairs, 0, dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
