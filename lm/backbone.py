"""A transformers language model as we use it: loaded safely, in fp32, without dropout."""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from lm import model_files
from lm.config import ConfigError

if TYPE_CHECKING:
    from lm.tokens import Chat


def model_folder(path: Path) -> Path:
    """The folder of a model: a run directory stands for its `model/`, a model's folder for itself."""
    path = Path(path)
    if not path.is_dir():
        raise ConfigError(f"{path}: there is no such folder")
    for folder in (path / "model", path):
        if (folder / "config.json").is_file() and "model_type" in _json(folder / "config.json"):
            return folder
    raise ConfigError(f"{path}: holds no model, which is a config.json with a model_type beside its weights")


def find(path: Path | str) -> tuple[str, bool]:
    """What transformers is to load, and whether that is a folder; else it's the id of a model on the hub."""
    if Path(path).is_dir():
        return str(model_folder(Path(path))), True
    name = str(path)
    if name.count("/") > 1 or name.startswith((".", "/", "~")):
        raise ConfigError(f"{name}: there is no such folder")
    return name, False


def load(path: Path | str, *, device: str = "cpu") -> PreTrainedModel:
    """A causal language model from a folder, a run directory or the hub; what reads ahead is refused."""
    name, local = find(path)
    if local:
        _check_weights(Path(name))
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(name, local_files_only=local, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                name,
                config=without_dropout(config),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=local,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ConfigError(f"{path}: can't be loaded as a language model: {_first_line(error)}") from error
    model, info = loaded
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ConfigError(f"{path}: is no whole language model; it has no weights for {missing}")
    _check_model(model, path)
    placed: PreTrainedModel = model.to(device).eval()
    return placed


def save(model: PreTrainedModel, chat: Chat, folder: Path) -> None:
    """Model and tokenizer as safetensors and JSON, for `load` and for all else that uses transformers."""
    with _quiet():
        model.save_pretrained(folder)
    chat.save(folder)


def digest(folder: Path) -> str:
    """Which model this is: a hash of its config and weights."""
    return model_files.digest(model_folder(folder))


def pick_device(name: str) -> str:
    """The device that a config means; `auto` is a GPU if there is one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {name!r}, but torch finds no GPU here")
    return name


def computing(device: str, precision: str) -> AbstractContextManager[Any]:
    """Within this, matrix products are in `precision`; the weights stay fp32, as small steps need them."""
    if precision == "float32":
        return contextlib.nullcontext()
    if precision != "bfloat16":
        raise ConfigError(f"precision is {precision!r}; it must be float32 or bfloat16")
    return torch.autocast(device.partition(":")[0], dtype=torch.bfloat16)


def peak_memory_bytes(device: str) -> int:
    """The most memory the run has held: of the GPU, or of the process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024  # bytes there, kilobytes here


def hidden(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """The states (B, T, d) after the last norm, of rows padded on either side; `mask` is 1 at real tokens."""
    if mask[:, 0].all() and (mask[:, 1:] <= mask[:, :-1]).all():  # padded on the right: causality hides it
        positions = torch.arange(ids.shape[1], device=ids.device)[None].expand_as(ids)
        ids, seen = ids.where(mask.bool(), ids[:, :1]), None  # GPT-2 would warn of a PAD without a mask
    else:
        positions, seen = position_ids(mask), mask
    states: Tensor = model.base_model(
        input_ids=ids, attention_mask=seen, position_ids=positions, use_cache=False
    ).last_hidden_state
    return states


def position_ids(mask: Tensor) -> Tensor:
    """Each real token's place in its row, wherever the padding is; models with learned positions need it."""
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """What the head makes of hidden states (N, d), in fp32: (N, V)."""
    scores: Tensor = model.get_output_embeddings()(hidden)
    return scores.float()


def without_dropout(config: PreTrainedConfig) -> PreTrainedConfig:
    """The config with all dropout off, so that training computes what sampling did."""
    for name, value in vars(config).items():
        if "drop" in name and isinstance(value, float):
            setattr(config, name, 0.0)
    return config


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError(f"{file}: is no JSON: {error}") from error
    return values if isinstance(values, dict) else {}


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    if pickles := sorted(file.name for file in folder.glob("*.bin")):
        raise ConfigError(
            f"{folder}: has its weights only in {pickles[0]}, a pickle, which may run code when it is read; "
            "save it as safetensors first"
        )
    raise ConfigError(f"{folder}: has no weights; a file named *.safetensors is missing")


def _check_model(model: PreTrainedModel, path: Path | str) -> None:
    """Refuse a model that sees the next token, or whose head is more than the matrix that `logits` takes."""
    ids = torch.tensor([[1, 2], [1, 3]])
    mask = torch.ones_like(ids)
    with torch.no_grad():
        ours = logits(model, hidden(model, ids, mask))
        theirs = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    if not torch.allclose(ours[0, 0], ours[1, 0], atol=1e-4):
        raise ConfigError(f"{path}: is an encoder ({model.config.model_type}): a token sees those after it")
    if not torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3):
        raise ConfigError(f"{path}: has a head ({model.config.model_type}) that is more than one matrix")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and tables; what matters of them is in our errors."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
