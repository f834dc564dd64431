"""The weights that an optimizer moves: float32 always, also where the model computes in bfloat16.

A step of Adam is often below half of what a bfloat16 weight can show, so such weights alone would stand
still. Autocast keeps float32 weights and casts them at each call; here the model has bfloat16 weights, which
are cast once a step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lm.config import ConfigError


class Masters:
    """Float32 weights of what is trained in a model, by name; with float32 computation the model's own."""

    def __init__(self, model: nn.Module, precision: str) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ConfigError(f"precision is {precision!r}; it must be float32 or bfloat16")
        self.model = model
        self.copies = precision == "bfloat16"
        trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.weights: dict[str, Tensor] = dict(trained)
        if not self.copies:
            return
        self.weights = {name: value.detach().float().clone() for name, value in trained.items()}
        for value in model.parameters():
            value.data = value.data.bfloat16()
        for name, value in trained.items():
            value.register_post_accumulate_grad_hook(_adder(self.weights[name]))

    @torch.no_grad()
    def push(self) -> None:
        """Let the model compute with what the optimizer made of the weights."""
        if self.copies:
            mine = dict(self.model.named_parameters())
            torch._foreach_copy_([mine[name].data for name in self.weights], list(self.weights.values()))

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model its float32 weights for good: to measure and to save it."""
        if self.copies:
            for name, value in self.model.named_parameters():
                value.data = self.weights[name].data if name in self.weights else value.data.float()
            self.copies = False


def _adder(master: Tensor) -> Callable[[Tensor], None]:
    """Adds a weight's gradient, once it is there, to that of its float32 copy."""

    def add(value: Tensor) -> None:
        if value.grad is None:
            return
        if master.grad is None:
            master.grad = value.grad.float()
        else:
            master.grad.add_(value.grad)
        value.grad = None

    return add
