import pytest
import torch

from lm.config import ConfigError
from lm.records import RecordError, Response
from rewards.batches import micro_batches, read_pairs, response_ids, steps
from tests.rewards.conftest import pair, thanking_pairs
from tests.torch_models import tiny_chat


@pytest.fixture(scope="module")
def chat():
    return tiny_chat()


def ranking(number: int, size: int = 4, **more) -> list:
    """The pairs of one judgment of several responses, as we export them."""
    texts = [f"Answer {place} is red." for place in range(size)]
    about = {"judgment_id": f"j{number}", "size": size, "weight": 1 / (size - 1), **more}
    return [
        pair(number, better, worse, **about)
        for place, better in enumerate(texts)
        for worse in texts[place + 1 :]
    ]


def test_each_response_is_tokenised_once_and_a_pair_points_at_it(chat, pairs_file):
    """Checklist 4 and 38."""
    read = read_pairs(pairs_file(ranking(0)), chat, max_length=100)
    assert len(read.responses) == 4
    assert len(read) == 6
    assert read.responses[read.chosen[0]] == chat.response("Answer 0 is red.")
    assert all(response[-1] == chat.end_id for response in read.responses)  # checklist 6


def test_a_judgment_of_four_weighs_as_the_file_says_or_a_third_a_pair(chat, pairs_file):
    given = read_pairs(pairs_file(ranking(0)), chat, max_length=100)
    left_out = read_pairs(pairs_file(ranking(0, weight=1.0)), chat, max_length=100)
    assert torch.allclose(given.weight, torch.full((6,), 1 / 3, dtype=torch.float64))
    assert torch.allclose(left_out.weight, given.weight)
    assert given.judgments == 1


def test_over_long_pairs_are_left_out_whole_and_counted(chat, pairs_file):
    """Checklist 7."""
    long = pair(1, "red " * 50, "blue")
    read = read_pairs(pairs_file([pair(0), long]), chat, max_length=40)
    assert (len(read), read.dropped) == (1, 1)
    assert len(read.responses) == 2


def test_all_bad_is_a_tie_that_is_counted(chat, pairs_file):
    read = read_pairs(pairs_file([pair(0), pair(1, tie=True, all_bad=True)]), chat, max_length=100)
    assert read.counts() == {"pairs": 2, "judgments": 2, "prompts": 2, "ties": 1, "all_bad": 1, "dropped": 0}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "holds no pair"),
        ([pair(0, tie=True), pair(1, tie=True)], "2 pairs are all ties"),
        ([pair(0, weight=0.0)], "no pair of a weight above 0"),
        ([pair(0, "red " * 200)], "are all over 100 tokens"),
    ],
)
def test_pairs_that_teach_nothing_are_refused(chat, pairs_file, pairs, message):
    with pytest.raises(ConfigError, match=message):
        read_pairs(pairs_file(pairs), chat, max_length=100)


def test_a_bad_line_is_named(chat, tmp_path):
    file = tmp_path / "pairs.jsonl"
    file.write_bytes(pair(0).to_line() + b'\n{"prompt_id": "x"}\n')
    with pytest.raises(RecordError, match=r"line 2: .*is missing"):
        read_pairs(file, chat, max_length=100)


def test_a_missing_file_is_named(chat, tmp_path):
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        read_pairs(tmp_path / "none.jsonl", chat, max_length=100)


def test_a_prompt_is_in_one_fold_whatever_else_the_file_holds(chat, pairs_file):
    """Checklist 42."""
    few = read_pairs(pairs_file(ranking(3)), chat, max_length=100)
    many = read_pairs(pairs_file([*thanking_pairs(3), *ranking(3), *thanking_pairs(9)]), chat, max_length=100)
    assert len(few.folds(0).unique()) == 1
    same = [name == "p3" for name in many.prompt_ids].index(True)
    assert set(many.folds(0)[many.prompt == same].tolist()) == set(few.folds(0).tolist())


def test_a_step_holds_all_pairs_of_its_prompts_and_an_epoch_every_pair_once(chat, pairs_file):
    """Checklist 38."""
    read = read_pairs(pairs_file([*ranking(0), *ranking(1), *ranking(2), pair(3)]), chat, max_length=100)
    found = list(steps(read, 2, seed=0, epoch=0))
    assert [len(read.prompt[pairs].unique()) for pairs in found] == [2, 2]
    assert sorted(torch.cat(found).tolist()) == list(range(len(read)))
    again = list(steps(read, 2, seed=0, epoch=0))
    assert all(torch.equal(*both) for both in zip(found, again, strict=True))


def test_parts_of_a_step_keep_prompts_whole(chat, pairs_file):
    read = read_pairs(pairs_file([*ranking(0), *ranking(1), *ranking(2)]), chat, max_length=100)
    parts = list(micro_batches(read, torch.arange(18), tokens=1))
    assert [len(read.prompt[part].unique()) for part in parts] == [1, 1, 1]
    assert sorted(torch.cat(parts).tolist()) == list(range(18))
    assert len(list(micro_batches(read, torch.arange(18), tokens=10**6))) == 1


def test_drawn_tokens_are_used_and_a_text_that_was_cut_gets_no_end(chat):
    """Checklist 4 and 6."""
    record = {"prompt_id": "p", "response": "The lamp is red.", "policy": "base"}
    letters = [token for letter in record["response"] for token in chat.tokenizer(letter).input_ids]
    drawn = (*letters, chat.end_id)  # not how the text would be tokenised, but the same words
    assert len(drawn) > len(chat.response(record["response"]))
    assert response_ids(Response(**record, tokens=drawn), chat) == list(drawn)
    assert response_ids(Response(**record), chat)[-1] == chat.end_id
    assert response_ids(Response(**record, ended=False), chat)[-1] != chat.end_id


def test_tokens_of_another_tokenizer_give_way_to_the_words(chat):
    record = {"prompt_id": "p", "response": "The lamp is red.", "policy": "base"}
    for tokens in ((9, 8, 7), (10**6,)):
        assert response_ids(Response(**record, tokens=tokens), chat) == chat.response(record["response"])


def test_who_judged_what_and_how_is_kept_beside_each_pair(pairs_file, chat):
    found = read_pairs(
        pairs_file(
            [
                pair(
                    0, rater="r1", group="north", first="chosen", strength=2, since_break=4, comparison_id="c"
                ),
                pair(0, rater="r2", first="rejected", comparison_id="c"),
                pair(1, rater="r1", criterion="honest"),
            ]
        ),
        chat,
        max_length=100,
    )
    assert found.raters == ["r1", "r2"]
    assert found.rater.tolist() == [0, 1, 0]
    assert (found.groups, found.group.tolist()) == (["north"], [0, -1, -1])
    assert (found.criteria, found.criterion.tolist()) == (["honest"], [-1, -1, 0])
    assert found.side.tolist() == [1, -1, 0]
    assert found.strength.tolist() == [2, -1, -1]
    assert found.since_break.tolist() == [4, -1, -1]
    assert found.comparison[0] == found.comparison[1] != found.comparison[2]
    assert found.texts[found.chosen[0]] == "The lamp is red."
    assert found.asked[found.chosen[2]][0].content == "What is the price of lamp 1?"


def test_judgments_of_simulated_raters_are_left_out_where_people_alone_count(chat, pairs_file):
    pairs = [pair(number, judgment_id=str(number), simulated=number < 3) for number in range(5)]
    file = pairs_file(pairs)

    assert len(read_pairs(file, chat, max_length=100)) == 5
    assert len(read_pairs(file, chat, max_length=100, simulated=False)) == 2
    with pytest.raises(ConfigError, match="holds no pair of a weight above 0 by people"):
        read_pairs(pairs_file(pairs[:3]), chat, max_length=100, simulated=False)
