"""Conversations as rows of one length, a conversation each, cut after its last whole response that fits."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lm import records
from lm.config import ConfigError
from lm.records import Conversation
from lm.tokens import Chat

PAD, END, ASSISTANT = "<|pad|>", "<|end|>", "<|assistant|>"
MARKERS = (PAD, "<|eod|>", END, "<|system|>", "<|user|>", ASSISTANT)
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BLOCK = 256  # conversations tokenised at once
NOT_COUNTED = -100  # what torch's cross entropy passes over


@dataclass(frozen=True, slots=True)
class Row:
    """The tokens of one conversation, and where its responses are."""

    tokens: list[int]
    responses: list[range]  # positions of a response's tokens, its <|end|> the last
    properties: list[Mapping[str, float] | None]  # of each response


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as tensors whose shapes hardly change; positions count through the flattened rows."""

    tokens: Tensor  # (rows, length)
    positions: Tensor  # (P,) of the states that predict response tokens
    targets: Tensor  # (P,) the response tokens; NOT_COUNTED where the list was filled up
    ends: Tensor  # (E,) of the responses' <|end|>
    properties: Tensor  # (E, properties)
    known: Tensor  # (E,) 1 where the properties are known, 0 where not or filled up
    responses: int
    count: int  # response tokens
    real: int  # tokens less padding


def rendered(conversation: Conversation) -> str:
    """The text that the chat template makes of a conversation."""
    return "".join(f"<|{message.role}|> {message.content}<|end|>" for message in conversation.messages)


def corpus_size(corpus: Path) -> int:
    """How many conversations a file holds."""
    with corpus.open("rb") as file:
        return sum(1 for line in file if line.strip())


def conversations(corpus: Path, *, start: int = 0) -> Iterator[Conversation]:
    """The conversations of a file in their order, from the one with this index."""
    with corpus.open("rb") as file:
        lines = (line for line in file if line.strip())
        yield from records.read(itertools.islice(lines, start, None), Conversation)


def property_names(corpus: Path) -> tuple[str, ...]:
    """The names of the first properties in the file; none where it has none."""
    for conversation in conversations(corpus):
        for properties in conversation.properties or ():
            if properties:
                return tuple(properties)
    return ()


def rows(found: Iterable[Conversation], chat: Chat, *, length: int) -> Iterator[Row]:
    """Each conversation as a row, tokenised a block ahead."""
    tokenizer = chat.tokenizer
    vocabulary = tokenizer.get_vocab()
    if missing := [marker for marker in MARKERS if marker not in vocabulary]:
        raise ConfigError(f"the tokenizer has no {missing[0]}, which rows of conversations need")
    end, assistant = vocabulary[END], vocabulary[ASSISTANT]
    found = iter(found)
    while block := list(itertools.islice(found, BLOCK)):
        encoded = tokenizer([rendered(item) for item in block], add_special_tokens=False)["input_ids"]
        for conversation, tokens in zip(block, encoded, strict=True):
            yield _row(conversation, tokens, length=length, end=end, assistant=assistant)


def _row(conversation: Conversation, tokens: list[int], *, length: int, end: int, assistant: int) -> Row:
    ends = [position for position, token in enumerate(tokens) if token == end]
    if len(ends) != len(conversation.messages):
        raise ConfigError(f"a message holds a marker such as <|end|>: {rendered(conversation)[:200]!r}")
    starts = [0, *(position + 1 for position in ends)]
    responses = [
        range(start + 1, stop + 1)
        for start, stop in zip(starts, ends, strict=False)
        if tokens[start] == assistant and stop < length
    ]
    properties = list(conversation.properties or [None] * len(responses))[: len(responses)]
    return Row(tokens[: responses[-1].stop] if responses else tokens[:length], responses, properties)


def batch(
    chosen: Sequence[Row], *, length: int, pad: int, names: Sequence[str], device: str = "cpu"
) -> Batch:
    """Rows side by side, padded on the right."""
    tokens = torch.full((len(chosen), length), pad)
    positions: list[int] = []
    targets: list[int] = []
    ends: list[int] = []
    values: list[list[float]] = []
    for index, row in enumerate(chosen):
        tokens[index, : len(row.tokens)] = torch.tensor(row.tokens)
        offset = index * length
        for span, properties in zip(row.responses, row.properties, strict=True):
            positions += range(offset + span.start - 1, offset + span.stop - 1)
            targets += row.tokens[span.start : span.stop]
            if properties and names:
                ends.append(offset + span.stop - 1)
                values.append(_values(properties, names))
    room = len(chosen) * length
    wide, tall = _size(len(targets), room * 5 // 8, room), _size(len(ends), room // 12, room)
    known = torch.zeros(tall)
    known[: len(ends)] = 1
    measured = torch.zeros(tall, len(names))
    if values:
        measured[: len(ends)] = torch.tensor(values)
    return Batch(
        tokens=tokens.to(device),
        positions=_filled(positions, wide, 0).to(device),
        targets=_filled(targets, wide, NOT_COUNTED).to(device),
        ends=_filled(ends, tall, 0).to(device),
        properties=measured.to(device),
        known=known.to(device),
        responses=sum(len(row.responses) for row in chosen),
        count=len(targets),
        real=sum(len(row.tokens) for row in chosen),
    )


def _values(properties: Mapping[str, float], names: Sequence[str]) -> list[float]:
    if properties.keys() != set(names):
        raise ConfigError(f"properties are {', '.join(properties)}; the read-outs have {', '.join(names)}")
    return [properties[name] for name in names]


def _size(count: int, usual: int, most: int) -> int:
    """One of two sizes, so that a compiled model meets few shapes."""
    return usual if count <= usual else most


def _filled(values: list[int], size: int, filler: int) -> Tensor:
    return torch.tensor(values + [filler] * (size - len(values)), dtype=torch.long)
