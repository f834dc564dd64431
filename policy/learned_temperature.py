"""A temperature that is learned with the policy and folded into its weights.

Scaling the final norm scales all logits, so it is an inverse temperature. As one scalar with its own Adam
rate it moves much faster than the norm's weights do by themselves; measured on the starter, policies
trained with it are better by as much as other training gained (taste +.24 for 0.5 nats).
"""

import copy
import math

import torch
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from lm.config import ConfigError

FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm")  # what architectures call it
DECAYS = (0.9, 0.95)  # Adam's betas


class LearnedTemperature:
    """One scalar, the scale of the final norm; `observe` before gradients are clipped, `step` after."""

    def __init__(self, model: PreTrainedModel, rate: float) -> None:
        self.rate = rate
        self.scale = 1.0  # all steps so far, multiplied; above 1 is a lower temperature
        self._steps = 0
        self._mean = self._square = 0.0  # Adam's moments of the gradient
        self._gradient = 0.0
        if rate:
            self._norm = final_norm(model)
            self._offset = _offset(self._norm)

    def observe(self) -> None:
        """Take the gradient by the logarithm of the scale: the sum of each weight times its gradient."""
        if self.rate:
            self._gradient = sum(
                float((grad * (parameter.detach() + offset)).sum()) if grad is not None else 0.0
                for parameter, offset in self._parameters()
                for grad in (parameter.grad,)
            )

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """Scale the norm by one step of Adam, at this share of the peak rate."""
        if not self.rate:
            return
        self._steps += 1
        first, second = DECAYS
        self._mean = first * self._mean + (1 - first) * self._gradient
        self._square = second * self._square + (1 - second) * self._gradient**2
        mean = self._mean / (1 - first**self._steps)
        root = math.sqrt(self._square / (1 - second**self._steps))
        scale = math.exp(-self.rate * factor * mean / (root + 1e-8))
        for parameter, offset in self._parameters():
            parameter.add_(offset).mul_(scale).sub_(offset)
        self.scale *= scale

    def state(self) -> dict[str, float]:
        """All that `restore` needs."""
        return {"scale": self.scale, "steps": self._steps, "mean": self._mean, "square": self._square}

    def restore(self, state: dict[str, float]) -> None:
        """Go on from such a state."""
        self.scale, self._steps = state["scale"], int(state["steps"])
        self._mean, self._square = state["mean"], state["square"]

    def _parameters(self) -> list[tuple[Tensor, float]]:
        """What is scaled, and what the norm itself adds to it before it is used."""
        return [
            (parameter, self._offset if name == "weight" else 0.0)
            for name, parameter in self._norm.named_parameters(recurse=False)
        ]


def final_norm(model: PreTrainedModel) -> Module:
    """The norm before the head."""
    base = model.base_model
    for place in (base, getattr(base, "decoder", None)):
        for name in FINAL_NORMS:
            norm = getattr(place, name, None)
            if isinstance(norm, Module) and isinstance(getattr(norm, "weight", None), Tensor):
                return norm
    raise ConfigError(
        f"temperature_rate: a {model.config.model_type} has no final norm to learn it by; give 0"
    )


@torch.no_grad()
def _offset(norm: Module) -> float:
    """0, or 1 where the norm multiplies by 1 + weight, as Gemma's does."""
    still = copy.deepcopy(norm)
    for parameter in still.parameters():
        parameter.zero_()
    probe = torch.linspace(-1, 1, parameter.shape[0], device=parameter.device)
    return 1.0 if bool(still(probe[None]).abs().sum() > 1e-3) else 0.0
