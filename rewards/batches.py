"""Preferences as token ids: each response tokenised once, its pairs grouped by prompt and by judgment."""

import hashlib
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm import records
from lm.config import ConfigError
from lm.parallel import Processes
from lm.records import Message, Pair, Response
from lm.tokens import Layout
from rewards.bradley_terry import TIE, WIN

T = TypeVar("T")
logger = logging.getLogger(__name__)
FOLDS = 5
COLUMNS = (
    "chosen", "rejected", "tie", "all_bad", "weight", "margin", "prompt", "judgment", "comparison",
    "rater", "group", "criterion", "side", "strength", "since_break", "purpose", "soft_label",
)  # fmt: skip
KNOWN = 256  # prompts whose tokens are kept while a file is read
NOBODY = -1  # the number of a rater, group, criterion or purpose that the file doesn't name


@dataclass(frozen=True, slots=True)
class Preferences:
    """Pairs that point at their responses; all tensors have one entry for each pair, on the CPU."""

    prompts: list[list[int]]  # of each distinct response
    responses: list[list[int]]
    asked: list[tuple[Message, ...]]  # the same in words
    texts: list[str]
    chosen: Tensor  # places in these lists
    rejected: Tensor
    tie: Tensor  # bool; "all bad" is a tie too
    all_bad: Tensor  # bool
    weight: Tensor  # float64
    margin: Tensor  # float64
    prompt: Tensor  # number of the prompt
    judgment: Tensor  # number of the judgment
    comparison: Tensor  # number of the comparison; each pair without one is its own
    rater: Tensor  # number of the rater, or NOBODY
    group: Tensor  # number of the rater's declared group, or NOBODY
    criterion: Tensor  # number of the criterion judged, or NOBODY for the judgment on the whole
    side: Tensor  # 1 where the chosen was shown first, -1 where the rejected was, 0 where nobody knows
    strength: Tensor  # as the rater said, or -1
    since_break: Tensor  # judgments of the rater since a break, or -1
    purpose: Tensor  # number of why the comparison was asked, or NOBODY
    soft_label: Tensor  # float64: the probability that the chosen one is better; 1 unless the file says less
    prompt_ids: list[str]  # by number of the prompt
    raters: list[str]  # by number
    groups: list[str]
    criteria: list[str]
    purposes: list[str]
    dropped: int  # pairs left out, over-long

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def outcomes(self) -> Tensor:
        """Of each pair for the chosen response: WIN or TIE."""
        return torch.where(self.tie, TIE, WIN)

    @property
    def below_best(self) -> Tensor:
        """Which pairs of rankings are between responses that both were ranked below another."""
        size = len(self.responses)
        beaten = (self.judgment * size + self.rejected)[self.decided]
        found: Tensor = torch.isin(self.judgment * size + self.chosen, beaten)
        return found

    @property
    def decided(self) -> Tensor:
        """Which pairs say that one response is better."""
        return ~self.tie

    @property
    def lengths(self) -> Tensor:
        """Tokens of each distinct response."""
        return torch.tensor([len(response) for response in self.responses])

    @property
    def judgments(self) -> int:
        """How many raters' answers the pairs come from."""
        return len(self.judgment.unique())

    @property
    def tokens(self) -> int:
        """Tokens of all distinct responses with their prompts."""
        return sum(map(len, self.prompts)) + sum(map(len, self.responses))

    def items(self, pairs: Tensor) -> list[int]:
        """The places of the responses that these pairs have, each once."""
        both: list[int] = torch.cat([self.chosen[pairs], self.rejected[pairs]]).unique().tolist()
        return both

    def where(self, kept: Tensor) -> "Preferences":
        """Only these pairs; prompts, judgments and responses keep their numbers."""
        return replace(self, **{name: getattr(self, name)[kept] for name in COLUMNS})

    def counts(self) -> dict[str, int]:
        """What there is, for a run's result."""
        return {
            "pairs": len(self),
            "judgments": self.judgments,
            "prompts": len(self.prompt.unique()),
            "ties": int(self.tie.sum()),
            "all_bad": int(self.all_bad.sum()),
            "dropped": self.dropped,
        }

    def folds(self, seed: int) -> Tensor:
        """Which fold each pair is in: all pairs of a prompt are in one, whatever else the file holds."""
        of_prompt = torch.tensor([fold_of(prompt_id, seed) for prompt_id in self.prompt_ids])
        return of_prompt[self.prompt]


def fold_of(prompt_id: str, seed: int) -> int:
    """The fold of a prompt: the same in every file."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % FOLDS


def read_pairs(path: Path, chat: Layout, *, max_length: int, simulated: bool = True) -> Preferences:
    """Read pairs.jsonl; over-long pairs are left out whole, for a cut response would be judged as cut."""
    items = Items(chat)
    prompts, judgments, comparisons, raters, groups, criteria, purposes = (Numbers() for _ in range(7))
    rows: list[tuple[int | float, ...]] = []
    count = dropped = 0
    for pair in _read(path, Pair, "pairs"):
        if pair.weight == 0 or (pair.simulated and not simulated):
            continue
        count += 1
        chosen, rejected = items.add(pair.messages, pair.chosen), items.add(pair.messages, pair.rejected)
        if max(items.length(chosen), items.length(rejected)) > max_length:
            dropped += 1
            continue
        judgment = count if pair.judgment_id is None else (pair.judgment_id, pair.prompt_id)
        rows.append(
            (
                chosen,
                rejected,
                pair.tie,
                pair.all_bad,
                weight_of(pair),
                0.0 if pair.tie else pair.margin or 0.0,
                prompts.of(pair.prompt_id),
                judgments.of(judgment),
                comparisons.of(count if pair.comparison_id is None else (pair.comparison_id, pair.prompt_id)),
                raters.of(pair.rater),
                groups.of(pair.group),
                criteria.of(pair.criterion),
                {"chosen": 1, "rejected": -1, None: 0}[pair.first],
                -1 if pair.strength is None else pair.strength,
                -1 if pair.since_break is None else pair.since_break,
                purposes.of(pair.purpose),
                1.0 if pair.soft_label is None else pair.soft_label,
            )
        )
    if not count:
        by = "" if simulated else " by people"
        raise ConfigError(f"pairs is {str(path)!r}, which holds no pair of a weight above 0{by}")
    if dropped:
        logger.warning("%d of %d pairs are left out: over %d tokens", dropped, count, max_length)
    if dropped == count:
        raise ConfigError(f"pairs is {str(path)!r}, whose {count} pairs are all over {max_length} tokens")
    columns = [
        torch.tensor(column, dtype=torch.float64 if isinstance(column[0], float) else None)
        for column in zip(*rows, strict=True)
    ]
    found = Preferences(
        prompts=items.prompts,
        responses=items.responses,
        asked=items.asked,
        texts=items.texts,
        prompt_ids=prompts.names(),
        raters=raters.names(),
        groups=groups.names(),
        criteria=criteria.names(),
        purposes=purposes.names(),
        dropped=dropped,
        **dict(zip(COLUMNS, columns, strict=True)),
    )
    if not found.decided.any():
        raise ConfigError(
            f"pairs is {str(path)!r}, whose {len(found)} pairs are all ties: "
            "none says which response is better"
        )
    return compact(found)


def longest_row(model: PreTrainedModel, limit: int = sys.maxsize) -> int:
    """The most tokens that a prompt and its response may have together."""
    places = getattr(model.config.get_text_config(), "max_position_embeddings", None) or sys.maxsize
    table: Any = getattr(getattr(model.base_model, "embeddings", None), "position_embeddings", None)
    before = getattr(table, "padding_idx", None)
    if before is not None:  # RoBERTa's places begin after that of the padding
        places -= before + 1
    return int(min(limit, places))


def weight_of(pair: Pair) -> float:
    """What a pair counts: 1/(K-1) in a judgment of K responses, unless the file gives another weight."""
    return 1 / (pair.size - 1) if pair.weight == 1 else pair.weight


def compact(preferences: Preferences) -> Preferences:
    """The same pairs without the responses that none of them has."""
    kept, places = torch.cat([preferences.chosen, preferences.rejected]).unique(return_inverse=True)
    count = len(preferences)
    return replace(
        preferences,
        prompts=_pick(preferences.prompts, kept),
        responses=_pick(preferences.responses, kept),
        asked=_pick(preferences.asked, kept),
        texts=_pick(preferences.texts, kept),
        chosen=places[:count],
        rejected=places[count:],
    )


def read_samples(
    path: Path, chat: Layout, *, max_length: int
) -> tuple[list[Response], list[list[int]], list[list[int]]]:
    """Read responses.jsonl: its records, and the token ids of their prompts and responses."""
    found = list(read_numbered(path))
    if not found:
        raise ConfigError(f"responses is {str(path)!r}, which holds no response")
    rows = Rows(chat, path, max_length)
    prompts, responses = zip(*(rows.of(number, record) for number, record in found), strict=True)
    return [record for _, record in found], list(prompts), list(responses)


class Rows:
    """Token ids of responses that a file holds; a prompt that comes again is tokenised once."""

    def __init__(self, chat: Layout, path: Path, max_length: int) -> None:
        self.chat, self.path, self.max_length = chat, path, max_length
        self._known: dict[tuple[Message, ...], list[int]] = {}

    def of(self, number: int, record: Response) -> tuple[list[int], list[int]]:
        """Prompt and response of the record on this line."""
        place = f"responses is {str(self.path)!r}, whose line {number}"
        if record.messages is None:
            raise ConfigError(f"{place} has no messages")
        if record.messages not in self._known:
            if len(self._known) == KNOWN:
                self._known.clear()
            self._known[record.messages] = self.chat.prompt(record.messages)
        prompt, response = self._known[record.messages], response_ids(record, self.chat)
        length = len(prompt) + len(response)
        if not length:
            raise ConfigError(f"{place} has neither words nor marks to read")
        if length > self.max_length:
            raise ConfigError(f"{place} has {length} tokens, over {self.max_length}")
        return prompt, response


def response_ids(record: Response, chat: Layout) -> list[int]:
    """The tokens as they were drawn, if these are the record's words to this tokenizer.

    Else the words' own tokens, ended unless the record says otherwise: a reward model may have another
    tokenizer than the policy.
    """
    drawn, size = record.tokens, len(chat.tokenizer)
    known = drawn is not None and chat.takes_tokens and all(0 <= token < size for token in drawn)
    if drawn is not None and known and chat.text(drawn) == record.response:
        return list(drawn)
    return chat.response(record.response, ended=record.ended is not False)


def steps(preferences: Preferences, batch_size: int, *, seed: int, epoch: int) -> Iterator[Tensor]:
    """The pairs of each step: those of `batch_size` prompts, in an order that seed and epoch fix."""
    present = preferences.prompt.unique()
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    shuffled = present[torch.randperm(len(present), generator=generator)]
    for prompts in shuffled.split(batch_size):
        yield torch.isin(preferences.prompt, prompts).nonzero()[:, 0]


def micro_batches(
    preferences: Preferences, pairs: Tensor, tokens: int, *, padded: bool = False
) -> Iterator[Tensor]:
    """A step's pairs in parts of about this many tokens; a prompt stays whole, and counts once.

    So each response goes through the model once in a step, however many pairs it is in. Where rows are
    padded, each has its own prompt and the padding counts.
    """
    part: list[Tensor] = []
    held = rows = longest = 0
    for of_prompt in _by_prompt(preferences, pairs):
        items = preferences.items(of_prompt)
        asked = len(preferences.prompts[items[0]])
        sizes = [len(preferences.responses[item]) for item in items]
        if padded:
            longest = max(longest, asked + max(sizes))
            rows += len(items)
            held = rows * longest
        else:
            held += asked + sum(sizes)
        if part and held > tokens:
            yield torch.cat(part)
            part, rows, longest = [], len(items), asked + max(sizes)
            held = rows * longest if padded else asked + sum(sizes)
        part.append(of_prompt)
    if part:
        yield torch.cat(part)


def shared_out(preferences: Preferences, pairs: Tensor, processes: Processes) -> Tensor:
    """Our part of a step: whole prompts, of about as many tokens as the others have."""
    parts = _by_prompt(preferences, pairs)
    sizes = []
    for part in parts:
        items = preferences.items(part)
        sizes.append(
            len(preferences.prompts[items[0]]) + sum(len(preferences.responses[item]) for item in items)
        )
    mine = [parts[place] for place in processes.share(sizes)]
    return torch.cat(mine) if mine else pairs[:0]


def _by_prompt(preferences: Preferences, pairs: Tensor) -> Sequence[Tensor]:
    """The pairs of each prompt; prompts by their number."""
    prompts = preferences.prompt[pairs]
    order = prompts.argsort(stable=True)
    parts: tuple[Tensor, ...] = pairs[order].split(prompts.unique(return_counts=True)[1].tolist())
    return parts


class Numbers:
    """Numbers for names, in the order they are met; what has no name is NOBODY."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def of(self, name: object) -> int:
        """The number of this name."""
        return NOBODY if name is None else self._numbers.setdefault(name, len(self._numbers))

    def names(self) -> list[str]:
        """All names, by number."""
        return [str(name) for name in self._numbers]


class Items:
    """Distinct responses, each tokenised when it is first met."""

    def __init__(self, chat: Layout) -> None:
        self.chat = chat
        self.prompts: list[list[int]] = []
        self.responses: list[list[int]] = []
        self.asked: list[tuple[Message, ...]] = []
        self.texts: list[str] = []
        self._places: dict[tuple[tuple[Message, ...], str], int] = {}
        self._prompts: dict[tuple[Message, ...], list[int]] = {}

    def add(self, messages: tuple[Message, ...], text: str) -> int:
        """The place of this response."""
        if (messages, text) not in self._places:
            if messages not in self._prompts:
                self._prompts[messages] = self.chat.prompt(messages)
            self._places[messages, text] = len(self.responses)
            self.prompts.append(self._prompts[messages])
            self.responses.append(self.chat.response(text))
            self.asked.append(messages)
            self.texts.append(text)
        return self._places[messages, text]

    def length(self, place: int) -> int:
        """Tokens of the response with its prompt."""
        return len(self.prompts[place]) + len(self.responses[place])


def _pick(rows: Sequence[T], places: Tensor) -> list[T]:
    return [rows[place] for place in places.tolist()]


def read_numbered(path: Path) -> Iterator[tuple[int, Response]]:
    """The responses of a file with the numbers of their lines."""
    try:
        yield from records.numbered(path, Response)
    except OSError as error:
        raise ConfigError(f"responses is {str(path)!r}, which can't be read: {error.strerror}") from error


def _read(path: Path, record: type[records.R], name: str) -> Iterator[records.R]:
    try:
        yield from records.read(path, record)
    except OSError as error:
        raise ConfigError(f"{name} is {str(path)!r}, which can't be read: {error.strerror}") from error
