"""Conversations as token ids, and back: the one place where text is tokenised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lm.backbone import find
from lm.config import ConfigError
from lm.records import Message

PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
_PROBE = Message(role="user", content="a")
_MARK = "\u2603"  # stands for a response where the template is taken apart


class Layout(Protocol):
    """How a prompt and a response become one row of tokens."""

    tokenizer: PreTrainedTokenizerBase
    takes_tokens: bool  # whether a row may hold a response's tokens as a policy drew them

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The row's first part."""

    def response(self, text: str, *, ended: bool = True) -> list[int]:
        """The row's second part."""

    def text(self, ids: Sequence[int]) -> str:
        """The words of a second part."""

    def save(self, folder: Path) -> None:
        """Write it, for `load` and for transformers."""


class Chat:
    """A tokenizer, and how its chat template lays out a conversation.

    A tokenizer without a template gets a plain one of ours, which `save` writes beside it. A tokenizer
    without a PAD, or with PAD = EOS, pads with another token of its own: padding is always masked.

    A response ends in the stop token. With `whole` it ends in all that the template writes, often a line's
    end more, as in the rows that others train on.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, whole: bool = False):
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"{tokenizer.name_or_path}: its tokenizer has no EOS token, so nothing would end"
            )
        self.tokenizer = tokenizer
        if tokenizer.chat_template is None:
            starts = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
            tokenizer.chat_template = ("{{ bos_token }}" if starts else "") + PLAIN_TEMPLATE
        added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        spelt = {*tokenizer.all_special_tokens, *added.values()}
        self._special = re.compile("|".join(map(re.escape, spelt)))
        self._opening = self._render([_PROBE], answer=True)
        marked = self._render([_PROBE, Message(role="assistant", content=_MARK)], answer=False)
        self.closing = marked.rpartition(_MARK)[2]  # what the template writes after a response
        closing = self._encode(self.closing)[:1]  # a newline may follow, which nobody draws
        eos: int = tokenizer.eos_token_id
        special = {*tokenizer.all_special_ids, *added}
        self.end_id: int = closing[0] if closing and closing[0] in special else eos
        self.stop_ids = frozenset({self.end_id, eos})
        self._end = self._encode(self.closing) if whole else [self.end_id]
        self.takes_tokens = self._end == [self.end_id]
        pad = tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None and pad not in self.stop_ids else self._other_token()

    @classmethod
    def load(cls, folder: Path | str) -> Chat:
        """The tokenizer of a model's folder, of a run directory or from the hub."""
        return cls(load_tokenizer(folder))

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation so far, up to where the response begins."""
        return self._encode(self._render(messages, answer=True))

    def response(self, text: str, *, ended: bool = True) -> list[int]:
        """A response as the template puts it after the prompt; its end is there if it has ended."""
        ids = self._encode(self._turn(text))
        return [*ids, *self._end] if ended else ids

    def text(self, ids: Sequence[int]) -> str:
        """The words of a response; a NUL, which no record can hold, is shown as `�`."""
        kept = [token for token in ids if token not in self.stop_ids]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip().replace("\0", "\ufffd")

    def save(self, folder: Path) -> None:
        """Write the tokenizer and its template, for transformers to load."""
        self.tokenizer.save_pretrained(folder)

    def _turn(self, text: str) -> str:
        """What the template writes between the end of the prompt and the end of the turn."""
        whole = self._render([_PROBE, Message(role="assistant", content=text)], answer=False)
        if not whole.startswith(self._opening):  # it opens a turn one way to write and another to read
            return self._harmless(text)
        return whole.removeprefix(self._opening).removesuffix(self.closing)

    def _render(self, messages: Sequence[Message], *, answer: bool) -> str:
        turns = [{"role": turn.role, "content": self._harmless(turn.content)} for turn in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer)
            )
        except Exception as error:  # a template is a program of others
            roles = ", ".join(turn.role for turn in messages)
            raise ValueError(f"the chat template refuses a conversation of {roles}: {error}") from error

    def _harmless(self, text: str) -> str:
        """The text without special tokens spelt out, which would open or end a turn."""
        return without(self._special, text)

    def _encode(self, text: str) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=False)  # BOS is the template's business
        return list(encoded.input_ids)

    def _other_token(self) -> int:
        return next(token for token in range(len(self.tokenizer)) if token not in self.stop_ids)


class TextPair:
    """How an encoder reads a prompt and its response: as two texts, with its tokenizer's marks around them.

    For BERT that is `[CLS] prompt [SEP] response [SEP]`. Such a model has no token that ends a response, so
    one that was cut reads like one that ended.
    """

    takes_tokens = False

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.tokenizer = tokenizer
        probe: Any = tokenizer("a", "a")
        ids, part = list(probe.input_ids), probe.sequence_ids(0)
        first, second = part.index(0), part.index(1)
        self._opening, self._closing = ids[:first], ids[len(part) - part[::-1].index(1) :]
        self._between = ids[len(part) - part[::-1].index(0) : second]
        types = probe.get("token_type_ids")
        start = len(self._opening) + second - first  # where the second part begins
        # Whether the tokenizer says of each token which of the two texts it is of.
        self.segments = types == [0] * start + [1] * (len(ids) - start)
        added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        spelt = {*tokenizer.all_special_tokens, *added}
        self._special = re.compile("|".join(map(re.escape, spelt)) or r"(?!)")

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """A question as it is; a conversation with the role before each turn."""
        if len(messages) == 1:
            text = messages[0].content
        else:
            text = "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in messages)
        return [*self._opening, *self._encode(text), *self._between]

    def response(self, text: str, *, ended: bool = True) -> list[int]:
        """A response and the last mark."""
        return [*self._encode(text), *self._closing]

    def text(self, ids: Sequence[int]) -> str:
        """The words of a response."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def save(self, folder: Path) -> None:
        """Write the tokenizer, for transformers to load."""
        self.tokenizer.save_pretrained(folder)

    def _encode(self, text: str) -> list[int]:
        encoded: Any = self.tokenizer(without(self._special, text), add_special_tokens=False, verbose=False)
        return list(encoded.input_ids)


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model's folder, of a run directory or from the hub; code of others is never run."""
    name, local = find(folder)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, local_files_only=local, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"{folder}: its tokenizer can't be loaded: {line}") from error
    return tokenizer


def without(special: re.Pattern[str], text: str) -> str:
    """The text without special tokens spelt out, which would open or end a turn."""
    while special.search(text):
        text = special.sub("", text)
    return text
