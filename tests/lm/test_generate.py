import pytest
import torch
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from lm import backbone
from lm.generate import generate
from lm.logprobs import score_all
from tests.torch_models import tiny_chat, tiny_gpt2, tiny_llama

torch.set_num_threads(1)
SHAPES = pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
PROMPTS = [[4, 7, 8, 5], [4, 9, 5], [4, 10, 11, 12, 13, 14, 15, 5], [4, 5], [4, 30, 31, 5]]
OFTEN = frozenset(
    range(2, 60)
)  # a new model seldom says EOS; with these as stop tokens about a seventh ends each step


@pytest.fixture(scope="module")
def chat():
    return tiny_chat()


@pytest.fixture(scope="module")
def model(chat):
    return tiny_llama(chat)


def draw(model, prompts=PROMPTS, *, seed=0, stop_ids=OFTEN, max_new_tokens=20, **options):
    generator = torch.Generator().manual_seed(seed)
    return generate(
        model, prompts, stop_ids=stop_ids, max_new_tokens=max_new_tokens, generator=generator, **options
    )


def tokens(drawn):
    return [one.tokens for one in drawn]


@SHAPES
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_log_probabilities_are_those_of_scoring_at_that_temperature(chat, make, temperature):
    model = make(chat)
    drawn = draw(model, samples=4, temperature=temperature)
    assert len({len(one.tokens) for one in drawn}) > 3  # rows finished at many lengths, and were dropped
    prompts = [prompt for prompt in PROMPTS for _ in range(4)]
    scored = score_all(model, prompts, tokens(drawn), temperature=temperature)
    torch.testing.assert_close(torch.cat([one.logprobs for one in drawn]), scored.logprobs, atol=1e-5, rtol=0)


@SHAPES
def test_the_likeliest_tokens_are_those_of_a_loop_without_a_cache(chat, make):
    model = make(chat)
    for prompt, one in zip(PROMPTS, draw(model, temperature=0, stop_ids={2}), strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 20 and ids[-1] != 2:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        assert one.tokens == ids[len(prompt) :]


def test_a_sliding_window_is_kept_in_decoding(chat):
    torch.manual_seed(0)
    config = MistralConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=len(chat.tokenizer),
        sliding_window=4,
        initializer_range=0.1,
    )
    model = MistralForCausalLM(config).eval()
    drawn = draw(model, samples=2)
    scored = score_all(model, [prompt for prompt in PROMPTS for _ in range(2)], tokens(drawn))
    torch.testing.assert_close(torch.cat([one.logprobs for one in drawn]), scored.logprobs, atol=1e-5, rtol=0)


def test_the_same_seed_draws_the_same_text_and_another_seed_another(model):
    assert tokens(draw(model, samples=3)) == tokens(draw(model, samples=3))
    assert tokens(draw(model, samples=3)) != tokens(draw(model, samples=3, seed=1))


def test_neither_dropped_rows_nor_the_size_of_a_batch_change_what_is_drawn(model):
    together = draw(model, samples=4)
    apart = draw(model, samples=4, batch_size=1)
    assert tokens(together) == tokens(apart)
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one.logprobs, other.logprobs, atol=1e-5, rtol=0)
    full = draw(model, samples=4, stop_ids=())  # nobody finishes, so nobody is dropped
    assert {len(one.tokens) for one in full} == {20}
    for one, whole in zip(together, full, strict=True):
        assert one.tokens == whole.tokens[: len(one.tokens)]
        torch.testing.assert_close(one.logprobs, whole.logprobs[: len(one.tokens)], atol=1e-5, rtol=0)


def test_a_response_is_cut_after_its_first_stop_token(model):
    drawn = draw(model, samples=8, max_new_tokens=5)
    assert {one.ended for one in drawn} == {True, False}
    for one in drawn:
        assert len(one.tokens) == len(one.logprobs) <= 5
        assert not OFTEN.intersection(one.tokens[:-1])
        assert one.ended == (one.tokens[-1] in OFTEN)
        assert one.ended or len(one.tokens) == 5


def test_responses_stand_by_prompt_in_the_order_given(model):
    drawn = draw(model, samples=3, temperature=0)
    alone = [draw(model, [prompt], temperature=0)[0].tokens for prompt in PROMPTS]
    assert tokens(drawn) == [one for one in alone for _ in range(3)]


def chi_square(drawn, expected):
    """Pearson's statistic over the likelier tokens, the others together, and its degrees of freedom."""
    counts = torch.bincount(torch.tensor([one.tokens[0] for one in drawn]), minlength=len(expected)).double()
    expected = expected.double() * len(drawn)
    often = expected >= 5
    counts = torch.cat([counts[often], counts[~often].sum()[None]])
    expected = torch.cat([expected[often], expected[~often].sum()[None]])
    kept = expected > 0
    assert counts[~kept].sum() == 0
    return float(((counts - expected)[kept] ** 2 / expected[kept]).sum()), int(kept.sum()) - 1


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_first_tokens_follow_the_distribution_and_not_the_models_own_settings(chat, temperature, top_p):
    model = tiny_llama(chat)
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=2, temperature=0.1, repetition_penalty=3.0
    )
    prompt = PROMPTS[0]
    with torch.no_grad():
        expected = (model(torch.tensor([prompt])).logits[0, -1] / temperature).softmax(0)
    if top_p < 1:
        order = expected.argsort(descending=True)
        count = int((expected[order].cumsum(0) < top_p).sum()) + 1
        kept = torch.zeros_like(expected)
        kept[order[:count]] = expected[order[:count]]
        expected = kept / kept.sum()
    options = {"samples": 4000, "max_new_tokens": 1, "temperature": temperature, "top_p": top_p}
    found, freedom = chi_square(draw(model, [prompt], **options), expected)
    assert freedom > 20
    assert abs(found - freedom) < 4 * (2 * freedom) ** 0.5  # mean and variance of chi-square


def test_log_probabilities_are_of_the_whole_distribution_even_with_top_p(model):
    drawn = draw(model, samples=4, top_p=0.5)
    scored = score_all(model, [prompt for prompt in PROMPTS for _ in range(4)], tokens(drawn))
    torch.testing.assert_close(torch.cat([one.logprobs for one in drawn]), scored.logprobs, atol=1e-5, rtol=0)


def test_drawing_leaves_a_model_in_training_as_it_was(chat):
    model = tiny_llama(chat)
    model.activation_checkpointing_enable()
    expected = tokens(draw(model))
    model.train()
    assert tokens(draw(model)) == expected
    assert model.training


def test_products_may_be_bf16(model):
    with backbone.computing("cpu", "bfloat16"):
        drawn = draw(model, samples=2)
        scored = score_all(model, [prompt for prompt in PROMPTS for _ in range(2)], tokens(drawn))
    assert {one.logprobs.dtype for one in drawn} == {torch.float32}
    torch.testing.assert_close(torch.cat([one.logprobs for one in drawn]), scored.logprobs, atol=0.1, rtol=0)


def test_progress_counts_the_responses_that_are_done(model):
    seen = []
    draw(model, samples=2, batch_size=4, progress=seen.append)
    assert seen == [4, 8, 10]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_p": 0.0}, "top_p 0.0"),
        ({"samples": 0}, "samples is 0"),
        ({"max_new_tokens": 0}, "max_new_tokens 0"),
        ({"max_new_tokens": 510}, "a prompt of 8 tokens and 510 new ones are more than the 512"),
        ({"prompts": [[4], []]}, "every prompt must have tokens"),
    ],
)
def test_what_cannot_be_drawn_is_refused(model, options, problem):
    with pytest.raises(ValueError, match=problem):
        draw(model, **options)
