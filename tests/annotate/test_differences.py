import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate import differences
from annotate.differences import difference, text_before

TEXTS = st.text(st.sampled_from("ab ,.\nä值"), max_size=60) | st.text(max_size=40)


@given(TEXTS, TEXTS)
def test_the_steps_give_both_texts_back(before, after):
    steps = difference(before, after)

    assert text_before(steps) == before
    assert "".join(text for sign, text in steps if sign != "-") == after
    assert all(sign in "=-+" and text for sign, text in steps)
    assert all(one[0] != two[0] for one, two in pairwise(steps))


@given(TEXTS, TEXTS)
def test_texts_too_long_for_words_come_back_too(before, after):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(differences, "LARGEST", 6)
        steps = difference(before, after)

    assert text_before(steps) == before
    assert "".join(text for sign, text in steps if sign != "-") == after


def test_words_are_compared_not_letters():
    assert difference("The lamp costs $20.", "The lamp costs $25.") == [
        ["=", "The lamp costs $"],
        ["-", "20"],
        ["+", "25"],
        ["=", "."],
    ]


def test_what_has_no_spaces_is_compared_letter_by_letter():
    assert difference("这盏灯二十元", "这盏灯三十元") == [
        ["=", "这盏灯"],
        ["-", "二"],
        ["+", "三"],
        ["=", "十元"],
    ]


def test_of_long_texts_the_lines_that_stayed_are_found():
    lines = [f"Line {number} says something of its own." for number in range(1000)]
    before, after = "\n".join(lines), "\n".join([*lines[:500], "New.", *lines[501:]])

    steps = difference(before, after)

    assert [sign for sign, _ in steps] == ["=", "-", "+", "="]
    assert sum(len(text) for sign, text in steps if sign != "=") < 60


def test_the_longest_texts_take_no_noticeable_time():
    began = time.monotonic()
    difference("a b " * 12_500, "b a " * 12_500)
    difference("a\nb c\n" * 8_000, "b c\na a\n" * 8_000)

    assert time.monotonic() - began < 3
