"""A reward model as it is used and kept: prompts and responses in, normalised rewards out."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lm import backbone, logprobs
from lm.config import ConfigError
from lm.tokens import Chat
from rewards import features
from rewards.head import Head

ABOUT, TENSORS = "reward_model.json", "reward_head.safetensors"
CHUNK = 256  # responses in one call of the model


class RewardModel:
    """A trunk, which is a language model, and the head that makes rewards of its features.

    With a frozen trunk the features are those of `rewards.features`, and whoever has just sent the same
    responses through the same model may use `score_features`. A trunk of its own gives the state at the
    last token.
    """

    def __init__(
        self,
        head: Head,
        *,
        folder: Path,
        trunk_digest: str,
        frozen_trunk: bool,
        tie_width: float = 0.0,
        logits_per_reward: float = 1.0,
        device: str = "cpu",
        model: PreTrainedModel | None = None,
        chat: Chat | None = None,
    ) -> None:
        self.head = head.to(device)
        self.folder = folder
        self.trunk_digest = trunk_digest
        self.frozen_trunk = frozen_trunk
        self.tie_width = tie_width
        self.logits_per_reward = logits_per_reward
        self.device = device
        self._model, self._chat = model, chat

    @classmethod
    def load(cls, path: Path | str, *, device: str = "cpu") -> "RewardModel":
        """A saved reward model, from its run directory or its model's folder; its trunk is read later."""
        folder = backbone.model_folder(Path(path))
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            tensors = load_file(folder / TENSORS)
        except OSError as error:
            raise ConfigError(f"{path}: is no reward model: {ABOUT} or {TENSORS} can't be read") from error
        return cls(
            Head(**tensors, pessimism=about["pessimism"], gain=about["gain"], bias=about["bias"]),
            folder=folder,
            trunk_digest=about["trunk"],
            frozen_trunk=about["frozen_trunk"],
            tie_width=about["tie_width"],
            logits_per_reward=about["logits_per_reward"],
            device=device,
        )

    def save(self, folder: Path) -> None:
        """Write a transformers model and the head beside it; the files of a frozen trunk are linked."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.frozen_trunk:
            _link_files(self.folder, folder)
        else:
            backbone.save(self.model, self.chat, folder)
            self.trunk_digest = trunk_digest(folder)
        save_file(
            {name: value.contiguous().cpu() for name, value in self.head.tensors().items()}, folder / TENSORS
        )
        about: dict[str, Any] = {
            "trunk": self.trunk_digest,
            "frozen_trunk": self.frozen_trunk,
            "pessimism": self.head.pessimism,
            "gain": self.head.gain,
            "bias": self.head.bias,
            "tie_width": self.tie_width,
            "logits_per_reward": self.logits_per_reward,
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
        self.folder = folder

    @property
    def model(self) -> PreTrainedModel:
        """The trunk."""
        if self._model is None:
            self._model = backbone.load(self.folder, device=self.device)
        return self._model

    @property
    def chat(self) -> Chat:
        """The trunk's tokenizer."""
        if self._chat is None:
            self._chat = Chat.load(self.folder)
        return self._chat

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

    @torch.no_grad()
    def features(
        self,
        prompts: Sequence[Sequence[int]],
        responses: Sequence[Sequence[int]],
        *,
        batch_tokens: int = 16384,
    ) -> Tensor:
        """What the head is given: (B, D)."""
        if self.frozen_trunk:
            return features.extract(self.model, prompts, responses, batch_tokens=batch_tokens)
        return last_states(self.model, prompts, responses, batch_tokens=batch_tokens)


@torch.no_grad()
def last_states(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 16384,
) -> Tensor:
    """The states (B, d) at the last token of each response, found by its length and not by its id."""
    found = []
    for begin in range(0, len(prompts), CHUNK):
        scored = logprobs.score_all(
            model,
            prompts[begin : begin + CHUNK],
            responses[begin : begin + CHUNK],
            batch_tokens=batch_tokens,
            with_logprobs=False,
        )
        found.append(scored.last.float())
    return torch.cat(found)


def trunk_digest(folder: Path) -> str:
    """Which language model is in this folder, be it by itself or the trunk of a reward model."""
    with contextlib.suppress(FileNotFoundError):
        return str(json.loads((folder / ABOUT).read_text(encoding="utf-8"))["trunk"])
    return backbone.digest(folder)


def _link_files(source: Path, target: Path) -> None:
    """The same files under another folder; copies where the disk can't link."""
    for file in sorted(source.iterdir()):
        if not file.is_file() or file.name.startswith((".", "reward_")):
            continue
        place = target / file.name
        place.unlink(missing_ok=True)
        try:
            os.link(file.resolve(), place)
        except OSError:
            shutil.copyfile(file, place)
