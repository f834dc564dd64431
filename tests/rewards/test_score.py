"""Scoring files of any size."""

import gc
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lm import records
from lm.records import Message, Response
from rewards import batches, score
from rewards.reward_model import RewardModel
from tests.policy.ppo_parts import save_reward_model
from tests.rewards.conftest import words
from tests.rewards.test_trunks import decoder
from tests.torch_models import tiny_llama

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reward_model(tiny, tmp_path_factory):
    return save_reward_model(tmp_path_factory.mktemp("reward") / "model", tiny)


def answers(count, seed=0):
    chance = random.Random(seed)
    for number in range(count):
        asked = (Message(role="user", content=f"{words(chance, 1, 12)}?"),)
        text = words(chance, 1, 30)
        yield Response(prompt_id=f"p{number}", messages=asked, response=text, policy="base")


def run(reward_model, source, target, *more):
    score.main(
        [
            *("--reward-model", str(reward_model), "--responses", str(source), "--output", str(target)),
            *("--device", "cpu", *map(str, more)),
        ]
    )
    return list(records.read(target, Response))


def test_a_file_in_windows_gets_the_rewards_of_each_row_alone_in_its_order(
    reward_model, tmp_path, monkeypatch
):
    given = list(answers(23))
    records.write(tmp_path / "in.jsonl", given)
    monkeypatch.setattr(score, "WINDOW", 5)
    found = run(reward_model, tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--batch-tokens", 200)
    assert [one.response for one in found] == [one.response for one in given]
    model = RewardModel.load(reward_model)
    alone = [float(model.score_texts([one.messages], [one.response])) for one in given]
    assert [one.reward for one in found] == pytest.approx(alone, abs=1e-5)
    monkeypatch.setattr(score, "WINDOW", 4096)
    monkeypatch.setattr(score, "WINDOW_TOKENS", 50)
    again = run(reward_model, tmp_path / "in.jsonl", tmp_path / "again.jsonl")
    assert [one.reward for one in again] == pytest.approx(alone, abs=1e-5)


def test_memory_does_not_grow_with_the_file(reward_model, tmp_path, monkeypatch):
    monkeypatch.setattr(score, "WINDOW", 32)
    monkeypatch.setattr(batches, "KNOWN", 8)
    model = RewardModel.load(reward_model)
    peaks = []

    def tidied(found):
        """json leaves rings behind, which would else wait for more of their kind."""
        for number, one in enumerate(found):
            if number % 32 == 0:
                gc.collect()
            yield one

    gc.freeze()  # what is there already need not be gone through again
    for count in (64, 64, 320):  # the first also pays for what is made once
        records.write(tmp_path / "in.jsonl", answers(count))
        tracemalloc.start()
        records.write(tmp_path / "out.jsonl", tidied(score.scored(tmp_path / "in.jsonl", model)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    gc.unfreeze()
    assert peaks[2] < 1.3 * peaks[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt_id": "p"', "line 4: no JSON"),
        (b'{"prompt_id": "p", "response": "a", "policy": "base"}', "whose line 4 has no messages"),
        (
            b'{"prompt_id": "p", "prompt": "Why?", "response": "%s", "policy": "base"}' % (b"lamp " * 600),
            "whose line 4 has",
        ),
    ],
)
def test_a_bad_line_is_named_and_what_was_there_before_stays(
    reward_model, tmp_path, line, message, caplog, monkeypatch
):
    monkeypatch.setattr(score, "WINDOW", 1)
    good = [one.to_line() for one in answers(2)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join([good[0], b"", good[1], line, good[0]]))
    (tmp_path / "out.jsonl").write_text("as before")
    with pytest.raises(SystemExit) as end:
        run(reward_model, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert end.value.code == 78
    assert message in caplog.text
    assert (tmp_path / "out.jsonl").read_text() == "as before"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_reward_that_is_no_number_names_its_line(tmp_path, caplog):
    folder = decoder(tmp_path / "model", tiny_llama)
    tensors = load_file(folder / "model.safetensors")
    tensors["score.weight"][0, 3] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    records.write(tmp_path / "in.jsonl", answers(2))
    with pytest.raises(SystemExit) as end:
        run(folder, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert end.value.code == 78
    assert "whose line 1 gets the reward nan" in caplog.text
    assert not (tmp_path / "out.jsonl").exists()


def test_a_model_of_the_hub_is_known_by_its_id(tmp_path):
    """From the cache, as there is no network here."""
    snapshot = tmp_path / "hub" / "models--some--one" / "snapshots" / ("a" * 40)
    decoder(snapshot, tiny_llama)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    given = list(answers(3))
    records.write(tmp_path / "in.jsonl", given)
    files = ("--responses", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"))
    done = subprocess.run(
        [sys.executable, "-m", "rewards.score", "--reward-model", "some/one", "--device", "cpu", *files],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [one.reward for one in records.read(tmp_path / "out.jsonl", Response)]
    expected = RewardModel.load(snapshot).score_texts(
        [one.messages for one in given], [one.response for one in given]
    )
    assert found == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_file_may_be_scored_onto_itself(reward_model, tmp_path):
    records.write(tmp_path / "in.jsonl", answers(3))
    found = run(reward_model, tmp_path / "in.jsonl", tmp_path / "in.jsonl")
    assert all(one.reward is not None for one in found)
    assert run(reward_model, tmp_path / "in.jsonl", tmp_path / "in.jsonl") == found
