"""How a response looks, counted without reading it: what raters may pay for though it says nothing.

A pair is compared by the share (a - b) / (a + b + 1) for each count, which is bounded, so that one very long
response does not outweigh all others.
"""

import re
from collections.abc import Sequence

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
