"""Train a small language model from scratch: its tokenizer first, then the model."""

import itertools
import logging
import sys
from collections.abc import Iterable, Sequence

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from lm import backbone
from lm.config import EX_CONFIG, ConfigError
from lm.records import RecordError
from lm.run_directory import RunDirectory, command
from lm.tokens import Chat
from policy import packing
from policy.auxiliary import Readouts
from policy.config import PretrainConfig
from policy.row_training import MODEL, RowSettings, RowTraining, load_model, save_model

logger = logging.getLogger(__name__)


def train_tokenizer(texts: Iterable[str], *, size: int, context: int) -> Chat:
    """A byte-level BPE with the markers of our chat template; knows every text, whatever its bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(packing.MARKERS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=packing.PAD,
        eos_token=packing.END,
        extra_special_tokens=[
            marker for marker in packing.MARKERS if marker not in (packing.PAD, packing.END)
        ],
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    whole.chat_template = packing.TEMPLATE
    return Chat(whole)


def new_model(config: PretrainConfig, chat: Chat) -> PreTrainedModel:
    """A Llama of the config's shape with random weights."""
    shape = LlamaConfig(
        vocab_size=len(chat.tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=chat.end_id,
        pad_token_id=chat.pad_id,
    )
    return LlamaForCausalLM(shape)


def pretrain(config: PretrainConfig, directory: RunDirectory) -> None:
    """Train from the last checkpoint, or from the start, and write model and result."""
    if config.threads:
        torch.set_num_threads(config.threads)
    settings = _settings(config, directory)
    settings.check_corpus()
    checkpoint = directory.latest_checkpoint()
    directory.resume(checkpoint.step if checkpoint else 0)
    torch.manual_seed(config.seed)
    if checkpoint:
        training = RowTraining(*load_model(checkpoint.path / MODEL), settings)
        training.restore(checkpoint.path)
    else:
        chat = _chat(config, directory)
        names = packing.property_names(settings.corpus) if config.auxiliary_weight else ()
        readouts = Readouts(names, config.hidden) if names else None
        training = RowTraining(new_model(config, chat), chat, readouts, settings)
    result = training.run(directory)
    save_model(training.model, training.chat, training.readouts, directory.path / MODEL)
    directory.write_result({**result, "vocabulary": len(training.chat.tokenizer)})


def _settings(config: PretrainConfig, directory: RunDirectory) -> RowSettings:
    return RowSettings(
        corpus=directory.find(config.corpus),
        tokens=config.tokens,
        max_length=config.max_length,
        batch_size=config.batch_size,
        matrix_rate=config.matrix_rate,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        warmup_steps=config.warmup_steps,
        constant_share=config.constant_share,
        final_rate_share=config.final_rate_share,
        auxiliary_weight=config.auxiliary_weight,
        checkpoint_every=config.checkpoint_every,
        report_every=config.report_every,
        compile=config.compile,
        device=backbone.pick_device(config.device),
    )


def _chat(config: PretrainConfig, directory: RunDirectory) -> Chat:
    if config.tokenizer:
        return Chat.load(directory.find(config.tokenizer))
    first = itertools.islice(packing.conversations(directory.find(config.corpus)), config.tokenizer_rows)
    texts = map(packing.rendered, first)
    return train_tokenizer(texts, size=config.vocabulary, context=config.context)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and train."""
    config, directory, _ = command(PretrainConfig, argv)
    try:
        pretrain(config, directory)
    except (ConfigError, RecordError, OSError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
