"""A reward model as it is used and kept: prompts and responses in, normalised rewards out."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lm import backbone
from lm.config import ConfigError
from lm.records import Message
from lm.tokens import Chat, Layout
from rewards.head import Head
from rewards.trunks import Reads, Trunk, layout

ABOUT, TENSORS = "reward_model.json", "reward_head.safetensors"
KINDS = {".json", ".safetensors", ".txt", ".model", ".jinja", ".md"}  # files of a model; no pickle, no code


class RewardModel:
    """A trunk, which is a language model, and the head that makes rewards of its features.

    With a frozen trunk the features are those of `rewards.features`, and whoever has just sent the same
    responses through the same model may use `score_features`. A trunk of its own gives the state at the
    last token, an encoder that at the first, and a model that others made its score.
    """

    def __init__(
        self,
        head: Head,
        *,
        folder: Path,
        trunk_digest: str,
        frozen_trunk: bool,
        reads: Reads | None = None,  # left out, what a decoder gives
        tie_width: float = 0.0,
        logits_per_reward: float = 1.0,
        device: str = "cpu",
        model: PreTrainedModel | None = None,
        chat: Layout | None = None,
    ) -> None:
        self.head = head.to(device)
        self.folder = folder
        self.trunk_digest = trunk_digest
        self.frozen_trunk = frozen_trunk
        self.reads: Reads = reads or ("likelihoods" if frozen_trunk else "last")
        self.tie_width = tie_width
        self.logits_per_reward = logits_per_reward
        self.device = device
        if model is not None and chat is not None:
            self.trunk = Trunk(model, chat, self.reads)

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> "RewardModel":
        """A saved reward model, from its run directory or its model's folder; its trunk is read later.

        A folder or hub id of a sequence classifier with one label is a reward model too.
        """
        name, local = backbone.find(path)
        if not local or not (Path(name) / ABOUT).is_file():
            return cls.of_others(path, device=device)
        folder = Path(name)
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSORS)
            head = Head(
                **tensors,
                pessimism=about["pessimism"],
                gain=about["gain"],
                bias=about["bias"],
                groups=tuple(about.get("groups", ())),
            )
            reads = about.get("reads")
            if reads not in {None, *get_args(Reads)}:
                raise ConfigError(f"{path}: {ABOUT} says that {reads!r} is read, which is unknown here")
            found = cls(
                head,
                folder=folder,
                trunk_digest=about["trunk"],
                frozen_trunk=about["frozen_trunk"],
                reads=reads,
                tie_width=about["tie_width"],
                logits_per_reward=about["logits_per_reward"],
                device=device,
            )
        except OSError as error:
            raise ConfigError(f"{path}: is no reward model: {ABOUT} or {TENSORS} can't be read") from error
        except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{path}: is no whole reward model: {ABOUT} or {TENSORS} is damaged") from error
        if about.get("digest", found.digest) != found.digest:
            raise ConfigError(f"{path}: {ABOUT} or {TENSORS} was changed after the reward model was saved")
        return found

    @classmethod
    def of_others(cls, path: Path | str, *, device: str = "cpu") -> "RewardModel":
        """A model that others made: its score is the reward, gain 1 and bias 0."""
        config = backbone.config_of(path)
        made = next(iter(config.architectures or []), "nothing")
        if not made.endswith("ForSequenceClassification"):
            raise ConfigError(
                f"{path}: is no reward model: {ABOUT} is missing, and its config names {made}, "
                "which is no sequence classifier"
            )
        trunk = Trunk.classifier(path, device=device)
        folder = backbone.local_folder(path)
        found = cls(
            identity_head(),
            folder=folder,
            trunk_digest=backbone.digest(folder),
            frozen_trunk=False,
            reads="score",
            device=device,
        )
        found.trunk = trunk
        return found

    def save(self, folder: Path) -> None:
        """Write a transformers model and the head beside it; the files of a trunk as it was are linked."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.frozen_trunk or self.reads == "score":
            _link_files(self.folder, folder)
        else:
            backbone.save(self.model, self.chat, folder)
            self.trunk_digest = trunk_digest(folder)
        save_file(
            {name: value.contiguous().cpu() for name, value in self.head.tensors().items()}, folder / TENSORS
        )
        about: dict[str, Any] = {
            "digest": self.digest,
            "trunk": self.trunk_digest,
            "frozen_trunk": self.frozen_trunk,
            "reads": self.reads,
            "pessimism": self.head.pessimism,
            "gain": self.head.gain,
            "bias": self.head.bias,
            "groups": list(self.head.groups),
            "tie_width": self.tie_width,
            "logits_per_reward": self.logits_per_reward,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        self.folder = folder

    @property
    def digest(self) -> str:
        """Which reward model this is: a hash of all that its scores follow from."""
        head = self.head
        said = [self.trunk_digest, self.reads, head.pessimism, head.gain, head.bias, *head.groups]
        found = hashlib.sha256(json.dumps(said).encode())
        for name, value in sorted(head.tensors().items()):
            found.update(f"{name} {value.dtype} {list(value.shape)}".encode())
            found.update(value.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()

    @property
    def identity(self) -> dict[str, Any]:
        """What is kept with every reward, so that rewards of two models are never taken for one."""
        return {"digest": self.digest, "gain": self.head.gain, "bias": self.head.bias}

    @cached_property
    def trunk(self) -> Trunk:
        """The model with its tokenizer and what is read of it."""
        return Trunk.saved(self.folder, self.reads, device=self.device)

    @property
    def model(self) -> PreTrainedModel:
        """The trunk's model."""
        return self.trunk.model

    @cached_property
    def chat(self) -> Layout:
        """The trunk's tokenizer; it is read without the model, which a policy may share."""
        return self.__dict__["trunk"].chat if "trunk" in self.__dict__ else layout(self.folder, self.reads)

    def reads_tokens_of(self, chat: Chat) -> bool:
        """Whether a policy's token ids mean the same here, and its template lays rows out in the same way."""
        ours, theirs = self.chat.tokenizer, chat.tokenizer
        return (
            self.chat.takes_tokens
            and ours.get_vocab() == theirs.get_vocab()
            and ours.chat_template == theirs.chat_template
        )

    @torch.no_grad()
    def score_features(self, features: Tensor) -> Tensor:
        """The reward (B,) of features (B, D) that the same trunk gave."""
        return self.head(features.to(self.device))

    @torch.no_grad()
    def score(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_tokens: int = 16384,
    ) -> Tensor:
        """The reward (B,) of token ids, by a forward of its own."""
        found = self.features(prompts, responses, batch_tokens=batch_tokens)
        return self.score_features(found)

    def score_texts(
        self,
        asked: Sequence[Sequence[Message]],
        texts: Sequence[str],
        *,
        ended: Sequence[bool] | None = None,
        batch_tokens: int = 16384,
    ) -> Tensor:
        """The reward (B,) of words, tokenised here; a response that hasn't ended gets no end."""
        ends = [True] * len(texts) if ended is None else ended
        prompts = [self.chat.prompt(messages) for messages in asked]
        responses = [self.chat.response(text, ended=end) for text, end in zip(texts, ends, strict=True)]
        limit = self.trunk.longest_row()
        for prompt, response in zip(prompts, responses, strict=True):
            if (length := len(prompt) + len(response)) > limit:
                raise ConfigError(
                    f"{self.folder}: the reward model takes {limit} tokens, but a response has {length}"
                )
        return self.score(prompts, responses, batch_tokens=batch_tokens)

    @torch.no_grad()
    def features(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_tokens: int = 16384,
    ) -> Tensor:
        """What the head is given: (B, D)."""
        return self.trunk.read_all(prompts, responses, batch_tokens=batch_tokens)


def identity_head(gain: float = 1.0, bias: float = 0.0) -> Head:
    """The head of a model that scores by itself."""
    zero, one = torch.zeros(1), torch.ones(1)
    return Head(zero, one, torch.ones(1, 1), zero.clone(), one.clone(), pessimism=0.0, gain=gain, bias=bias)


def trunk_digest(folder: Path) -> str:
    """Which language model is in this folder, be it by itself or the trunk of a reward model."""
    with contextlib.suppress(FileNotFoundError):
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["trunk"])
    return backbone.digest(folder)


def _link_files(source: Path, target: Path) -> None:
    """The same files under another folder; copies where the disk can't link."""
    for file in sorted(source.iterdir()):
        if not file.is_file() or file.name.startswith((".", "reward_")) or file.suffix not in KINDS:
            continue
        place = target / file.name
        place.unlink(missing_ok=True)
        try:
            os.link(file.resolve(), place)
        except OSError:
            shutil.copyfile(file, place)
