import json
import math
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm.records import (
    LINE_LIMIT,
    Conversation,
    Demonstration,
    Message,
    Pair,
    Prompt,
    RecordError,
    Response,
    Version,
    parse,
    read,
    write,
)

ASK = (Message(role="user", content="How much is it?"),)
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=40)
NAME = TEXT.filter(str.strip)
WHOLE = st.integers(0, 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
MESSAGES = st.lists(
    st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT),
    min_size=1,
    max_size=4,
).map(tuple)
SETTINGS = st.dictionaries(TEXT, st.none() | st.booleans() | WHOLE | FINITE | TEXT | st.lists(FINITE))


def conversations(messages: tuple[Message, ...]) -> st.SearchStrategy[Conversation]:
    responses = sum(message.role == "assistant" for message in messages)
    entries = st.lists(st.none() | st.dictionaries(TEXT, FINITE), min_size=responses, max_size=responses)
    return st.builds(Conversation, messages=st.just(messages), properties=st.none() | entries.map(tuple))


RECORDS = st.one_of(
    st.builds(Prompt, prompt_id=NAME, messages=MESSAGES, tags=st.lists(TEXT).map(tuple)),
    st.builds(
        Demonstration,
        messages=MESSAGES,
        response=TEXT,
        prompt_id=st.none() | NAME,
        source=st.none() | TEXT,
        guideline_version=st.none() | WHOLE,
        versions=st.lists(
            st.builds(Version, text=TEXT, note=TEXT, verdict=st.sampled_from([None, "accept", "send_back"])),
            max_size=2,
        ).map(tuple),
    ),
    MESSAGES.flatmap(conversations),
    st.builds(
        Response,
        prompt_id=NAME,
        messages=st.none() | MESSAGES,
        response=TEXT,
        policy=NAME,
        seed=st.none() | WHOLE,
        logprob=st.none() | FINITE,
        settings=st.none() | SETTINGS,
    ),
    st.builds(
        Pair,
        prompt_id=NAME,
        messages=MESSAGES,
        chosen=TEXT,
        rejected=TEXT,
        judgment_id=st.none() | TEXT,
        size=st.integers(2, 9),
        rater=st.none() | TEXT,
        first=st.sampled_from([None, "chosen", "rejected"]),
        tie=st.just(True),
        all_bad=st.booleans(),
        weight=st.floats(0, 1e300),
        margin=st.none() | FINITE,
        probability=st.none() | st.floats(0, 1, exclude_min=True),
        since_break=st.none() | WHOLE,
        simulated=st.booleans(),
    ),
)


@given(RECORDS)
def test_a_record_comes_back_from_its_line_as_it_was(record):
    line = record.to_line()
    assert parse(line, type(record)) == record
    assert len(line.decode().splitlines()) == 1  # whatever a reader takes for a line's end


def test_a_file_comes_back_as_it_was(tmp_path: Path):
    pairs = [Pair(prompt_id=f"p{n}", messages=ASK, chosen="a\u2028b", rejected="c\r\nd") for n in range(3)]
    assert write(tmp_path / "pairs.jsonl", pairs) == 3
    assert list(read(tmp_path / "pairs.jsonl", Pair)) == pairs
    assert [entry.name for entry in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "prompts.jsonl"
    write(path, [Prompt(prompt_id="old", messages=ASK)])
    bad = Prompt(prompt_id="new", messages=(Message(role="user", content="\0"),))
    with pytest.raises(RecordError, match="NUL"):
        write(path, [Prompt(prompt_id="new", messages=ASK), bad])
    assert [prompt.prompt_id for prompt in read(path, Prompt)] == ["old"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_a_pair_is_written_with_every_field():
    line = json.loads(Pair(prompt_id="p", messages=ASK, chosen="a", rejected="b").to_line())
    assert set(line) == set(Pair.__slots__)
    assert line["messages"] == [{"role": "user", "content": "How much is it?"}]


def test_a_plain_prompt_is_one_message():
    line = b'{"prompt_id": "p", "prompt": "How much is it?"}'
    assert parse(line, Prompt) == Prompt(prompt_id="p", messages=ASK)


TURNS = (*ASK, Message(role="assistant", content="$5."), *ASK, Message(role="assistant", content="Again $5."))


def test_a_conversation_may_say_nothing_of_its_responses():
    assert Conversation(messages=TURNS).properties is None
    assert Conversation(messages=TURNS, properties=(None, {"right": 1.0})).properties[1] == {"right": 1.0}


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ([], "2 entries, one for each assistant message"),
        ([None], "2 entries"),
        ([None, None, None], "2 entries"),
        ([None, {"right": "yes"}], "numbers"),
        ([None, {"right": True}], "numbers"),
        ([None, 3], "object"),
        ({"right": 1}, "list"),
    ],
)
def test_what_a_conversation_says_of_its_responses_must_fit(properties: object, problem: str):
    line = json.dumps({"messages": [turn.to_json() for turn in TURNS], "properties": properties})
    with pytest.raises(RecordError, match=f"properties.*{problem}"):
        parse(line.encode(), Conversation)


def test_a_record_never_changes():
    with pytest.raises(FrozenInstanceError):
        Prompt(prompt_id="p", messages=ASK).prompt_id = "q"


def test_a_mark_at_the_start_and_blank_lines_and_any_line_end_are_taken():
    lines = b'\xef\xbb\xbf{"prompt_id": "a", "prompt": "x"}\r\n\n  \n{"prompt_id": "b", "prompt": "x"}'
    assert [prompt.prompt_id for prompt in read(lines.splitlines(keepends=True), Prompt)] == ["a", "b"]


@pytest.mark.parametrize("content", [b"", b"\n\n\n"])
def test_a_file_without_lines_has_no_records(tmp_path: Path, content: bytes):
    (tmp_path / "empty.jsonl").write_bytes(content)
    assert list(read(tmp_path / "empty.jsonl", Prompt)) == []


@pytest.mark.parametrize(
    "text",
    [
        "\u2028 \u2029 \x85",
        "a\rb\nc",
        "\u202e\u2066",
        "\u200b",
        "e" + "\u0301" * 10_000,
        "👩‍👩‍👧",
        "\x1b[31m",
        "\x7f\x80",
    ],
)
def test_odd_text_is_text(tmp_path: Path, text: str):
    prompt = Prompt(prompt_id="p", messages=(Message(role="user", content=text),))
    write(tmp_path / "odd.jsonl", [prompt, prompt])
    assert list(read(tmp_path / "odd.jsonl", Prompt)) == [prompt, prompt]


PAIR = {
    "prompt_id": "p",
    "messages": [{"role": "user", "content": "x"}],
    "chosen": "a",
    "rejected": "b",
}


def pair(**changes: object) -> bytes:
    return json.dumps({**PAIR, **changes}).encode()


def pair_text(old: str, new: str) -> bytes:
    line = json.dumps(PAIR)
    assert old in line
    return line.replace(old, new, 1).encode()


def settings(value: str) -> bytes:
    return f'{{"prompt_id":"p","response":"r","policy":"m","settings":{value}}}'.encode()


BAD_PAIRS = {
    "a NUL byte": (pair_text('"a"', '"\0"'), "", "Invalid control character"),
    "a written NUL": (pair_text('"a"', r'"\u0000"'), "chosen", "NUL"),
    "a NUL in a key": (pair_text('"chosen"', r'"ch\u0000sen"'), "", "NUL"),
    "half a surrogate pair": (pair_text('"a"', r'"\ud800"'), "chosen", "surrogate"),
    "a byte that is no UTF-8": (pair_text('"a"', '"?"').replace(b"?", b"\xff"), "", r"UTF-8: b'\xff'"),
    "overlong UTF-8": (pair_text('"a"', '"?"').replace(b"?", b"\xc0\xaf"), "", "UTF-8"),
    "UTF-16": (json.dumps(PAIR).encode("utf-16"), "", "UTF-8"),
    "a mark in the middle": (b"\xef\xbb\xbf" + pair(), "", "BOM"),
    "two rows parted by a carriage return": (pair() + b"\r" + pair(), "", "Extra data"),
    "a line over the limit": (pair(chosen="x" * LINE_LIMIT), "", f"more than {LINE_LIMIT} bytes"),
    "NaN": (pair_text('"b"', '"b", "margin": NaN'), "margin", "finite number, not nan"),
    "Infinity": (pair_text('"b"', '"b", "margin": -Infinity'), "margin", "finite number, not -inf"),
    "1e400": (pair_text('"b"', '"b", "weight": 1e400'), "weight", "finite number, not inf"),
    "an integer of 10,000 digits": (pair_text('"b"', f'"b", "margin": {"9" * 10_000}'), "margin", "finite"),
    "a long integer as an id": (pair_text('"p"', "9" * 500), "prompt_id", "finite number"),
    "an integer as an id": (pair(prompt_id=7), "prompt_id", "must be a string, not 7"),
    "2^63": (pair(since_break=2**63), "since_break", "64 bits, not 9223372036854775808"),
    "a count of -1": (pair(since_break=-1), "since_break", "0 or more, not -1"),
    "true for an integer": (pair(size=True), "size", "integer of 64 bits, not True"),
    "1 for true": (pair(tie=1), "tie", "true or false, not 1"),
    "2.0 for an integer": (pair(size=2.0), "size", "integer of 64 bits, not 2.0"),
    "true for a number": (pair(weight=True), "weight", "a number, not True"),
    "a key twice": (pair_text('"chosen"', '"rejected": "c", "chosen"'), "rejected", "twice"),
    "a list": (b"[]", "", "must be an object, not []"),
    "a string": (b'"x"', "", "must be an object, not 'x'"),
    "null": (b"null", "", "must be an object, not None"),
    "an unknown key": (pair(model="m-7b"), "model", "unknown key, with 'm-7b'"),
    "an unknown key in a message": (
        pair(messages=[{"role": "user", "content": "x", "name": "n"}]),
        "messages.1.name",
        "unknown key",
    ),
    "a missing key": (b'{"prompt_id": "p"}', "messages", "is missing"),
    "a trailing comma": (pair()[:-1] + b",}", "", "no JSON"),
    "a comment": (pair() + b" // so", "", "Extra data"),
    "two objects": (pair() + pair(), "", "Extra data"),
    "an open line": (pair()[:-1], "", "no JSON"),
    "null for text": (pair(chosen=None), "chosen", "must be a string, not None"),
    "a blank id": (pair(prompt_id=" "), "prompt_id", "blank"),
    "no messages": (pair(messages=[]), "messages", "at least one"),
    "messages that are none": (pair(messages="x"), "messages", "must be a list, not 'x'"),
    "prompt beside messages": (pair(prompt="x"), "prompt", "beside messages"),
    "an unknown role": (pair(messages=[{"role": "bot", "content": "x"}]), "messages.1.role", "not 'bot'"),
    "an unknown side": (pair(first="left"), "first", "chosen or rejected, not 'left'"),
    "a comparison of one": (pair(size=1), "size", "2 to 9, not 1"),
    "all bad, yet no tie": (pair(all_bad=True), "all_bad", "tie"),
    "a weight below 0": (pair(weight=-0.5), "weight", "not -0.5"),
    "a probability above 1": (pair(probability=1.5), "probability", "not 1.5"),
}


@pytest.mark.parametrize(("line", "field", "problem"), BAD_PAIRS.values(), ids=BAD_PAIRS)
def test_a_bad_line_is_refused_with_its_place_and_value(
    tmp_path: Path, line: bytes, field: str, problem: str
):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(pair() + b"\n\n" + line + b"\n" + pair() + b"\n")
    rows = read(path, Pair)
    next(rows)
    with pytest.raises(RecordError) as caught:
        next(rows)
    assert str(caught.value).startswith(f"{path}, line 3: {field}")
    assert (caught.value.line, caught.value.field) == (3, field)
    assert problem in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[" * 33 + "]" * 33, "nested deeper than 32"),
        ("[" * 50_000 + "]" * 50_000, "nested deeper than 32"),
        ("[" * 50_000, "nested deeper than 32"),
        ("[]", "must be an object"),
        ('{"a": [NaN]}', "settings.a.1: must be a finite number"),
        (r'{"a": {"b\u0000": 1}}', "settings.a: holds a NUL"),
        (r'{"a": "\udc00"}', "settings.a: holds half a surrogate"),
        ('{"a": 1, "a": 2}', "a: the key stands there twice"),
    ],
)
def test_settings_are_free_but_not_lawless(value: str, problem: str):
    with pytest.raises(RecordError, match=problem):
        parse(settings(value), Response)


def test_settings_may_be_nested_to_the_limit():
    deep = settings('{"a":' * 31 + "1" + "}" * 31)
    assert parse(deep, Response).settings


def test_a_line_at_the_limit_is_read(tmp_path: Path):
    room = LINE_LIMIT - len(Prompt(prompt_id="p", messages=(Message(role="user", content=""),)).to_line())
    full = Prompt(prompt_id="p", messages=(Message(role="user", content="x" * room),))
    write(tmp_path / "full.jsonl", [full])
    assert list(read(tmp_path / "full.jsonl", Prompt)) == [full]
    (tmp_path / "full.jsonl").write_bytes(b"\xef\xbb\xbf" + full.to_line() + b"\r\n")
    assert list(read(tmp_path / "full.jsonl", Prompt)) == [full]
    with pytest.raises(RecordError, match="over"):
        replace(full, messages=(Message(role="user", content="x" * (room + 1)),)).to_line()


def test_a_file_without_a_line_end_is_refused_without_reading_it_whole():
    class Endless:
        taken = 0

        def readline(self, size: int) -> bytes:
            self.taken += size
            return b"x" * size

    source = Endless()
    with pytest.raises(RecordError, match="more than"):
        next(read(source, Prompt))
    assert source.taken < 2 * LINE_LIMIT


def test_numbers_are_what_their_field_says():
    record = parse(pair(weight=2, margin=-1), Pair)
    assert (record.weight, type(record.weight)) == (2.0, float)
    assert not math.isnan(record.margin)
