"""Look through a file: which rows are good, and what is wrong with the others.

    python -m annotate.import_check --file comparisons.jsonl --kind comparisons --output DIR

Good rows go to `good.jsonl`, each as `[line, row]`, the others to `bad.jsonl`. A program of a run does not
know the database: the worker stores the good rows when this has ended well.
"""

from __future__ import annotations

import hashlib
import json
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

from annotate.import_config import ImportConfig
from annotate.import_formats import FileError, Found, Row, as_json, open_table
from annotate.import_records import ComparisonLine, JudgmentLine, PairLine, PromptLine, judgment_of
from lm.records import LINE_LIMIT, RecordError, parse
from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, command

GOOD, BAD = "good.jsonl", "bad.jsonl"
MEMORY_LIMIT = 4 * 1024**3  # of addresses; a file that makes us take more is an attack
SHOWN = 5  # rows of a preview
FIRST_ERRORS = 20
REPORT_EVERY = 2000  # rows
HEAD = 20  # lines of JSON whose keys are looked at
PAIRS_LIMIT = 40  # of one judgment: nine responses make 36
COMMON = ("prompt_id", "prompt", "messages", "system", "tags")
FIELDS = {
    "prompts": COMMON,
    "comparisons": (
        *(*COMMON, "responses", "purpose", "gold", "explanation", "judgments", "score", "stratum"),
        "probability",
    ),
    "judgments": (
        *(*COMMON, "responses", "order", "all_bad", "strength", "rater", "at", "rationale", "confidence"),
        *("scores", "active_ms", "judgment_id", "order_shown", "simulated", "chosen", "rejected", "first"),
        *("tie", "size"),
    ),
}
RESPONSES = tuple(f"response_{number}" for number in range(1, 10))
KNOWN_AS = {  # how other files name what we ask for
    "prompt": ("question", "instruction", "query", "input"),
    "prompt_id": ("id", "question_id"),
    "response_1": ("response_a", "answer_a", "answer_1", "completion_a", "response_0"),
    "response_2": ("response_b", "answer_b", "answer_2", "completion_b"),
    "rater": ("annotator", "judge", "rater_id", "annotator_id", "user_id"),
    "system": ("system_prompt",),
    "at": ("created_at", "timestamp"),
}
LISTS = ("tags", "scores")
NUMBERS: dict[str, Callable[[str], Any]] = {
    "strength": int,
    "confidence": int,
    "judgments": int,
    "active_ms": int,
    "size": int,
    "score": float,
    "probability": float,
}
TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
TRUTHS = ("all_bad", "tie", "order_shown", "simulated")
TEXTS = ("prompt", "system", "explanation", "rationale", "chosen", "rejected", *RESPONSES)


@dataclass(frozen=True, slots=True)
class Good:
    """A row that can come in."""

    line: int
    record: PromptLine


@dataclass(frozen=True, slots=True)
class Bad:
    """A row that can't."""

    line: int
    field: str
    problem: str


def main() -> None:
    """Check the file and write what was found."""
    config, directory, _ = command(ImportConfig)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    directory.resume(0)
    stop = StopSignal()
    directory.write_result(check(config, directory, lambda: bool(stop)))


def check(config: ImportConfig, directory: RunDirectory, stop: Callable[[], bool]) -> dict[str, Any]:
    """Write good and bad rows of the file into the directory; the first of both come back with the counts."""
    table = Checked(config)
    first: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    fault = ""
    with (directory.path / GOOD).open("wb") as good, (directory.path / BAD).open("wb") as bad:
        try:
            for read, total, found in table.rows(directory.find(config.file)):
                if isinstance(found, Bad):
                    bad.write(json.dumps(asdict(found)).encode() + b"\n")
                    errors += [asdict(found)] if len(errors) < FIRST_ERRORS else []
                else:
                    good.write(json.dumps([found.line, found.record.to_json()]).encode() + b"\n")
                    if len(first) < SHOWN:
                        first.append({"line": found.line, **found.record.to_json()})
                if (table.good + table.bad) % REPORT_EVERY == 0:
                    directory.report(step=read, total=total, phase="check", good=table.good, bad=table.bad)
                    if stop():
                        sys.exit(EX_TEMPFAIL)
        except FileError as error:
            fault = str(error)
    return {
        "good": table.good,
        "bad": table.bad,
        "fault": fault,
        "columns": list(table.columns),
        "used": table.fields,
        "first": first,
        "errors": errors,
    }


class Checked:
    """A file's rows, each as what it brings or why it can't, and what was found so far."""

    def __init__(self, config: ImportConfig) -> None:
        self.config = config
        self.good = self.bad = 0
        self.columns: tuple[str, ...] = ()  # of the file
        self.fields: dict[str, str] = {}  # ours, by column
        self._names: dict[str, bytes] = {}  # prompt_id and its words' digest

    def rows(self, path: Path) -> Iterator[tuple[int, int, Good | Bad]]:
        """Each row; before it how much of the file was read, and how much there is."""
        table = open_table(path)
        found, self.columns = table.rows, table.columns
        if not self.columns:
            self.columns, found = _keys(found)
        self.fields = _fields_of(self.columns, self.config, strict=bool(table.columns))
        for place, record in _judgments_of_several((one, self._record(one)) for one in found):
            try:
                if isinstance(record, RecordError):
                    raise record
                self._refuse_second_meaning(record)
                self.good += 1
                yield place.read, table.total, Good(place.line, record)
            except RecordError as error:
                self.bad += 1
                yield place.read, table.total, Bad(place.line, error.field[:80], error.problem)

    def _record(self, found: Found) -> PromptLine | PairLine | RecordError:
        """What the row says, or why it says nothing."""
        try:
            if isinstance(found.row, RecordError):
                raise found.row
            return self._parsed(found.row)
        except RecordError as error:
            return error

    def _parsed(self, row: Row) -> PromptLine | PairLine:
        kind = self.config.kind
        if isinstance(row, dict):
            row = as_json(_typed({self.fields[name]: row[name] for name in row if name in self.fields}))
        elif kind == "judgments" or self.config.columns or self.config.ignored or self.config.guess:
            row = self._renamed(row)
        if kind == "judgments":
            pair = b'"chosen": ' in row and "chosen" in json.loads(row)
            return parse(row, PairLine) if pair else parse(row, JudgmentLine)
        return parse(row, PromptLine) if kind == "prompts" else parse(row, ComparisonLine)

    def _renamed(self, row: bytes) -> bytes:
        """A line of JSON with our names for its keys, and pairs of conversations as pairs of texts."""
        if len(row.rstrip(b"\r\n")) > LINE_LIMIT:
            raise RecordError(f"a line of more than {LINE_LIMIT} bytes")
        try:
            values = json.loads(row, object_pairs_hook=_each_once)
        except (ValueError, RecursionError) as error:
            if isinstance(error, RecordError):
                raise
            parse(row, PromptLine)  # says what is wrong
            raise RecordError("is no JSON") from error
        if not isinstance(values, dict):
            return row
        dropped = {column for column in self.columns if column not in self.fields}
        named: dict[str, Any] = {}
        for key, value in values.items():
            if key not in dropped:
                named[self.fields.get(key) or key] = value
        return as_json(_as_texts(_together(named)))

    def _refuse_second_meaning(self, line: PromptLine) -> None:
        """Refuse a prompt_id that named other words on an earlier line."""
        if not line.prompt_id:
            return
        words = repr([(message.role, message.content) for message in line.conversation])
        digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
        if self._names.setdefault(line.prompt_id, digest) != digest:
            raise RecordError("names another prompt on an earlier line", field="prompt_id")


def guess_fields(columns: Sequence[str], kind: str) -> dict[str, str]:
    """Which of our fields each column is, by its name; columns that say nothing are left out."""
    by_name = {column.strip().lower().replace(" ", "_"): column for column in reversed(columns)}
    found: dict[str, str] = {}
    for name in fields_of(kind):
        for known in (name, *KNOWN_AS.get(name, ())):
            if known in by_name and by_name[known] not in found:
                found[by_name[known]] = name
                break
    return found


def fields_of(kind: str) -> tuple[str, ...]:
    """What a column can hold: responses may also stand one in a column."""
    return (*FIELDS[kind], *(RESPONSES if "responses" in FIELDS[kind] else ()))


def _fields_of(columns: Sequence[str], config: ImportConfig, *, strict: bool) -> dict[str, str]:
    """The field of each column. Every column is ours, chosen or ignored: none is dropped silently."""
    fields = fields_of(config.kind)
    chosen = {column: name for name, column in config.mapping.items()}
    if unknown := [name for name in config.mapping if name not in fields]:
        raise FileError(f"{config.kind} have no field {unknown[0]!r}; there are {', '.join(fields)}")
    if config.guess:
        return guess_fields(columns, config.kind)
    if missing := [column for column in chosen if column not in columns]:
        raise FileError(f"there is no column {missing[0]!r}; there are {', '.join(columns)}")
    found = {}
    for column in columns:
        if column in chosen:
            found[column] = chosen[column]
        elif column in config.ignored:
            continue
        elif not strict or (column in fields and column not in config.mapping):
            found[column] = column  # a key of JSON that is none of ours is refused on its line
        else:
            raise FileError(f"column {column!r} is none of ours: say which field it is, or leave it out")
    return found


def _keys(rows: Iterator[Found]) -> tuple[tuple[str, ...], Iterator[Found]]:
    """The keys of the first lines of JSON, and all lines again."""
    head = list(islice(rows, HEAD))
    keys: dict[str, None] = {}
    for found in head:
        try:
            values = json.loads(found.row) if isinstance(found.row, bytes) else None
        except (ValueError, RecursionError):
            continue
        keys |= dict.fromkeys(values if isinstance(values, dict) else ())
    return tuple(keys), chain(head, rows)


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RecordError("the key stands there twice", field=max(keys, key=keys.count))
    return found


def _typed(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Cells as JSON has them: empty ones are not given, numbers and lists are read from their text."""
    found = {}
    for name, cell in cells.items():
        if cell is None or cell == "":
            continue
        found[name] = _of_cell(name, cell.strip() if isinstance(cell, str) and name not in TEXTS else cell)
    return _as_texts(_together(found))


def _of_cell(name: str, cell: Any) -> Any:
    if isinstance(cell, datetime):
        return (cell if cell.tzinfo else cell.replace(tzinfo=UTC)).isoformat()
    if name in ("prompt_id", "rater", "judgment_id") and isinstance(cell, int):
        return str(cell)
    if not isinstance(cell, str):
        return cell
    try:
        if name in NUMBERS:
            return NUMBERS[name](cell)
        if name in TRUTHS:
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                cell.lower()
            ]
        if name in ("messages", "responses") or (name in ("chosen", "rejected", "prompt") and _is_list(cell)):
            return json.loads(cell)
        if name in LISTS:
            parts = [part.strip() for part in re.split("[;,]", cell) if part.strip()]
            return [int(part) for part in parts] if name == "scores" else parts
    except (ValueError, KeyError, RecursionError):
        expected = "a number" if name in NUMBERS else "true or false" if name in TRUTHS else "a list"
        raise RecordError(f"must be {expected}, not {ascii(cell)[:60]}", field=name) from None
    return cell


def _is_list(cell: str) -> bool:
    return cell.startswith('[{"') and cell.endswith("}]")


def _together(values: dict[str, Any]) -> dict[str, Any]:
    """With response_1, response_2 … as the list that they are."""
    single = [values[name] for name in RESPONSES if name in values]
    if not single:
        return values
    if "responses" in values:
        raise RecordError("stands beside response_1; give one of the two", field="responses")
    if any(name not in values for name in RESPONSES[: len(single)]):
        raise RecordError("is empty, but a later one is not", field=f"response_{_gap(values)}")
    return {name: value for name, value in values.items() if name not in RESPONSES} | {"responses": single}


def _gap(values: Mapping[str, Any]) -> int:
    return next(number for number, name in enumerate(RESPONSES, start=1) if name not in values)


def _as_texts(values: dict[str, Any]) -> dict[str, Any]:
    """A pair of whole conversations, as many files have it, as a prompt and two texts."""
    chosen, rejected, prompt = values.get("chosen"), values.get("rejected"), values.get("prompt")
    if isinstance(prompt, list):
        values = {name: value for name, value in values.items() if name != "prompt"} | {"messages": prompt}
    if not (isinstance(chosen, list) and isinstance(rejected, list) and chosen and rejected):
        return values
    if chosen[:-1] != rejected[:-1]:
        raise RecordError("must differ from chosen in the last message alone", field="rejected")
    ends = {}
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        last = messages[-1]
        if not isinstance(last, dict) or last.get("role") != "assistant" or "content" not in last:
            raise RecordError("must end with the assistant's turn", field=name)
        ends[name] = last["content"]
    if "prompt" not in values and "messages" not in values:
        values = {**values, "messages": chosen[:-1]}
    return {**values, **ends}


def _judgments_of_several(
    rows: Iterator[tuple[Found, PromptLine | PairLine | RecordError]],
) -> Iterator[tuple[Found, PromptLine | RecordError]]:
    """Pairs as judgments: those of three responses and more stand side by side and come from one judgment."""
    for key, group in groupby(rows, key=_key_of):
        if key is None:
            for found, record in group:
                yield found, _judgment([record]) if isinstance(record, PairLine) else record
        else:
            several = list(islice(group, PAIRS_LIMIT))
            yield several[0][0], _judgment([record for _, record in several])


def _key_of(row: tuple[Found, PromptLine | PairLine | RecordError]) -> str | None:
    record = row[1]
    return record.judgment_id if isinstance(record, PairLine) and record.size > 2 else None


def _judgment(pairs: list[Any]) -> JudgmentLine | RecordError:
    try:
        return judgment_of(pairs)
    except RecordError as error:
        return error


if __name__ == "__main__":
    main()
