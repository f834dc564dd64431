import csv
import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st
from pyarrow import parquet

from annotate.import_check import Bad, Checked, guess_fields
from annotate.import_config import ImportConfig
from annotate.import_formats import FileError
from annotate.import_records import ComparisonLine, JudgmentLine
from lm.records import LINE_LIMIT

GOOD = {"prompt_id": "a", "prompt": "Why?", "responses": ["one", "two"]}


def found(path: Path, kind: str = "comparisons", **options) -> list:
    """Good rows as records, bad ones as (line, field)."""
    checked = Checked(ImportConfig(file=path, kind=kind, **options))
    return [(one.line, one.field) if isinstance(one, Bad) else one.record for _, _, one in checked.rows(path)]


@pytest.fixture
def file_of(tmp_path):
    """Write lines, text or bytes."""

    def make(*lines, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        rows = [line if isinstance(line, bytes) else line.encode() for line in lines]
        content = b"".join(row + b"\n" for row in rows)
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return make


TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30
).filter(str.strip)


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=4))
@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv", "rows.parquet"])
def test_any_text_comes_through_every_format(tmp_path, name, rows):
    path = tmp_path / name
    cells = [{"prompt": prompt, "response_1": one, "response_2": two} for prompt, one, two in rows]
    if name == "rows.csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(cells[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(cells)
    elif name == "rows.parquet":
        parquet.write_table(pyarrow.Table.from_pylist(cells), path)
    else:
        lines = [json.dumps({"prompt": prompt, "responses": [one, two]}) for prompt, one, two in rows]
        content = "\n".join(lines).encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    records = found(path)

    assert [(one.messages[0].content, *one.responses) for one in records] == rows


FAULTS = [
    (b"{", ""),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["\xff", "b"]}', ""),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a"]}', "responses"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", " "]}', "responses"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a\\u0000", "b"]}', "responses.1"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", 2]}', "responses.2"),
    (b'{"prompt_id": "b", "responses": ["a", "b"]}', "messages"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "model": "m"}', "model"),
    (b'{"prompt_id": "b", "prompt": "x", "prompt": "y", "responses": ["a", "b"]}', "prompt"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "gold": "2>2"}', "gold"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "score": NaN}', "score"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "judgments": 0}', "judgments"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "purpose": "gold"}', "gold"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "purpose": "aa"}', "purpose"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "probability": 0}', "probability"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "probability": 1.5}', "probability"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "probability": "often"}', "probability"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "stratum": "active"}', "stratum"),
    (b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "stratum": "imported"}', "stratum"),
    (
        b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "purpose": "active", "score": 1, "stratum": "uniform"}',
        "stratum",
    ),
    (
        b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "purpose": "active", "score": 1, "stratum": "sampled"}',
        "probability",
    ),
    (
        b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "purpose": "active", "score": 1, "probability": 0.5}',
        "probability",
    ),
    (
        b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "gold": "1>2", "probability": 0.5}',
        "probability",
    ),
    (
        b'{"prompt_id": "b", "prompt": "x", "responses": ["a", "b"], "gold": "1>2", "stratum": "uniform"}',
        "stratum",
    ),
    (b'{"prompt_id": "a", "prompt": "Another?", "responses": ["a", "b"]}', "prompt_id"),
    (b'{"prompt_id": "' + b"b" * 201 + b'", "prompt": "x", "responses": ["a", "b"]}', "prompt_id"),
    (b'{"prompt": "' + b"x" * LINE_LIMIT + b'"}', ""),
    (b"[1]", ""),
]


@pytest.mark.parametrize(("line", "field"), FAULTS)
@pytest.mark.parametrize("guess", [False, True])
def test_a_corrupt_line_gives_one_error_that_names_line_and_field(file_of, line, field, guess):
    if guess and field == "model":  # a guessing look leaves such a key out, and says so
        return
    good = json.dumps(GOOD)

    rows = found(file_of(good, line, good), guess=guess)

    assert [type(row) for row in rows] == [ComparisonLine, tuple, ComparisonLine]
    assert rows[1] == (2, field)


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(garbage=st.binary(max_size=60).filter(lambda some: b"\n" not in some and some.strip()))
def test_whatever_stands_on_a_line_the_others_come_in(file_of, garbage):
    good = json.dumps(GOOD)

    rows = found(file_of(good, garbage, good))

    assert [isinstance(row, ComparisonLine) for row in rows] == [True, False, True]
    assert rows[1][0] == 2


@tuned(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(garbage=st.binary(max_size=40).filter(lambda some: not set(some) & set(b'\n\r",') and some.strip()))
def test_a_csv_row_of_another_width_or_no_text_is_one_error(file_of, garbage):
    path = file_of(
        b"prompt,response_1,response_2", b"Why?,a,b", garbage, b'How?,"c\nc",d', b"When?,e,f", name="r.csv"
    )

    rows = found(path)

    assert [row if isinstance(row, tuple) else row.messages[0].content for row in rows] == [
        "Why?",
        (3, ""),
        "How?",
        "When?",
    ]


def test_cells_are_read_as_what_they_are(file_of):
    path = file_of(
        "prompt_id;prompt;response_1;response_2;response_3;tags;gold;score;judgments;system",
        'p1;Why?;a;"b; c";;"lang:de, food";2>1;0.5;3;Be kind.',
        name="rows.csv",
    )

    (row,) = found(path)

    assert row.responses == ("a", "b; c")
    assert (row.tags, row.gold, row.score, row.judgments) == (("lang:de", "food"), "2>1", 0.5, 3)
    assert [message.role for message in row.conversation] == ["system", "user"]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ((b"prompt,answer\nWhy?,x",), "column 'answer' is none of ours"),
        ((b"prompt,prompt\na,b",), "name each column once, not 'prompt'"),
        ((b"\nWhy?",), "must name the columns"),
        ((b"\xff\xfep,r",), "line 1: byte 1 is no UTF-8"),
    ],
)
def test_a_file_whose_columns_are_unclear_is_refused_as_a_whole(file_of, lines, error):
    with pytest.raises(FileError, match=error):
        found(file_of(*lines, name="rows.csv"))


def test_columns_are_chosen_or_guessed_and_what_is_left_out_is_said(file_of):
    path = file_of("question,answer_a,answer_b,model", "Why?,x,y,secret", name="rows.csv")

    (chosen,) = found(
        path, columns=("prompt=question", "response_1=answer_b", "response_2=answer_a"), ignored=("model",)
    )
    (guessed,) = found(path, guess=True)

    assert chosen.responses == ("y", "x")
    assert guessed.responses == ("x", "y")
    assert guess_fields(("question", "answer_a", "model"), "comparisons") == {
        "question": "prompt",
        "answer_a": "response_1",
    }


def test_what_the_name_says_must_be_in_the_file(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"prompt,response_1\n")
    (tmp_path / "rows.jsonl").write_bytes(gzip.compress(b"{}"))
    (tmp_path / "rows.xlsx").write_bytes(b"PK")

    for name in ("rows.parquet", "rows.jsonl", "rows.xlsx"):
        with pytest.raises(FileError):
            found(tmp_path / name)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b" " * 50_000_000, mtime=0), gzip.compress(b"{}" * 9000, mtime=0)[:-20]],
    ids=["bomb", "cut off"],
)
def test_a_bomb_or_a_cut_off_file_is_refused(tmp_path, content):
    (tmp_path / "rows.jsonl.gz").write_bytes(content)

    with pytest.raises(FileError):
        found(tmp_path / "rows.jsonl.gz")


def test_pairs_of_texts_and_of_conversations_are_judgments(file_of):
    said = {"role": "user", "content": "Hi"}
    rows = found(
        file_of(
            '{"prompt": "Why?", "chosen": "a", "rejected": "b"}',
            json.dumps(
                {
                    "chosen": [said, {"role": "assistant", "content": "x"}],
                    "rejected": [said, {"role": "assistant", "content": "y"}],
                }
            ),
            '{"prompt": "Why?", "chosen": "a", "rejected": "b", "first": "rejected", "tie": true}',
        ),
        "judgments",
    )

    assert [(row.responses, row.order, row.order_shown) for row in rows] == [
        (("a", "b"), "1>2", False),
        (("x", "y"), "1>2", False),
        (("b", "a"), "1=2", True),
    ]


def test_the_pairs_of_one_judgment_are_one_row(file_of):
    pair = {"prompt_id": "r", "prompt": "R", "size": 3, "judgment_id": "7"}
    three = [("a", "b", "rejected", False), ("a", "c", "chosen", False), ("b", "c", "chosen", True)]
    lines = [
        json.dumps({**pair, "chosen": chosen, "rejected": rejected, "first": first, "tie": tie})
        for chosen, rejected, first, tie in three
    ]

    (row,) = found(file_of(*lines), "judgments")
    (missing,) = found(file_of(*lines[:2]), "judgments")

    assert isinstance(row, JudgmentLine)
    assert (row.responses, row.order) == (("b", "a", "c"), "2>1=3")
    assert missing == (1, "size")
