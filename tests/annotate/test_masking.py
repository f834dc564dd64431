import re
from re import _parser as parser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from annotate.masking import DEFAULT_PHRASES, MASK, _pattern, mask, names_itself


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("I am ChatGPT, made by OpenAI.", f"I am {MASK}, made by {MASK}."),
        ("As an AI\nlanguage model, I can't.", f"{MASK}, I can't."),
        ("> as an AI\n> language model", f"> {MASK}"),
        ("I’m a **large** `language` model", MASK),
        ("**GPT**-4.5. Then", f"**{MASK}. Then"),
        ("GPT‑4o and _gpt-4_", f"{MASK} and _{MASK}_"),
        ("Ｃｌａｕｄｅ, cla\u200bude", f"{MASK}, {MASK}"),
        ("Llama 3.1-70B or llama-2.", f"{MASK} or {MASK}."),
        ("see https://openai.com/x", f"see https://{MASK}.com/x"),
    ],
)
def test_a_phrase_is_covered_however_it_is_written(text, masked):
    assert mask(text, DEFAULT_PHRASES) == masked
    assert names_itself(text, DEFAULT_PHRASES)


@pytest.mark.parametrize(
    "text",
    ["Claudette met Claudé.", "as an\n\nAI model", "egpt, llamas and geminis", "I gemino", "openair"],
)
def test_a_longer_word_or_another_paragraph_is_no_phrase(text):
    assert mask(text, DEFAULT_PHRASES) == text
    assert not names_itself(text, DEFAULT_PHRASES)


def test_an_accent_counts_in_either_of_its_spellings():
    assert mask("Rene\u0301e writes", ["Ren\u00e9e"]) == f"{MASK} writes"
    assert mask("Renee writes", ["Ren\u00e9e"]) == "Renee writes"


def test_a_star_stands_for_the_rest_of_a_word_or_for_something_in_it():
    assert mask("Zeta-9b, Zeta 9 and zeta-", ["zeta-*"]) == f"{MASK}, Zeta 9 and zeta-"
    assert mask("my-own-model, my-model", ["my*model"]) == f"{MASK}, {MASK}"


def test_phrases_of_nothing_mask_nothing():
    assert mask("a * b", ["", "*", " ", "-", MASK]) == "a * b"


words = st.text(st.sampled_from("ab1GéßİＡ-*_'`▒\u200b\u0301 \n>"), min_size=0, max_size=8)


@given(
    st.text(st.sampled_from("ab1GéßİＡ-*_'`▒\u200b\u0301 \n>.㏂"), max_size=60), st.lists(words, max_size=4)
)
@example("a-1 a", ["a-*", "1"])
def test_after_masking_no_phrase_is_found(text, phrases):
    masked = mask(text, phrases)

    assert not names_itself(masked, phrases)
    assert (masked == text) == (not names_itself(text, phrases))


@given(st.text(max_size=200))
def test_a_text_without_phrases_is_unchanged(text):
    assert mask(text, ["a phrase that is in no such text"]) == text


def repetitions(parsed, inside=False):
    """Each repetition of a pattern: whether it lies in another, and how often it can match."""
    for operation, argument in parsed:
        name = str(operation)
        if name in {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}:
            yield inside, argument[1]
            yield from repetitions(argument[2], inside=argument[1] > 1)
        elif name == "SUBPATTERN":
            yield from repetitions(argument[3], inside)
        elif name == "BRANCH":
            for branch in argument[1]:
                yield from repetitions(branch, inside)
        elif name == "ATOMIC_GROUP":
            yield from repetitions(argument, inside)


@pytest.mark.parametrize("phrases", [DEFAULT_PHRASES, ("a*b*c*d*e*f*", "* * * a", "x_y-*z")])
def test_no_repetition_is_unbounded_or_holds_another(phrases):
    found = list(repetitions(parser.parse(_pattern(phrases).pattern)))

    assert found
    assert all(not inside and most <= 64 for inside, most in found)


@pytest.mark.parametrize(
    "piece",
    ["as an ", "gpt-", "a*", "as\n> ", "gpt" + "-" * 90, "*", "as **** an **** ai ", "a\u0301", "x_-y"],
)
def test_a_hostile_text_is_masked_as_any_other(piece):
    text = piece * (100_000 // len(piece))

    assert not names_itself(mask(text, (*DEFAULT_PHRASES, "a*a*a*a*b")), DEFAULT_PHRASES)


def test_the_default_phrases_cover_what_they_say():
    for phrase in DEFAULT_PHRASES:
        spoken = phrase.replace("*", "3")
        assert re.fullmatch(MASK, mask(spoken, [phrase])), phrase
