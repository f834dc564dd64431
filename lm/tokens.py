"""Conversations as token ids, and back: the one place where text is tokenised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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


class Chat:
    """A tokenizer, and how its chat template lays out a conversation.

    A tokenizer without a template gets a plain one of ours, which `save` writes beside it. A tokenizer
    without a PAD, or with PAD = EOS, pads with another token of its own: padding is always masked.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
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
        self._closing = marked.rpartition(_MARK)[2]
        closing = self._encode(self._closing)[:1]  # a newline may follow, which nobody draws
        eos: int = tokenizer.eos_token_id
        special = {*tokenizer.all_special_ids, *added}
        self.end_id: int = closing[0] if closing and closing[0] in special else eos
        self.stop_ids = frozenset({self.end_id, eos})
        pad = tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None and pad not in self.stop_ids else self._other_token()

    @classmethod
    def load(cls, folder: Path | str) -> Chat:
        """The tokenizer of a model's folder, of a run directory or from the hub."""
        name, local = find(folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"{folder}: its tokenizer can't be loaded: {line}") from error
        return cls(tokenizer)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The conversation so far, up to where the response begins."""
        return self._encode(self._render(messages, answer=True))

    def response(self, text: str, *, ended: bool = True) -> list[int]:
        """A response as the template puts it after the prompt; the stop token is last if it has ended."""
        ids = self._encode(self._turn(text))
        return [*ids, self.end_id] if ended else ids

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
        return whole.removeprefix(self._opening).removesuffix(self._closing)

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
        while self._special.search(text):
            text = self._special.sub("", text)
        return text

    def _encode(self, text: str) -> list[int]:
        encoded: Any = self.tokenizer(text, add_special_tokens=False)  # BOS is the template's business
        return list(encoded.input_ids)

    def _other_token(self) -> int:
        return next(token for token in range(len(self.tokenizer)) if token not in self.stop_ids)
