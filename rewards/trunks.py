"""What the head of a reward model reads: a language model's view of a prompt and a response."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm import backbone, logprobs
from lm.config import ConfigError
from lm.tokens import Chat, Layout, TextPair, load_tokenizer
from rewards import features
from rewards.batches import longest_row

# A decoder's state at the last token, with or without the response's likelihoods; an encoder's at the first
# token or the mean of all; or the one score of a classifier that others made.
Reads = Literal["likelihoods", "last", "first", "mean", "score"]
TOLERANCE = 1e-4  # by which padding may move a score before it is avoided


@dataclass(frozen=True, slots=True)
class Trunk:
    """A model, how it lays out text, and what is read of it."""

    model: PreTrainedModel
    chat: Layout
    reads: Reads
    even: bool = False  # only rows of one length go together, for the model minds its padding

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu", pooling: str = "auto") -> "Trunk":
        """What a reward model is to be trained from; `pooling` is for encoders."""
        model = backbone.load_trunk(path, device=device)
        if not backbone.is_encoder(model.config):
            if pooling != "auto":
                raise ConfigError(f"pooling is {pooling!r}, but {path} is no encoder: its last token is read")
            return cls(model, layout(path, "last"), "last")
        habit = "mean" if getattr(model.config, "classifier_pooling", "cls") == "mean" else "first"
        reads = cast("Reads", habit if pooling == "auto" else pooling)
        return cls(model, layout(path, reads), reads)

    @classmethod
    def saved(cls, folder: Path, reads: Reads, *, device: str = "cpu") -> "Trunk":
        """The trunk of a saved reward model."""
        if reads == "score":
            return cls.classifier(folder, device=device)
        load = backbone.load_encoder if reads in {"first", "mean"} else backbone.load
        return cls(load(folder, device=device), layout(folder, reads), reads)

    @classmethod
    def classifier(cls, path: Path | str, *, device: str = "cpu") -> "Trunk":
        """A reward model that others made: a sequence classifier of one label."""
        model = backbone.load_classifier(path, device=device)
        chat = layout(path, "score")
        config = model.config.get_text_config()
        if config.pad_token_id is None:  # transformers then takes the last column, whatever row is there
            config.pad_token_id = -1
            return cls(model, chat, "score", even=True)
        whole = cls(model, chat, "score")
        return replace(whole, even=not whole._padding_is_harmless())

    def frozen(self) -> "Trunk":
        """As it is read when it is not trained: a decoder tells its likelihoods too; an encoder has none."""
        return replace(self, reads="likelihoods") if self.reads == "last" else self

    @property
    def width(self) -> int:
        """How many of the features are of a state; likelihoods come after them."""
        return 1 if self.reads == "score" else int(self.model.config.get_text_config().hidden_size)

    @property
    def has_segments(self) -> bool:
        """Whether the model is told of each token which of the two texts it is of."""
        kinds: Any = getattr(self.model.config, "type_vocab_size", 0)
        return isinstance(self.chat, TextPair) and self.chat.segments and bool(kinds and kinds > 1)

    def longest_row(self, limit: int = sys.maxsize) -> int:
        """The most tokens that a prompt and its response may have together."""
        return longest_row(self.model, limit)

    def read(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        """What the head is given of one batch: (B, D) in fp32; gradients flow unless torch forbids it."""
        if self.reads == "likelihoods":
            return features.features(logprobs.score(self.model, prompts, responses))
        if self.reads == "last":
            return logprobs.score(self.model, prompts, responses, with_logprobs=False).last.float()
        batch = self._padded(prompts, responses)
        if self.reads == "score":
            logits: Tensor = self.model(**batch).logits
            return logits.float()
        states: Tensor = self.model.base_model(**batch).last_hidden_state.float()
        if self.reads == "first":
            return states[:, 0]
        mask = batch["attention_mask"][:, :, None].float()
        return (states * mask).sum(1) / mask.sum(1)

    @torch.no_grad()
    def read_all(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_tokens: int = 16384,
        progress: Callable[[int], None] | None = None,
    ) -> Tensor:
        """`read` for any number of rows, (B, D) on the CPU in the order given.

        Rows about as long go together; the longest go first, so that too little memory shows at once.
        """
        if self.reads == "likelihoods":
            return features.extract(
                self.model, prompts, responses, batch_tokens=batch_tokens, progress=progress
            )
        sizes = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        order = sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True)
        found, done, told = [], 0, 0
        for rows in self._batches(order, sizes, batch_tokens):
            found.append(self.read([prompts[row] for row in rows], [responses[row] for row in rows]).cpu())
            done += len(rows)
            if progress and (done - told >= features.CHUNK or done == len(order)):
                progress(done)
                told = done
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
        return torch.cat(found)[back]

    def _batches(self, order: Sequence[int], sizes: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
        """The rows in this order, which is by size, as many together as fit, padding included."""
        batch: list[int] = []
        for row in order:
            full = batch and (len(batch) + 1) * sizes[batch[0]] > batch_tokens
            if full or (batch and self.even and sizes[row] != sizes[batch[0]]):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def _padded(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
    ) -> dict[str, Tensor]:
        """What an encoder or a classifier is given: rows padded on the right, with a mask.

        Padding on the right with the model's own PAD leaves the place that a classifier pools where it is
        in the row alone. A model with learned places counts them as it does for the row alone.
        """
        device = self.model.device
        rows = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        pad = max(0, self.model.config.get_text_config().pad_token_id or 0)
        ids = torch.full((len(rows), max(map(len, rows))), pad)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = torch.tensor(row)
            mask[number, : len(row)] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if self.has_segments:
            starts = torch.tensor([len(prompt) for prompt in prompts])
            batch["token_type_ids"] = (torch.arange(ids.shape[1]) >= starts[:, None]).long() * mask
        return {name: value.to(device) for name, value in batch.items()}

    @torch.no_grad()
    def _padding_is_harmless(self) -> bool:
        """Whether a row's score is the same beside a longer one."""
        pad = self.model.config.get_text_config().pad_token_id
        size = int(self.model.config.get_text_config().vocab_size)
        ids = [token % size for token in range(11, 31) if token % size != pad]
        short, long = ([ids[0]], ids[1:5]), ([ids[5]], ids[6:])
        together = self.read([short[0], long[0]], [short[1], long[1]])
        alone = self.read([short[0]], [short[1]])
        return torch.allclose(together[:1], alone, atol=TOLERANCE, rtol=TOLERANCE)


def layout(path: Path | str, reads: Reads) -> Layout:
    """How rows are laid out: by the chat template; an encoder without one reads a pair of texts."""
    if reads in {"likelihoods", "last"}:
        return Chat.load(path)  # which has a plain template for those without one
    tokenizer = load_tokenizer(path)
    if tokenizer.chat_template is not None:
        return Chat(tokenizer, whole=True)
    if backbone.is_encoder(backbone.config_of(path)):
        return TextPair(tokenizer)
    raise ConfigError(
        f"{path}: has no chat template, so nothing says how a prompt and a response are laid out"
    )
