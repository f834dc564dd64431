import math

import pytest
import torch

from lm import backbone, logprobs
from lm.logprobs import entropy, exact_kl, score, score_all
from tests.torch_models import tiny_chat, tiny_gpt2, tiny_llama

torch.set_num_threads(1)
SHAPES = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
PROMPTS = [[4, 7, 8, 5], [4, 9, 5], [4, 10, 11, 12, 13, 14, 15, 5], [4, 5]]
RESPONSES = [[20, 21, 2], [22], [23, 2, 24, 25, 26], [27, 28]]  # EOS within one: lengths decide, not ids


@pytest.fixture(scope="module")
def chat():
    return tiny_chat()


@pytest.fixture(scope="module")
def model(chat):
    return tiny_llama(chat)


def one_at_a_time(model, prompt, response, temperature=1.0):
    """The log-probability and the state before each token, from a forward of its own without any padding."""
    found, states = [], []
    for t, token in enumerate(response):
        with torch.no_grad():
            output = model(torch.tensor([prompt + response[:t]]), output_hidden_states=True)
        found.append((output.logits[0, -1] / temperature).log_softmax(0)[token])
        states.append(output.hidden_states[-1][0, -1])
    return torch.stack(found), torch.stack(states)


@SHAPES
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_scores_are_those_of_one_token_at_a_time(chat, make, temperature):
    model = make(chat)
    with torch.no_grad():
        scored = score(model, PROMPTS, RESPONSES, temperature=temperature)
    slow = [one_at_a_time(model, *row, temperature) for row in zip(PROMPTS, RESPONSES, strict=True)]
    torch.testing.assert_close(scored.logprobs, torch.cat([one for one, _ in slow]), atol=1e-5, rtol=0)
    torch.testing.assert_close(scored.hidden, torch.cat([state for _, state in slow]), atol=1e-5, rtol=0)
    assert scored.tokens.tolist() == [token for response in RESPONSES for token in response]
    assert scored.row.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3]
    assert scored.lengths.tolist() == [3, 1, 5, 2]
    sums = torch.stack([one.sum() for one, _ in slow])
    torch.testing.assert_close(scored.sums(), sums, atol=1e-5, rtol=0)


@SHAPES
def test_the_last_state_is_that_at_the_last_real_token(chat, make):
    model = make(chat)
    with torch.no_grad():
        last = score(model, PROMPTS, RESPONSES).last
        for i, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            alone = model.base_model(torch.tensor([prompt + response])).last_hidden_state[0, -1]
            torch.testing.assert_close(last[i], alone, atol=1e-5, rtol=0)


def test_batches_give_the_order_that_was_given(model):
    with torch.no_grad():
        together = score(model, PROMPTS, RESPONSES, temperature=0.7)
    for batch_tokens in (1, 12, 16384):
        apart = score_all(model, PROMPTS, RESPONSES, temperature=0.7, batch_tokens=batch_tokens)
        for name in ("hidden", "logprobs", "tokens", "row", "last", "lengths"):
            torch.testing.assert_close(getattr(apart, name), getattr(together, name), atol=1e-5, rtol=0)
        assert not apart.logprobs.requires_grad


def test_a_response_without_tokens_counts_nothing_and_breaks_nothing(model):
    with torch.no_grad():
        scored = score_all(model, PROMPTS, [[20, 2], [], [21], []])
    assert scored.sums()[1] == scored.sums()[3] == 0
    assert scored.last.isfinite().all()
    assert scored.lengths.tolist() == [2, 0, 1, 0]
    none = score_all(model, PROMPTS[:2], [[], []])
    assert none.logprobs.shape == (0,)
    assert none.sums().tolist() == [0, 0]


def test_gradients_are_those_of_the_plain_loss(model):
    prompt, response = PROMPTS[0], RESPONSES[0]
    score(model, [prompt, PROMPTS[2]], [response, []]).logprobs.sum().backward()
    ours = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    logits = model(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
    logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(ours[name], weight.grad, atol=1e-5, rtol=1e-4)
    model.zero_grad()


def test_chunks_change_neither_log_probabilities_nor_gradients(model, monkeypatch):
    def run():
        model.zero_grad()
        found = score(model, PROMPTS, RESPONSES).logprobs
        found.sum().backward()
        gradient = model.get_output_embeddings().weight.grad.clone()
        return found.detach(), gradient, score_all(model, PROMPTS, RESPONSES).logprobs

    whole = run()
    monkeypatch.setattr(logprobs, "LOGITS_BYTES", 4 * model.config.vocab_size * 2)  # two tokens at a time
    for one, other in zip(whole, run(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    model.zero_grad()


def test_log_probabilities_are_fp32_while_products_are_bf16(model):
    with torch.no_grad(), backbone.computing("cpu", "bfloat16"):
        scored = score(model, PROMPTS, RESPONSES)
        scores = model.lm_head(scored.hidden)
        assert scores.dtype is torch.bfloat16
    exact = scores.double().log_softmax(1).gather(1, scored.tokens[:, None])[:, 0]
    assert scored.logprobs.dtype is torch.float32
    torch.testing.assert_close(scored.logprobs.double(), exact, atol=1e-5, rtol=0)


def test_states_alone_can_be_asked_for(model):
    with torch.no_grad():
        scored = score(model, PROMPTS, RESPONSES, with_logprobs=False)
    assert scored.logprobs.shape == (0,)
    assert scored.hidden.shape == (11, 32)
    assert score_all(model, PROMPTS, RESPONSES, with_logprobs=False).logprobs.shape == (0,)


def test_exact_kl_is_the_sum_over_the_vocabulary():
    torch.manual_seed(0)
    policy, reference = torch.randn(4, 9), torch.randn(4, 9)
    for n in range(4):
        p, q = policy[n].softmax(0).tolist(), reference[n].softmax(0).tolist()
        slow = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert exact_kl(policy, reference)[n].item() == pytest.approx(slow, abs=1e-6)
        assert entropy(policy)[n].item() == pytest.approx(-sum(a * math.log(a) for a in p), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_a_policy_that_is_its_reference_is_exactly_0_away(model, temperature):
    with torch.no_grad():
        scores = backbone.logits(model, score(model, PROMPTS, RESPONSES).hidden) / temperature
    assert exact_kl(scores, scores.clone()).tolist() == [0.0] * 11


def test_rows_that_cannot_be_scored_are_named(model):
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        score(model, [[4], []], [[5], [6]])
    with pytest.raises(ValueError, match="2 prompts and 1 responses"):
        score_all(model, [[4], [5]], [[5]])
    with pytest.raises(ValueError, match="temperature is 0"):
        score(model, [[4]], [[5]], temperature=0)
