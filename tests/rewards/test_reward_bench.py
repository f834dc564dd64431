"""Files like RewardBench's: what is read, what is refused, and what counts as right."""

import json

import pytest
import torch

from lm.config import ConfigError
from lm.records import Message
from rewards import reward_bench
from tests.torch_models import tiny_chat


@pytest.fixture
def bench(tmp_path):
    def write(*lines):
        path = tmp_path / "bench.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return path

    return write


def line(chosen="Yes.", rejected="No.", subset="chat", **more):
    return {"prompt": "Is it?", "chosen": chosen, "rejected": rejected, "subset": subset, **more}


def by_length(prompts, rows):
    return torch.tensor([float(len(row)) for row in rows])


def scored(path, max_length=100):
    found = reward_bench.score(reward_bench.read(path), tiny_chat(), by_length, max_length=max_length)
    return found["mean"], {row["name"]: row for row in found["subsets"]}


def test_prompts_and_responses_may_be_texts_or_messages(bench):
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"}]
    talk = [*turns, {"role": "assistant", "content": "Yes."}]
    path = bench(
        line(id=7, chosen_model="x"), {**line(chosen=talk), "prompt": turns}, "", line(chosen=["Yes."])
    )
    first, second, third = reward_bench.read(path)
    assert first.asked == (Message(role="user", content="Is it?"),)
    assert second.asked[0] == Message(role="system", content="Be brief.")
    assert first.responses == second.responses == third.responses == ("Yes.", "No.")


def test_each_subset_has_its_share_and_the_mean_is_that_of_the_subsets(bench):
    longer, shorter = line("A long one, yes.", "No."), line("No.", "A long one, yes.")
    mean, subsets = scored(bench(longer, longer, longer, shorter, {**longer, "subset": "safety"}))
    assert subsets["chat"]["score"] == 0.75
    assert subsets["safety"]["score"] == 1
    assert mean == 0.875
    assert subsets["chat"]["low"] < 0.75 < subsets["chat"]["high"]


@pytest.mark.parametrize(
    ("rewards", "share"),
    [
        ([1.0, 0.0], 1.0),
        ([0.0, 0.0], 0.5),
        ([0.0, 1.0], 0.0),
        ([2.0, 0.0, 1.0, -1.0], 1.0),
        ([2.0, 0.0, 2.0, -1.0], 0.0),
        ([2.0, 3.0, 1.0, -1.0], 0.0),
    ],
)
def test_the_chosen_must_beat_all_and_equals_count_half_where_there_is_one(rewards, share):
    assert reward_bench.right(torch.tensor(rewards)) == share


def test_the_best_of_four_is_right_only_above_all_three(bench):
    mean, _ = scored(bench(line("middling one", ["No.", "Yes.", "by far the longest of them all"])))
    assert mean == 0


def test_what_is_too_long_or_has_several_right_answers_is_left_out_and_counted(bench):
    lengthy = line("word " * 200, "No.", subset="long")
    mean, subsets = scored(
        bench(lengthy, line(["Yes.", "Sure."], ["No."], subset="Ties"), line("Yes it is."))
    )
    assert (subsets["long"]["too_long"], subsets["long"]["score"]) == (1, None)
    assert (subsets["Ties"]["several_right"], subsets["Ties"]["score"]) == (1, None)
    assert mean == subsets["chat"]["score"] == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "line 2: "),
        ("[1]", "line 2: is no JSON object"),
        (line(chosen=3), "line 2: chosen must be a text or a list of texts, not 3"),
        (line(rejected=[]), "line 2: rejected must be a text or a list of texts, not []"),
        (line(subset=None), "line 2: subset must be a text, not None"),
        ({**line(), "prompt": 5}, "line 2: prompt must be a text or a list of messages, not 5"),
        ({**line(), "prompt": [{"role": "judge", "content": "x"}]}, "line 2: prompt holds {'role': 'judge'"),
    ],
)
def test_a_bad_line_is_named(bench, bad, said):
    with pytest.raises(ConfigError, match="bench is ") as error:
        reward_bench.read(bench(line(), bad))
    assert said in str(error.value)


def test_a_file_that_is_not_there_or_empty_is_refused(bench, tmp_path):
    with pytest.raises(ConfigError, match="can't be read: No such file"):
        reward_bench.read(tmp_path / "none.jsonl")
    with pytest.raises(ConfigError, match="holds no line"):
        reward_bench.read(bench(""))
