"""Language models small enough to train in a test, with a tokenizer made on the spot."""

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
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


def _new(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(backbone.without_dropout(config), dtype=torch.float32)
    return model.eval()


def tiny_qwen(chat: Chat, seed: int = 0) -> PreTrainedModel:
    """Fewer heads for keys than for queries, biases there, and norms of queries and keys."""
    config = Qwen3Config(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        initializer_range=0.1,
        **_vocabulary(chat),
    )
    return _new(config, seed)


def pair_tokenizer(family: str = "bert") -> PreTrainedTokenizerBase:
    """An encoder's: it puts marks around two texts, has no chat template and, like BERT's, no EOS."""
    marks = {"bert": ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "roberta": ["<s>", "<pad>", "</s>", "<unk>"]}[
        family
    ]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=family == "bert")
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if family == "bert":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(name, marks.index(name)) for name in ("[CLS]", "[SEP]")],
        )
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        inputs = ["input_ids", "token_type_ids", "attention_mask"]
    else:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        names = {
            "bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>",
            "pad_token": "<pad>", "unk_token": "<unk>",
        }  # fmt: skip
        inputs = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_input_names=inputs, clean_up_tokenization_spaces=False, **names
    )


def encoder_config(family: str, **changes: Any) -> PreTrainedConfig:
    """A tiny BERT, RoBERTa, DeBERTa (version 2 or 3), ELECTRA or DistilBERT, with dropout as it comes."""
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 130,
        "vocab_size": 350,
        "initializer_range": 0.2,
        "pad_token_id": 1 if family == "roberta" else 0,
    }
    more = {
        "bert": {},
        "roberta": {"type_vocab_size": 1},
        "deberta-v2": {
            "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
            "type_vocab_size": 0, "position_buckets": 8, "norm_rel_ebd": "layer_norm", "share_att_key": True,
        },
        "electra": {"embedding_size": 16},
        "distilbert": {},
    }[family]  # fmt: skip
    if family == "distilbert":
        sizes |= {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"):
            del sizes[name]
    return AutoConfig.for_model(family, **sizes | more | changes)


def save_classifier(
    folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, seed: int = 0
) -> Path:
    """A sequence classifier with a head that says something, as others save theirs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        for name, weight in model.named_parameters():
            if name.endswith("bias") and weight.ndim == 1:
                torch.nn.init.normal_(weight, std=0.1)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
