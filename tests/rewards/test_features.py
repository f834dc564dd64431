import pytest
import torch

from lm import logprobs
from rewards.features import extract, features
from tests.torch_models import tiny_chat, tiny_gpt2, tiny_llama

PROMPTS = [[7, 8, 9], [10, 11], [12], [13, 14, 15, 16, 17]]
RESPONSES = [[20, 21, 22, 2], [23], [], [30, 31, 32, 33, 34, 35, 2]]


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_features_are_those_of_each_response_alone(make):
    """Checklist 2, 14 and 40: neither padding nor batch mates nor an empty response matters."""
    model = make(tiny_chat())
    together = extract(model, PROMPTS, RESPONSES)
    for row, prompt, response in zip(together, PROMPTS, RESPONSES, strict=True):
        assert (extract(model, [prompt], [response])[0] - row).abs().max() < 1e-5
    assert together.isfinite().all()


def test_the_last_columns_are_likelihoods_of_the_response():
    """Checklist 1: of its own tokens, each given those before it."""
    model = tiny_llama(tiny_chat())
    found = extract(model, PROMPTS, RESPONSES)
    for row, prompt, response in zip(found, PROMPTS, RESPONSES, strict=True):
        each = []
        for number, token in enumerate(response):
            ids = torch.tensor([prompt + response[:number]])
            with torch.no_grad():
                each.append(float(model(ids).logits[0, -1].float().log_softmax(-1)[token]))
        two = sorted(each)[:2]
        expected = [sum(each) / len(each), min(each), sum(each), sum(two) / len(two)] if each else [0.0] * 4
        assert row[-4:].tolist() == pytest.approx(expected, abs=1e-4)


def test_features_of_a_forward_are_those_extracted():
    model = tiny_llama(tiny_chat())
    with torch.no_grad():
        scored = logprobs.score(model, PROMPTS, RESPONSES)
    assert torch.allclose(features(scored), extract(model, PROMPTS, RESPONSES), atol=1e-5)
    assert features(scored).shape == (4, model.config.hidden_size + 4)


def test_the_order_given_is_kept_over_many_chunks(monkeypatch):
    model = tiny_llama(tiny_chat())
    whole = extract(model, PROMPTS, RESPONSES)
    monkeypatch.setattr("rewards.features.CHUNK", 3)
    told = []
    assert torch.allclose(extract(model, PROMPTS, RESPONSES, progress=told.append), whole, atol=1e-5)
    assert told == [3, 4]
