"""Packed rows against rows each by itself, on several families of decoders."""

import random

import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lm import logprobs, packed
from lm.packed import Blockwise, Layout, Rows

SHAPE = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 64,
    "vocab_size": 90,
}
ENDS = {"bos_token_id": 0, "eos_token_id": 1}


def llama(key_heads: int = 2):
    return LlamaForCausalLM(LlamaConfig(**SHAPE, **ENDS, num_key_value_heads=key_heads))


FAMILIES = {
    "llama, keys shared": llama,
    "llama, keys each": lambda: llama(6),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=90, n_positions=200, **ENDS)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SHAPE, **ENDS, num_key_value_heads=2, head_dim=8)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**SHAPE, **ENDS, num_key_value_heads=2, head_dim=8)),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(**SHAPE, **ENDS, num_key_value_heads=2, sliding_window=40)
    ),
}


def made(family: str):
    torch.manual_seed(1)
    return FAMILIES[family]().eval()


def ragged(seed: int = 0, count: int = 14, longest: int = 30):
    """Rows that share five prompts; some responses are empty, some prompts one token."""
    chance = random.Random(seed)

    def tokens(least: int, most: int) -> list[int]:
        return [chance.randrange(90) for _ in range(chance.randint(least, most))]

    asked = [tokens(1, longest) for _ in range(5)]
    return [asked[i % 5] for i in range(count)], [tokens(0, longest) for _ in range(count)]


def apart(model, prompts, responses):
    """The last state of each row, computed alone."""
    return torch.stack(
        [
            model.base_model(input_ids=torch.tensor([[*p, *r]]), use_cache=False).last_hidden_state[0, -1]
            for p, r in zip(prompts, responses, strict=True)
        ]
    )


def gradients(model, states):
    model.zero_grad()
    generator = torch.Generator().manual_seed(2)
    (states @ torch.randn(states.shape[1], generator=generator)).tanh().sum().backward()
    return {name: value.grad.clone() for name, value in model.base_model.named_parameters()}


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mistral"])
def test_states_and_gradients_are_those_of_rows_by_themselves(family):
    model = made(family)
    prompts, responses = ragged()
    assert packed.prepare(model)
    together = packed.hidden(model, rows := packed.pack(prompts, responses))[rows.ends]
    ours = gradients(model, together)
    alone = apart(model, prompts, responses)
    theirs = gradients(model, alone)
    assert torch.allclose(together, alone, atol=2e-6, rtol=2e-6)
    for name, value in theirs.items():
        assert torch.allclose(ours[name], value, atol=2e-6 * float(value.abs().max() + 1), rtol=2e-5), name


def test_a_prompt_is_laid_out_once_for_all_its_responses():
    prompts, responses = [[5] * 20, [5] * 20, [6] * 3], [[1, 2], [3], [4, 4]]
    assert len(packed.pack(prompts, responses)) == 20 + 2 + 1 + 3 + 2 + 1


def test_a_row_does_not_feel_another():
    """Checklist 45."""
    model = made("llama, keys shared")
    packed.prepare(model)
    prompts, responses = ragged()

    def states():
        rows = packed.pack(prompts, responses)
        return packed.hidden(model, rows)[rows.ends]

    with torch.no_grad():
        before = states()
        changed = [3, 8, 13]  # all that share the fourth prompt, at lengths as before
        prompts = [[7] * len(p) if i in changed else p for i, p in enumerate(prompts)]
        after = states()
    others = [i for i in range(14) if i not in changed]
    assert torch.equal(before[others], after[others])
    assert (before[changed] != after[changed]).any(1).all()


@pytest.mark.parametrize("family", ["llama, keys shared", "gpt2"])
def test_logprobs_are_those_of_padded_rows(family, monkeypatch):
    model = made(family)
    prompts, responses = ragged(3)
    monkeypatch.setitem(packed._prepared, model, False)
    padded = logprobs.score(model, prompts, responses)
    monkeypatch.undo()
    found = logprobs.score(model, prompts, responses)
    assert packed.prepare(model)
    for name in ("hidden", "logprobs", "last"):
        assert torch.allclose(getattr(found, name), getattr(padded, name), atol=2e-5), name
    for name in ("tokens", "row", "lengths"):
        assert torch.equal(getattr(found, name), getattr(padded, name)), name


def test_in_batches_rows_come_back_in_their_order():
    model = made("llama, keys shared")
    prompts, responses = ragged(4, count=40)
    once = logprobs.score_all(model, prompts, responses)
    parts = logprobs.score_all(model, prompts, responses, batch_tokens=70)
    assert torch.allclose(once.last, parts.last, atol=1e-6)
    assert torch.allclose(once.logprobs, parts.logprobs, atol=1e-5)
    assert torch.equal(once.tokens, parts.tokens)


def test_a_sliding_window_shorter_than_a_row_is_left_to_transformers():
    model = made("mistral")
    assert packed.longest_seen(model) == 40
    short, long = ([[1] * 10], [[2] * 10]), ([[1] * 30], [[2] * 30])
    assert logprobs.packs(model, *short)
    assert not logprobs.packs(model, *long)
    expected = model.base_model(input_ids=torch.tensor([[1] * 30 + [2] * 30]), use_cache=False)
    assert torch.allclose(logprobs.score(model, *long).last[0], expected.last_hidden_state[0, -1], atol=1e-5)


def test_a_prepared_model_takes_padded_rows_and_generates_as_before():
    model, other = made("llama, keys shared"), made("llama, keys shared")
    assert packed.prepare(model)
    ids = torch.tensor([[0, 0, 5, 6, 7], [3, 4, 5, 6, 7]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    with torch.no_grad():
        assert torch.allclose(
            model(ids, attention_mask=mask).logits, other(ids, attention_mask=mask).logits, atol=1e-6
        )
    options = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, **options), other.generate(ids, **options))


def test_an_attention_that_is_not_ours_to_change_is_told():
    """A model whose scores are capped would come out otherwise, so it stays padded."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(**SHAPE, **ENDS, num_key_value_heads=2, head_dim=8, attn_logit_softcapping=5.0)
    model = Gemma2ForCausalLM(config).eval()
    assert not packed.prepare(model)
    assert model.config._attn_implementation != packed.NAME
    prompts, responses = ragged(5)
    assert torch.allclose(
        logprobs.score(model, prompts, responses).last, apart(model, prompts, responses), atol=1e-5
    )


def test_bfloat16_stays_near_float32():
    model = made("llama, keys shared")
    prompts, responses = ragged(6)
    with torch.no_grad():
        exact = logprobs.score(model, prompts, responses).last
        coarse = logprobs.score(model.bfloat16(), prompts, responses).last.float()
    assert (coarse - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.01


def slow_attention(query, key, value, rows: Rows, scale: float):
    """One query at a time."""
    out = torch.zeros_like(query)
    each = query.shape[0] // key.shape[0]
    for own, seen in rows.sequences:
        for place in own:
            visible = [*seen, *range(own.start, place + 1)]
            for head in range(query.shape[0]):
                scores = key[head // each, visible] @ query[head, place] * scale
                out[head, place] = scores.softmax(0) @ value[head // each, visible]
    return out


@pytest.mark.parametrize("overhead", [0, 10**9])
def test_attention_and_its_backward_are_those_of_a_loop(overhead, monkeypatch):
    """Each sequence a block of its own, and all in one."""
    monkeypatch.setattr(packed, "OVERHEAD", overhead)
    prompts, responses = ragged(7, count=7, longest=6)
    rows = packed.pack(prompts, responses)
    torch.manual_seed(3)
    parts = [torch.randn(heads, len(rows), 5, dtype=torch.float64, requires_grad=True) for heads in (4, 2, 2)]
    target = torch.randn(4, len(rows), 5, dtype=torch.float64)
    target[:, -1] = 0  # nobody uses the spare token
    layout = Layout.of(rows.sequences, len(rows), torch.device("cpu"))
    found = []
    for attend in (lambda *x: Blockwise.apply(*x, layout, 0.4), lambda *x: slow_attention(*x, rows, 0.4)):
        for part in parts:
            part.grad = None
        out = attend(*parts)
        (out * target).sum().backward()
        found.append((out.detach()[:, :-1], *(part.grad.clone() for part in parts)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_blocks_hold_every_token_once_and_no_more_than_is_worth_it():
    rows = packed.pack(*ragged(8, count=60, longest=300))
    layout = rows.layout(torch.device("cpu"))
    real = sum(len(own) * (len(own) + len(seen)) for own, seen in rows.sequences)
    padded = sum(block.bias.numel() for block in layout.blocks)
    assert padded < 1.6 * real
    assert len(layout.blocks) < len(rows.sequences)
    assert sorted(layout.answered.tolist()) == sorted(set(layout.answered.tolist()))
    assert sum(len(tokens) for tokens, _ in layout.seen) == sum(
        len(own) + len(seen) for own, seen in rows.sequences
    )


def kernel(
    query, key, value, queries_upto, keys_upto, longest_query, longest_key, *, scale, window_size, enable_gqa
):
    """What torch's kernel for sequences of any length computes, by the book: queries are the last of their keys."""
    assert window_size == (-1, 0)
    parts = []
    each = query.shape[1] // key.shape[1]
    for i in range(len(queries_upto) - 1):
        q = query[queries_upto[i] : queries_upto[i + 1]]
        k, v = (part[keys_upto[i] : keys_upto[i + 1]].repeat_interleave(each, 1) for part in (key, value))
        assert len(k) <= longest_key
        scores = torch.einsum("qhd,khd->hqk", q, k) * scale
        visible = torch.arange(len(k)) <= torch.arange(len(q))[:, None] + len(k) - len(q)
        parts.append(torch.einsum("hqk,khd->qhd", scores.masked_fill(~visible, -torch.inf).softmax(-1), v))
    return torch.cat(parts)


def test_what_the_gpus_kernel_is_given_is_what_the_blocks_compute(monkeypatch):
    """The kernel itself needs a GPU; its arguments don't."""
    monkeypatch.setattr(packed, "varlen_attn", kernel)
    rows = packed.pack(*ragged(9))
    torch.manual_seed(4)
    query, key, value = (torch.randn(1, heads, len(rows), 8) for heads in (4, 2, 2))
    found = packed.by_lengths(query, key, value, rows.lengths(torch.device("cpu")), 0.3)
    layout = rows.layout(torch.device("cpu"))
    expected = Blockwise.apply(query[0], key[0], value[0], layout, 0.3).transpose(0, 1)
    assert torch.allclose(found[0], expected, atol=1e-5)
