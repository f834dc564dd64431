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
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.utils import logging as transformers_logging
from transformers.utils.hub import cached_file

from lm import model_files
from lm.config import ConfigError

if TYPE_CHECKING:
    from lm.tokens import Layout


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
    model, missing = _load(AutoModelForCausalLM, path, "a language model")
    if missing:
        raise ConfigError(f"{path}: is no whole language model; it has no weights for {_few(missing)}")
    _check_model(model, path)
    placed: PreTrainedModel = model.to(device).eval()
    return placed


def load_trunk(path: Path | str, *, device: str = "cpu") -> PreTrainedModel:
    """What a reward model can be trained from: a causal language model, or an encoder of the BERT family."""
    return (load_encoder if is_encoder(config_of(path)) else load)(path, device=device)


def load_encoder(path: Path | str, *, device: str = "cpu") -> PreTrainedModel:
    """An encoder without its heads, which no policy can be."""
    model, missing = _load(AutoModel, path, "an encoder")
    missing = {name for name in missing if not name.startswith("pooler.")}
    if missing:
        raise ConfigError(f"{path}: is no whole encoder; it has no weights for {_few(missing)}")
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # we don't use it, and in a checkpoint without one it would be drawn at random
    placed: PreTrainedModel = model.to(device).eval()
    return placed


def load_classifier(path: Path | str, *, device: str = "cpu") -> PreTrainedModel:
    """A model with one label, as transformers' AutoModelForSequenceClassification makes them."""
    config = config_of(path)
    if "AutoModelForSequenceClassification" in (getattr(config, "auto_map", None) or {}):
        raise ConfigError(f"{path}: scores by code from its repository, which is never run here")
    if config.is_encoder_decoder:
        raise ConfigError(
            f"{path}: is an encoder with a decoder ({config.model_type}), which isn't supported"
        )
    if config.num_labels != 1:
        raise ConfigError(f"{path}: has {config.num_labels} labels; a reward model has one")
    model, missing = _load(AutoModelForSequenceClassification, path, "a sequence classifier")
    if missing:
        raise ConfigError(
            f"{path}: has no weights for {_few(missing)}; transformers would draw them at random"
        )
    model.config.get_text_config().use_cache = False
    placed: PreTrainedModel = model.to(device).eval()
    return placed


def is_encoder(config: PreTrainedConfig) -> bool:
    """Whether such a model was made to fill gaps in a text, so that a token sees those after it."""
    fills_gaps = type(config) in MODEL_FOR_MASKED_LM_MAPPING
    return fills_gaps and not getattr(config, "is_decoder", False) and not config.is_encoder_decoder


def config_of(path: Path | str) -> PreTrainedConfig:
    """The config of a folder, a run directory or a model of the hub; one that asks for code is refused."""
    name, local = find(path)
    try:
        with _quiet():
            values, _ = PreTrainedConfig.get_config_dict(name, local_files_only=local)
            config: PreTrainedConfig = AutoConfig.from_pretrained(
                name, local_files_only=local, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: its config can't be read: {_first_line(error)}") from error
    for key, value in _settings(values):
        # Such a name would be that of a repository with kernels, which are programs.
        if "_implementation" in key and isinstance(value, str) and "/" in value:
            raise ConfigError(f"{path}: its config asks for code from {value!r}, which is never run here")
    return config


def local_folder(path: Path | str) -> Path:
    """Where the files of a loaded model are; of one from the hub, its folder in the cache."""
    name, local = find(path)
    if local:
        return Path(name)
    return Path(str(cached_file(name, "config.json", local_files_only=True))).parent


def save(model: PreTrainedModel, chat: Layout, folder: Path) -> None:
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


def _load(maker: type[Any], path: Path | str, kind: str) -> tuple[Any, set[str]]:
    """A model in fp32 without dropout, and the names of the weights that its files don't hold."""
    name, local = find(path)
    if local:
        _check_weights(Path(name))
    try:
        with _quiet():
            model, info = maker.from_pretrained(
                name,
                config=without_dropout(config_of(path)),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=local,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: can't be loaded as {kind}: {_first_line(error)}") from error
    return model, set(info["missing_keys"])


def _settings(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of a config, its parts' too."""
    for key, value in values.items():
        yield key, value
        if isinstance(value, dict):
            yield from _settings(value)


def _few(names: set[str]) -> str:
    return ", ".join(sorted(names)[:3])


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
