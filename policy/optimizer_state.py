"""An optimizer's state as safetensors, so that a resumed run goes on as if nothing had happened."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def save(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Write moments and counters; rates come from the config again."""
    state = optimizer.state_dict()["state"]
    tensors = {
        f"{index}.{name}": value.detach().clone().contiguous()
        for index, values in state.items()
        for name, value in values.items()
    }
    save_file(tensors, path)


def load(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Take up the state of an optimizer that was made in the same way."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in load_file(path).items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
