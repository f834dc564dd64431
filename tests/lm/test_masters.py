import itertools

import pytest
import torch
from torch import nn

from lm.config import ConfigError
from lm.masters import Masters


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


def test_with_float32_the_weights_are_the_models_own():
    net = model()
    assert all(
        value is dict(net.named_parameters())[name] for name, value in Masters(net, "float32").weights.items()
    )


def test_steps_too_small_for_bfloat16_move_the_weights_all_the_same():
    """Checklist 35: 100 steps of 1e-6 are below half a unit in the last place of such weights."""
    net = model()
    masters = Masters(net, "bfloat16")
    optimizer = torch.optim.AdamW(masters.weights.values(), lr=1e-6, weight_decay=0.0)
    before = {name: value.clone() for name, value in masters.weights.items()}
    x = torch.randn(32, 8).bfloat16()
    for _ in range(100):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
        masters.push()
    for name, value in masters.weights.items():
        assert (value - before[name]).abs().max() == pytest.approx(1e-4, rel=0.5)
    assert all(value.dtype == torch.bfloat16 for value in net.parameters())
    masters.restore()
    assert all(torch.equal(value, masters.weights[name]) for name, value in net.named_parameters())


def test_gradients_of_parts_are_added_in_float32():
    net = model()
    masters = Masters(net, "bfloat16")
    x = torch.randn(64, 8).bfloat16()
    parts = []
    for part in x.split(8):
        net(part).sum().backward()
        parts.append({name: value.grad.clone() for name, value in masters.weights.items()})
    for name, value in masters.weights.items():
        assert value.grad.dtype == torch.float32
        steps = [parts[0][name], *(b[name] - a[name] for a, b in itertools.pairwise(parts))]
        assert torch.allclose(sum(steps), value.grad, rtol=1e-5, atol=1e-5)
    assert all(value.grad is None for value in net.parameters())


def test_what_is_not_trained_has_no_copy():
    net = model()
    net[0].requires_grad_(False)
    assert set(Masters(net, "bfloat16").weights) == {"2.weight", "2.bias"}


def test_another_precision_is_refused_by_its_name():
    with pytest.raises(ConfigError, match="float16"):
        Masters(model(), "float16")
