"""Read-outs: a linear layer that tells properties of a response from the model's state at its end.

Learning it beside the language loss makes the states a reward model reads from say more about the response.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from lm.config import ConfigError

FILE = "readouts.safetensors"


class Readouts(nn.Module):
    """The properties, by name, and the layer that reads them."""

    def __init__(self, names: Sequence[str], hidden: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.linear = nn.Linear(hidden, len(self.names))

    def loss(self, states: Tensor, properties: Tensor, known: Tensor) -> Tensor:
        """Mean smooth-L1 distance of what is read to what is known; states (N, hidden), known (N,) 0 or 1."""
        distance = functional.smooth_l1_loss(self.linear(states).float(), properties, reduction="none").mean(
            1
        )
        return (distance * known).sum() / known.sum().clamp(min=1)

    def save(self, folder: Path) -> None:
        """Write them beside the model's weights."""
        tensors = {name: tensor.detach().contiguous() for name, tensor in self.linear.state_dict().items()}
        save_file(tensors, folder / FILE, {"names": "\n".join(self.names)})

    @classmethod
    def load(cls, folder: Path) -> "Readouts | None":
        """The read-outs of a model folder; None if it has none."""
        if not (folder / FILE).is_file():
            return None
        with safe_open(folder / FILE, "pt") as file:
            names = (file.metadata() or {}).get("names", "").split("\n")
            weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
        if weight.shape[0] != len(names):
            raise ConfigError(f"{folder / FILE} names {len(names)} properties and holds {weight.shape[0]}")
        readouts = cls(names, weight.shape[1])
        with torch.no_grad():
            readouts.linear.weight.copy_(weight)
            readouts.linear.bias.copy_(bias)
        return readouts
