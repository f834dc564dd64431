import pytest
import torch

from lm import records
from lm.config import ConfigError
from lm.records import Conversation, Message
from policy import packing
from policy.row_training import RowSettings, RowTraining
from tests.torch_models import tiny_chat, tiny_llama

PROPERTIES = {"warm": 1.0, "length": 0.5}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def chat():
    return tiny_chat()


def conversation(*turns, properties=None):
    roles = ["user", "assistant"] * len(turns)
    messages = [Message(role="system", content="The lamp is red.")]
    messages += [Message(role=role, content=turn) for role, turn in zip(roles, turns, strict=False)]
    return Conversation(messages=tuple(messages), properties=properties)


LAMP = conversation("Is it warm?", "It is red.", "Price?", "Twenty pounds.", properties=(PROPERTIES, None))
SOUP = conversation("Is the soup warm?", "The soup is warm.", properties=(PROPERTIES,))


def batch_of(chat, *conversations, length=96, names=("warm", "length")):
    rows = list(packing.rows(conversations, chat, length=length))
    return rows, packing.batch(rows, length=length, pad=chat.pad_id, names=names)


def test_the_tokens_learned_are_exactly_those_of_the_responses(chat):
    _, batch = batch_of(chat, LAMP, SOUP)
    counted = batch.targets != packing.NOT_COUNTED

    expected = [
        token
        for text in ("It is red.", "Twenty pounds.", "The soup is warm.")
        for token in chat.response(text)
    ]
    assert batch.targets[counted].tolist() == expected
    assert batch.tokens.flatten()[batch.positions[counted] + 1].tolist() == expected
    assert (batch.count, batch.responses) == (len(expected), 3)


def test_a_row_is_what_the_chat_template_makes_of_the_conversation(chat):
    rows, _ = batch_of(chat, LAMP)
    messages = LAMP.messages

    assert rows[0].tokens == chat.prompt(messages[:-1]) + chat.response(messages[-1].content)


def test_known_properties_stand_at_the_ends_of_their_responses(chat):
    _, batch = batch_of(chat, LAMP, SOUP)
    known = batch.known > 0

    assert (batch.tokens.flatten()[batch.ends[known]] == chat.end_id).all()
    assert batch.properties[known].tolist() == [[1.0, 0.5], [1.0, 0.5]]


def test_a_row_ends_with_the_last_whole_response_that_fits(chat):
    whole = len(next(packing.rows([LAMP], chat, length=96)).tokens)
    (row,) = packing.rows([LAMP], chat, length=whole - 1)
    (none,) = packing.rows([LAMP], chat, length=10)

    assert row.tokens[-1] == chat.end_id
    assert len(row.responses) == 1
    assert row.responses[0].stop == len(row.tokens)
    assert none.responses == []
    assert len(none.tokens) == 10


def test_a_conversation_knows_nothing_of_the_one_in_the_next_row(chat):
    training = RowTraining(tiny_llama(chat), chat, None, settings())
    other = conversation("Price?", "It comes with a cable.")
    losses = []
    for neighbour in (SOUP, other):
        _, batch = batch_of(chat, LAMP, neighbour)
        states = training.model.base_model(input_ids=batch.tokens, use_cache=False).last_hidden_state
        losses.append(states[0])

    assert torch.equal(*losses)


def test_batches_of_usual_rows_have_one_shape(chat):
    shapes = {
        tuple(part.shape for part in (batch.tokens, batch.positions, batch.ends))
        for batch in (batch_of(chat, LAMP, SOUP)[1], batch_of(chat, SOUP, SOUP)[1])
    }

    assert len(shapes) == 1


def test_the_loss_is_the_mean_over_all_response_tokens_of_the_batch(chat):
    model = tiny_llama(chat)
    training = RowTraining(model, chat, None, settings())
    rows, batch = batch_of(chat, LAMP, SOUP)
    total = count = 0
    with torch.no_grad():
        for row in rows:
            scores = model(input_ids=torch.tensor([row.tokens])).logits[0].log_softmax(-1)
            for span in row.responses:
                for place in span:
                    total -= float(scores[place - 1, row.tokens[place]])
                    count += 1
        loss, _ = training.losses(batch)

    assert float(loss) == pytest.approx(total / count, abs=1e-5)


def test_a_marker_within_a_message_is_refused(chat):
    with pytest.raises(ConfigError, match="marker"):
        list(packing.rows([conversation("a<|end|>", "b")], chat, length=96))


def test_other_properties_than_the_read_outs_are_refused(chat):
    with pytest.raises(ConfigError, match="the read-outs have rude"):
        batch_of(chat, SOUP, names=("rude",))


def test_reading_may_begin_at_any_conversation(tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    records.write(corpus, [LAMP, SOUP, LAMP])

    assert list(packing.conversations(corpus, start=1)) == [SOUP, LAMP]
    assert packing.corpus_size(corpus) == 3
    assert packing.property_names(corpus) == ("warm", "length")


def settings(**changes):
    values = {
        "corpus": "none",
        "tokens": 96,
        "max_length": 96,
        "batch_size": 2,
        "matrix_rate": 0.02,
        "learning_rate": 3e-3,
        "weight_decay": 0.1,
        "warmup_steps": 0,
        "constant_share": 0.3,
        "final_rate_share": 0.02,
        "auxiliary_weight": 0.15,
        "checkpoint_every": 10,
        "report_every": 1,
    }
    return RowSettings(**(values | changes))
