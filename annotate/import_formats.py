"""Rows of JSONL, CSV and Parquet files, one at a time, each with its line; a faulty line is a row too."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lm.records import LINE_LIMIT, RecordError

FORMATS = (".jsonl", ".ndjson", ".csv", ".parquet")
INFLATED_LIMIT = 1024**3  # bytes of a packed file
INFLATED_RATIO = 100  # a text that packs better than this is an attack
COLUMNS_LIMIT = 200
CHUNK = 64 * 1024
DELIMITERS = ",;\t"

Row = bytes | dict[str, Any]  # a line of JSON, or cells by column


class FileError(ValueError):
    """The file as a whole can't be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on a line."""

    line: int  # counted from 1; of a Parquet file the row
    row: Row | RecordError
    read: int  # bytes of the file up to here, or rows


@dataclass(frozen=True, slots=True)
class Table:
    """A file that was opened: its columns, where it has any, and how much there is to read."""

    columns: tuple[str, ...]
    total: int
    rows: Iterator[Found]


def ending_of(name: str) -> str:
    """The ending that tells the format, with .gz where it is packed; FileError where it is none of ours."""
    packed = ".gz" if name.lower().endswith(".gz") else ""
    ending = Path(name.lower().removesuffix(".gz")).suffix
    if ending not in FORMATS or (ending == ".parquet" and packed):
        raise FileError("its name must end with .jsonl, .csv, .parquet, .jsonl.gz or .csv.gz")
    return ending + packed


def open_table(path: Path) -> Table:
    """Open a file by the ending of its name."""
    ending = ending_of(path.name)
    with path.open("rb") as file:
        head = file.read(4)
    packed = head[:2] == b"\x1f\x8b"
    if packed != ending.endswith(".gz") or (head == b"PAR1") != (ending == ".parquet"):
        raise FileError(f"what is in it is no {ending}")
    if ending == ".parquet":
        return _parquet(path)
    lines = _Lines(path, packed=packed)
    if ending.startswith(".csv"):
        return _csv(lines)
    return Table((), lines.size, _json_lines(lines))


class _Lines:
    """A file's lines as bytes, never much more than the limit in memory, unpacked as they are read."""

    def __init__(self, path: Path, *, packed: bool) -> None:
        self.size = path.stat().st_size
        self._file = path.open("rb")
        self._packed = packed

    @property
    def read(self) -> int:
        """Bytes of the file that were taken so far."""
        return self.size if self._file.closed else self._file.tell()

    def __iter__(self) -> Iterator[tuple[int, bytes | RecordError]]:
        """Each line with its number; of one over the limit only that it is."""
        source: IO[bytes] = gzip.GzipFile(fileobj=self._file) if self._packed else self._file  # type: ignore[assignment]
        number, inflated = 0, 0
        with self._file:
            try:
                while line := source.readline(LINE_LIMIT + 6):
                    number += 1
                    inflated += len(line)
                    too_long = len(line.rstrip(b"\r\n")) > LINE_LIMIT
                    while too_long and line and not line.endswith(b"\n"):
                        line = source.readline(CHUNK)
                        inflated += len(line)
                        self._refuse_bomb(inflated)
                    self._refuse_bomb(inflated)
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                    yield number, RecordError(f"a line of more than {LINE_LIMIT} bytes") if too_long else line
            except (OSError, EOFError, zlib.error) as error:
                raise FileError(f"after line {number} the packed file is damaged: {error}") from error

    def _refuse_bomb(self, inflated: int) -> None:
        if self._packed and (inflated > INFLATED_LIMIT or inflated > INFLATED_RATIO * max(self.size, CHUNK)):
            raise FileError(
                f"unpacked it is over {INFLATED_LIMIT >> 20} MB or {INFLATED_RATIO} times its size"
            )


def _json_lines(lines: _Lines) -> Iterator[Found]:
    for number, line in lines:
        if isinstance(line, RecordError) or line.strip():
            yield Found(number, line, lines.read)


def _csv(lines: _Lines) -> Table:
    """The cells of each row; a row is known by its first line."""
    csv.field_size_limit(LINE_LIMIT)
    source = _Decoded(lines)
    source.again = header = next(source, "")
    if source.fault:
        raise FileError(f"line 1: {source.fault}")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    try:
        columns = tuple(name.strip() for name in next(reader, []))
    except csv.Error as error:
        raise FileError(f"line 1: {error}") from error
    if not any(columns):
        raise FileError("the first line must name the columns")
    if len(columns) > COLUMNS_LIMIT:
        raise FileError(f"it has {len(columns)} columns; at most {COLUMNS_LIMIT} are read")
    twice = sorted({name for name in columns if columns.count(name) > 1 or not name})
    if twice:
        raise FileError(f"the first line must name each column once, not {twice[0]!r}")
    return Table(columns, lines.size, _csv_rows(reader, source, columns, lines))


def _csv_rows(reader: Any, source: _Decoded, columns: tuple[str, ...], lines: _Lines) -> Iterator[Found]:
    while True:
        first = reader.line_num + source.lost + 1
        try:
            cells = next(reader)
        except StopIteration:
            if source.fault is None:
                return
            fault, source.fault = source.fault, None  # a line that is no text ends a row, not the file
            yield Found(source.number, fault, lines.read)
            continue
        except csv.Error as error:
            fault, source.fault = source.fault or RecordError(f"no CSV: {error}"), None
            yield Found(first, fault, lines.read)
            continue
        if not cells:
            continue
        if len(cells) != len(columns):
            problem = f"has {len(cells)} cells, but the first line names {len(columns)} columns"
            yield Found(first, RecordError(problem), lines.read)
        else:
            yield Found(first, dict(zip(columns, cells, strict=True)), lines.read)


class _Decoded:
    """Lines as text; one that is none stops the iteration, and the next call goes on behind it."""

    def __init__(self, lines: _Lines) -> None:
        self._lines = iter(lines)
        self.number = 0
        self.lost = 0  # lines that the reader of cells never saw
        self.fault: RecordError | None = None
        self.again: str | None = None  # put back to be read once more

    def __iter__(self) -> _Decoded:
        return self

    def __next__(self) -> str:
        if self.again is not None:
            again, self.again = self.again, None
            return again
        self.number, line = next(self._lines)
        try:
            if isinstance(line, RecordError):
                raise line
            return line.decode()
        except UnicodeDecodeError as error:
            bad = error.object[error.start : error.start + 1]
            self.fault = RecordError(f"byte {error.start + 1} is no UTF-8: {bad!r}")
        except RecordError as error:
            self.fault = error
        self.lost += 1
        raise StopIteration


def _parquet(path: Path) -> Table:
    from pyarrow import ArrowException  # type: ignore[import-untyped] # noqa: PLC0415, a job's alone: the web process never loads it
    from pyarrow.parquet import ParquetFile  # type: ignore[import-untyped] # noqa: PLC0415

    try:
        file = ParquetFile(path, memory_map=False, buffer_size=CHUNK)
        columns = tuple(file.schema_arrow.names)
    except (ArrowException, OSError) as error:
        raise FileError(f"it is no Parquet file: {error}") from error
    if len(columns) > COLUMNS_LIMIT or len(set(columns)) < len(columns):
        raise FileError(
            f"it has {len(columns)} columns; at most {COLUMNS_LIMIT} are read, each of its own name"
        )

    def rows() -> Iterator[Found]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield Found(number, row, number)
        except (ArrowException, OSError) as error:
            raise FileError(f"after row {number} it is damaged: {error}") from error

    return Table(columns, file.metadata.num_rows, rows())


def as_json(value: object) -> bytes:
    """A row of cells as the line of JSON that says the same; what JSON has no word for is refused."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=True).encode(errors="surrogatepass")
    except (TypeError, ValueError) as error:
        raise RecordError(f"holds what JSON can't: {error}") from error
