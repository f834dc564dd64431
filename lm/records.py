"""What crosses between the packages: one JSON object a line, checked on reading."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

LINE_LIMIT = 1024 * 1024  # bytes, without the line's end
DEPTH_LIMIT = 32
INTEGER_LIMIT = 2**63  # what every database stores

Source = Path | str | IO[bytes] | Iterable[bytes]
R = TypeVar("R", bound="Record")


class RecordError(ValueError):
    """A line that is no record: says where, which field, which value."""

    def __init__(self, problem: str, *, field: str = "", value: object = None):
        super().__init__(problem)
        self.problem, self.field, self.value = problem, field, value
        self.file, self.line = "", 0

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}: " if self.line else ""
        plain = self.field.isascii() and self.field.isprintable()
        field = f"{self.field[:80] if plain else _shown(self.field)}: " if self.field else ""
        return f"{place}{field}{self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a file."""

    def to_json(self) -> dict[str, Any]:
        """Every field, given or not, so that all lines of a file have the same keys."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def to_line(self) -> bytes:
        """The line that `read` takes, without its end."""
        value = self.to_json()
        _check_values(value, field="", depth=1)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        line = text.translate(_ESCAPED).encode()
        if len(line) > LINE_LIMIT:
            raise RecordError(f"a line of {len(line)} bytes is over {LINE_LIMIT}")
        return line

    def _refuse(self, name: str, problem: str) -> RecordError:
        value = getattr(self, name)
        return RecordError(f"{problem}, not {_shown(value)}", field=name, value=value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Record):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt(Record):
    """A line of prompts.jsonl: what a model is asked."""

    prompt_id: str
    messages: tuple[Message, ...]
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_prompt(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response(Record):
    """A line of responses.jsonl: what a policy answered, and how it was drawn."""

    prompt_id: str
    messages: tuple[Message, ...] | None = None
    response: str
    policy: str
    seed: int | None = None
    logprob: float | None = None  # of the whole response, in nats
    reference_logprob: float | None = None  # the same words under the reference
    reward: float | None = None
    reward_model: Mapping[str, Any] | None = None  # which gave the reward: its digest, gain and bias
    ended: bool | None = None  # whether the policy stopped by itself
    tokens: tuple[int, ...] | None = None  # as drawn, the stop token included
    settings: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        _check_prompt(self)
        if not self.policy.strip():
            raise self._refuse("policy", "must name the policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version(Record):
    """What the author of a demonstration sent, and what another person said of it."""

    text: str
    written_at: str | None = None  # ISO 8601
    guideline_version: int | None = None
    active_ms: int | None = None
    verdict: Literal["accept", "send_back", "reject"] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration(Record):
    """A line of demonstrations.jsonl: a response as people want it, and how it came to be."""

    messages: tuple[Message, ...]
    response: str
    prompt_id: str | None = None
    split: str | None = None  # of the prompt: train, or kept out of training
    source: str | None = None  # the response that was edited; none where it was written afresh
    author: str | None = None
    guideline_version: int | None = None  # what the author was shown
    versions: tuple[Version, ...] = ()  # as they were sent; the last one is the response

    def __post_init__(self) -> None:
        _check_prompt(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation(Record):
    """A line of a corpus: turns to learn from, and what is known of each of the assistant's."""

    messages: tuple[Message, ...]
    properties: tuple[Mapping[str, float] | None, ...] | None = None  # one entry for each assistant message

    def __post_init__(self) -> None:
        _check_prompt(self)
        responses = sum(message.role == "assistant" for message in self.messages)
        if self.properties is None:
            return
        if len(self.properties) != responses:
            problem = f"must have {responses} entries, one for each assistant message"
            raise self._refuse("properties", problem)
        values = [value for entry in self.properties if entry for value in entry.values()]
        if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
            raise self._refuse("properties", "must hold numbers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair(Record):
    """A line of pairs.jsonl: one preference, with all that is known of how it came about."""

    prompt_id: str
    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    judgment_id: str | None = None
    comparison_id: str | None = None
    size: int = 2  # responses in the comparison
    rater: str | None = None
    group: str | None = None
    first: Literal["chosen", "rejected"] | None = None  # which of the two was shown before the other
    tie: bool = False
    all_bad: bool = False
    strength: int | None = None
    criterion: str | None = None
    weight: float = 1.0
    margin: float | None = None
    soft_label: float | None = None  # probability that the chosen one is better, .5 to 1; left out, 1
    purpose: str | None = None
    probability: float | None = None  # of this comparison being chosen for judgment
    since_break: int | None = None  # judgments of this rater since the last break
    simulated: bool = False

    def __post_init__(self) -> None:
        _check_prompt(self)
        if not 2 <= self.size <= 9:
            raise self._refuse("size", "must be 2 to 9")
        if self.all_bad and not self.tie:
            raise self._refuse("all_bad", "is a tie, so tie must be true")
        if self.strength is not None and self.strength < 0:
            raise self._refuse("strength", "must be 0 or more")
        if not 0 <= self.weight < math.inf:
            raise self._refuse("weight", "must be 0 or more")
        if self.soft_label is not None and not 0.5 <= self.soft_label <= 1:
            raise self._refuse("soft_label", "must be .5 to 1")
        if self.soft_label is not None and self.tie:
            raise self._refuse("soft_label", "is of a pair that is no tie, so it must be left out")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise self._refuse("probability", "must be above 0 and at most 1")
        if self.since_break is not None and self.since_break < 0:
            raise self._refuse("since_break", "must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(Record):
    """A line of comparisons.jsonl: responses to put side by side, and how they were chosen."""

    prompt_id: str
    messages: tuple[Message, ...]
    responses: tuple[str, ...]
    purpose: Literal["uniform", "active"] | None = None
    stratum: str | None = None
    probability: float | None = None  # of being chosen, given the pool
    score: float | None = None  # what asking it is worth

    def __post_init__(self) -> None:
        _check_prompt(self)
        if not 2 <= len(self.responses) <= 9:
            raise self._refuse("responses", "must hold two to nine texts")
        if self.probability is not None and not 0 < self.probability <= 1:
            raise self._refuse("probability", "must be above 0 and at most 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingComparison(Comparison):
    """A comparison that waits for raters, to be given a score."""

    comparison_id: str

    def __post_init__(self) -> None:
        Comparison.__post_init__(self)
        if not self.comparison_id.strip():
            raise self._refuse("comparison_id", "must not be blank")


def read(source: Source, record: type[R]) -> Iterator[R]:
    """The records of a file or of lines; the first line that is none raises RecordError."""
    for _, found in numbered(source, record):
        yield found


def numbered(source: Source, record: type[R]) -> Iterator[tuple[int, R]]:
    """The records with the numbers of their lines."""
    name = str(source) if isinstance(source, (str, Path)) else str(getattr(source, "name", "") or "input")
    for number, line in enumerate(_lines(source), start=1):
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not text.strip():
            continue
        try:
            found = parse(text, record)
        except RecordError as error:
            error.file, error.line = name, number
            raise
        yield number, found


def of_one_reward_model(responses: Iterable[Response]) -> Iterator[Response]:
    """The same responses; rewards of two reward models, which can't be compared, raise RecordError."""
    first: object = None
    for response in responses:
        digest = (response.reward_model or {}).get("digest")
        if response.reward is not None and digest is not None:
            first = first or digest
            if digest != first:
                problem = f"rewards of two reward models are mixed, {_shown(first)} and {_shown(digest)}"
                raise RecordError(problem, field="reward_model", value=digest)
        yield response


def write(path: Path | str, records: Iterable[Record]) -> int:
    """Write the records' lines and say how many; the file appears whole or not at all."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with partial.open("wb") as file:
            for count, record in enumerate(records, start=1):  # noqa: B007 the last one is the answer
                file.write(record.to_line() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return count


def parse(line: bytes, record: type[R]) -> R:
    """The record that one line holds."""
    if len(line.rstrip(b"\r\n")) > LINE_LIMIT:
        raise RecordError(f"a line of more than {LINE_LIMIT} bytes")
    try:
        value = json.loads(line.decode(), object_pairs_hook=_object, parse_int=_number)
    except UnicodeDecodeError as error:
        bad = line[error.start : error.start + 1]
        raise RecordError(f"byte {error.start + 1} is no UTF-8: {bad!r}", value=bad) from None
    except json.JSONDecodeError as error:
        near = error.doc[error.pos : error.pos + 20]
        raise RecordError(f"no JSON at character {error.pos + 1}: {error.msg}, {_shown(near)}") from None
    except RecursionError:
        raise RecordError(f"nested deeper than {DEPTH_LIMIT}") from None
    _check_values(value, field="", depth=1)
    return _build(value, record, field="")


def _lines(source: Source) -> Iterator[bytes]:
    """Lines as bytes, split at line feeds only, and never much more than the limit in memory."""
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as file:
            yield from _lines(file)
    elif hasattr(source, "readline"):
        while line := source.readline(LINE_LIMIT + 6):  # one byte over the limit, a BOM and an end
            yield line
    else:
        yield from source


# Characters that some readers take for the end of a line.
_ESCAPED = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}


def _shown(value: object) -> str:
    """A value for an error message: ASCII, and short."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise RecordError("the key stands there twice", field=key, value=value)
        found[key] = value
    return found


def _number(digits: str) -> int | float:
    """An integer; one that no machine word holds becomes what JavaScript would make of it."""
    return int(digits) if len(digits) <= 20 else float(digits)


def _check_values(value: Any, *, field: str, depth: int) -> None:
    """Refuse what JSON can write and a database or a model can't take, at any depth."""
    if isinstance(value, dict | list):
        if depth > DEPTH_LIMIT:
            raise RecordError(f"nested deeper than {DEPTH_LIMIT}", field=field)
        items = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, item in items:
            if isinstance(key, str):
                _check_values(key, field=field, depth=depth)
            _check_values(item, field=f"{field}.{key}" if field else str(key), depth=depth + 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise RecordError(f"holds a NUL: {_shown(value)}", field=field, value=value)
        if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise RecordError(f"holds half a surrogate pair: {_shown(value)}", field=field, value=value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"must be a finite number, not {value}", field=field, value=value)


def _check_prompt(record: Prompt | Response | Demonstration | Conversation | Pair | Comparison) -> None:
    if not isinstance(record, Demonstration | Conversation) and not record.prompt_id.strip():
        raise record._refuse("prompt_id", "must not be blank")
    if record.messages is not None and not record.messages:
        raise record._refuse("messages", "must hold at least one message")


Check = Callable[[Any, str], Any]


def _build(value: Any, record: type[R], *, field: str) -> R:
    """Make the record of a JSON object whose keys and types are exactly those of its fields."""
    if not isinstance(value, dict):
        raise RecordError(f"must be an object, not {_shown(value)}", field=field, value=value)
    prefix = f"{field}." if field else ""
    fields = _fields(record)  # type: ignore[arg-type] # mypy takes a frozen dataclass for unhashable
    if "prompt" in value and "messages" in fields:  # a plain string is one message
        if "messages" in value:
            raise RecordError("stands beside messages; give one of the two", field="prompt")
        content = _text(value["prompt"], "prompt")
        rest = {key: item for key, item in value.items() if key != "prompt"}
        value = {**rest, "messages": [{"role": "user", "content": content}]}
    for key, item in value.items():
        if key not in fields:
            raise RecordError(f"unknown key, with {_shown(item)}", field=prefix + key, value=item)
    found = {}
    for name, (check, required) in fields.items():
        if name in value:
            found[name] = check(value[name], prefix + name)
        elif required:
            raise RecordError("is missing", field=prefix + name)
    return record(**found)


@functools.cache
def _fields(record: type[Record]) -> dict[str, tuple[Check, bool]]:
    """For each field, what checks its value and whether it must be there."""
    hints = get_type_hints(record)
    return {
        field.name: (_check_of(hints[field.name]), field.default is dataclasses.MISSING)
        for field in dataclasses.fields(record)
    }


def _check_of(hint: Any) -> Check:
    """What turns a JSON value into a value of this type, or refuses it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if type(None) in arguments:  # T | None
        check = _check_of(arguments[0])
        return lambda value, field: None if value is None else check(value, field)
    if origin is tuple:
        check = _check_of(arguments[0])
        return lambda value, field: tuple(
            check(item, f"{field}.{number}") for number, item in enumerate(_list(value, field), start=1)
        )
    if origin is Literal:
        return lambda value, field: _one_of(value, field, arguments)
    if origin is not None:  # Mapping[str, Any]
        return _mapping
    if issubclass(hint, Record):
        return lambda value, field: _build(value, hint, field=field)
    return {str: _text, bool: _truth, int: _integer, float: _float}[hint]


def _expected(what: str, value: object, field: str) -> RecordError:
    return RecordError(f"must be {what}, not {_shown(value)}", field=field, value=value)


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise _expected("a string", value, field)
    return value


def _truth(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise _expected("true or false", value, field)
    return value


def _integer(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= INTEGER_LIMIT:
        raise _expected("an integer of 64 bits", value, field)
    return value


def _float(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _expected("a number", value, field)
    return float(value)


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise _expected("a list", value, field)
    return value


def _mapping(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _expected("an object", value, field)
    return value


def _one_of(value: Any, field: str, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise _expected(" or ".join(choices), value, field)
    return value
