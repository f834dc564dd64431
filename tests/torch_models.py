"""Language models small enough to train in a test, with a tokenizer made on the spot."""

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from lm import backbone
from lm.tokens import Chat

SPECIAL = ["<|pad|>", "<|eod|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|> ' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SENTENCES = [
    "You are a helpful assistant who answers in one sentence.",
    "What is the price of the green lamp? It costs twenty pounds and comes with a cable.",
    "When does the train to the coast leave? It leaves at nine in the morning from the old station.",
    "Is the soup warm? The soup is warm, and the bread is fresh.",
    "Thank you for asking. I am happy to help, and I hope you enjoy the day.",
    "The lamp is red, the lamp is blue, and the lamp is made of wood.",
]


@cache
def tiny_tokenizer_json() -> str:
    """A byte-level BPE of at most 400 tokens, learned from a few sentences."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer.to_str()


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(tiny_tokenizer_json()),
        pad_token="<|pad|>",
        eos_token="<|end|>",
        extra_special_tokens=["<|eod|>", "<|system|>", "<|user|>", "<|assistant|>"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_chat() -> Chat:
    return Chat(tiny_tokenizer())


def tiny_llama(chat: Chat, seed: int = 0, hidden: int = 32, layers: int = 2) -> PreTrainedModel:
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.1,  # so that a new model isn't nearly uniform
        **_vocabulary(chat),
    )
    return _new(config, seed)


def tiny_gpt2(chat: Chat, seed: int = 0) -> PreTrainedModel:
    """Learned positions, biases and dropout (which loading takes out), unlike the Llama."""
    config = GPT2Config(
        n_embd=32, n_layer=2, n_head=2, n_positions=512, initializer_range=0.1, **_vocabulary(chat)
    )
    return _new(config, seed)


def save_tiny(folder: Path, seed: int = 0, hidden: int = 32, layers: int = 2) -> Path:
    """A tiny Llama and its tokenizer on disk, as any model folder."""
    chat = tiny_chat()
    backbone.save(tiny_llama(chat, seed, hidden, layers), chat, folder)
    return folder


def _vocabulary(chat: Chat) -> dict[str, int | None]:
    return {
        "vocab_size": len(chat.tokenizer),
        "pad_token_id": chat.pad_id,
        "eos_token_id": chat.end_id,
        "bos_token_id": None,
    }


def _new(config: LlamaConfig | GPT2Config, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(backbone.without_dropout(config), dtype=torch.float32)
    return model.eval()
