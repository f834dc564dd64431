import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from annotate.similarity import alike, twins

LONG = "It takes about an hour, and you can leave the rest to the oven while you set the table. " * 4


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is 42.", "The answer is 43."),
        (f"{LONG} It costs 42 euros.", f"{LONG} It costs 43 euros."),
        (f"{LONG} It is safe.", f"{LONG} It is not safe."),
        (f"{LONG} You can eat it.", f"{LONG} You can't eat it."),
        (f"{LONG} Das ist ein Pilz.", f"{LONG} Das ist kein Pilz."),
        (f"{LONG} x < 3", f"{LONG} x > 3"),
        (f"{LONG} a == b", f"{LONG} a != b"),
        (f"{LONG} It is -5 degrees.", f"{LONG} It is 5 degrees."),
        (f"{LONG} 3 - 2", f"{LONG} 3 + 2"),
        ("👍", "👎"),
        ("...", "!"),
        ("Dog bites man.", "Man bites dog."),
        ("A short answer.", "A long answer."),
        ("这很安全", "这不安全"),
    ],
)
def test_what_says_another_thing_is_no_twin(one, other):
    assert not twins(one, other, 0.95)
    assert alike(one, other) <= 0.5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes.", "yes!"),
        ("**Bold** words", "Bold words"),
        ("- one\n- two", "* one\n* two"),
        ("1. one\n2. two", "one\n\ntwo"),
        ("2,000 km", "2000 km"),
        ("Don’t do it", "don't do it"),
        ("Cafe\u0301", "Caf\u00e9"),
        ("猫は犬が好きです。", "猫は犬が好きです"),
        (f"{LONG} Very tasty.", f"{LONG} Very nice."),
    ],
)
def test_what_says_the_same_in_nearly_the_same_words_is_a_twin(one, other):
    assert twins(one, other, 0.95)


WORDS = st.sampled_from(
    ["the", "oven", "not", "rock'n'roll", "3", "don't", "-", "é", "a<b", "=", "GPT4", "12.", "\n"]
)
TEXTS = st.lists(WORDS, max_size=30).map(" ".join) | st.text(max_size=40)


@given(TEXTS, TEXTS, st.floats(0.5, 1))
@example("rock'n'roll", "rock n roll", 0.9)
def test_the_cheap_bound_never_tells_twins_apart(one, other, threshold):
    assert twins(one, other, threshold) == (alike(one, other) >= threshold)


@given(TEXTS, TEXTS)
def test_likeness_is_a_share_and_the_same_from_both_sides(one, other):
    assert 0 <= alike(one, other) <= 1
    assert alike(one, other) == alike(other, one)
    assert alike(one, one) == 1


def test_a_few_changed_words_are_told_by_their_share():
    chance = random.Random(1)
    words = [
        f"word{chance.randrange(500)}x".translate(str.maketrans("0123456789", "abcdefghij"))
        for _ in range(100)
    ]
    for changed in (1, 3, 10):
        other = list(words)
        for place in range(changed):
            other[place * 9 + 4] = "another"

        assert alike(" ".join(words), " ".join(other)) == pytest.approx(1 - 2 * changed / 101, abs=0.01)
