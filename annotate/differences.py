"""What an edit kept, left out and added, word by word."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

KEPT, LEFT_OUT, ADDED = "=", "-", "+"
LARGEST = 2_000_000  # words before times words after; beyond it lines are compared, for time grows with it
ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # written without spaces, so each is a word
WORD = re.compile(rf"[{ALONE}]\s*|(?:(?![{ALONE}])\w)+\s*|[^\w\s]\s*|\s+")

Step = tuple[str, str]


def difference(before: str, after: str) -> list[list[str]]:
    """The steps from one text to the other, each a sign with its text, as JSON keeps them.

    The texts of all steps but those added make up the text before; of all but those left out, the one after.
    """
    steps: list[list[str]] = []
    for sign, text in _steps(before, after, by_lines=True):
        if text and steps and steps[-1][0] == sign:
            steps[-1][1] += text
        elif text:
            steps.append([sign, text])
    return steps


def text_before(steps: Sequence[Sequence[str]]) -> str:
    """The text that an edit began with."""
    return "".join(text for sign, text in steps if sign != ADDED)


def _steps(before: str, after: str, *, by_lines: bool) -> Iterator[Step]:
    words, lines = (WORD.findall(before), WORD.findall(after)), (_lines(before), _lines(after))
    if len(words[0]) * len(words[1]) <= LARGEST:
        yield from ((sign, text) for sign, text, _ in _matched(*words))
    elif by_lines and len(lines[0]) * len(lines[1]) <= LARGEST:
        for sign, text, instead in _matched(*lines, joined=True):
            yield from _steps(text, instead, by_lines=False) if instead else [(sign, text)]
    else:
        yield from ((sign, text) for sign, text, _ in _apart(before, after))


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _matched(before: list[str], after: list[str], *, joined: bool = False) -> Iterator[tuple[str, str, str]]:
    """Sign and text of each step; joined, what replaces a text comes with it."""
    for kind, first, last, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = "".join(before[first:last]), "".join(after[start:end])
        if kind == "equal":
            yield KEPT, old, ""
        elif joined and kind == "replace":
            yield LEFT_OUT, old, new
        else:
            yield from _apart(old, new)


def _apart(before: str, after: str) -> Iterator[tuple[str, str, str]]:
    yield LEFT_OUT, before, ""
    yield ADDED, after, ""
