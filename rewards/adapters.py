"""LoRA: what is trained beside frozen weights, and how it is merged into them at the end."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from lm.config import ConfigError

SCALE = 2.0  # what the product of the two matrices is multiplied by: alpha = 2 * rank


def add(model: PreTrainedModel, rank: int, *, seed: int) -> None:
    """Freeze a model and put two thin matrices, which are trained, beside each linear layer but its head.

    The model stays the object it was, so whatever computes with it goes on; at first it computes the same.
    """
    config = LoraConfig(
        r=rank, lora_alpha=round(SCALE * rank), lora_dropout=0.0, target_modules="all-linear", bias="none"
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            get_peft_model(model, config)
        except ValueError as error:
            raise ConfigError(f"LoRA can't be put into a {model.config.model_type}: {error}") from error


def weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The matrices that `add` put in, by name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def weights_in(model: PreTrainedModel) -> bool:
    """Whether `add` was here."""
    return any(isinstance(module, LoraLayer) for module in model.modules())


@torch.no_grad()
def merged(fresh: PreTrainedModel, trained: dict[str, Tensor], rank: int) -> PreTrainedModel:
    """A model as it was loaded, in float32, with trained matrices merged into its weights."""
    add(fresh, rank, seed=0)
    mine = weights(fresh)
    if mine.keys() != trained.keys():
        raise ConfigError(f"the adapter has {len(trained)} matrices, the model takes {len(mine)}")
    for name, value in mine.items():
        value.copy_(trained[name])
    for name, module in list(fresh.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(fresh.get_submodule(parent), child, module.get_base_layer())
    for value in fresh.parameters():
        value.requires_grad_(True)
    return fresh


def save(trained: dict[str, Tensor], folder: Path, rank: int) -> None:
    """Write the matrices alone, for whoever wants the small file."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.detach().float().contiguous().cpu() for name, value in trained.items()}
    save_file(tensors, folder / "adapter.safetensors", metadata={"rank": str(rank), "scale": str(SCALE)})
