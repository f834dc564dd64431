"""Drawing responses as a command: what is written, in which order, and that a restart changes nothing."""

import pytest
import torch
from safetensors.torch import load_file

from lm import backbone
from lm.logprobs import score_all
from lm.records import Message, Prompt, Response, read, write
from lm.run_directory import RunDirectory
from lm.tokens import Chat
from policy import sample
from policy.config import SampleConfig
from rewards.features import extract
from rewards.reward_model import RewardModel
from tests.policy.ppo_parts import PROMPTS, exchange_two_tokens, save_reward_model
from tests.torch_models import save_tiny


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two tiny models, a reward model on the first, and prompts."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "base")
    save_tiny(folder / "tuned", seed=1)
    save_reward_model(folder / "reward", folder / "base")
    write(folder / "prompts.jsonl", PROMPTS)
    return folder


def draw(place, output, *words: str, policies=("base",)) -> list[Response]:
    sample.main(
        [
            *("--policies", *(str(place / name) for name in policies)),
            *("--prompts", str(place / "prompts.jsonl"), "--output", str(output)),
            *("--max-new-tokens", "12", "--device", "cpu", *words),
        ]
    )
    file = output if output.suffix == ".jsonl" else output / "responses.jsonl"
    return list(read(file, Response))


def test_responses_stand_by_prompt_then_policy_then_sample(place, tmp_path):
    words = ("--names", "a", "b", "--samples", "3")
    records = draw(place, tmp_path / "run", *words, policies=("base", "tuned"))
    order = [(record.prompt_id, record.policy) for record in records]
    assert order == [(prompt.prompt_id, name) for prompt in PROMPTS for name in "ab" for _ in range(3)]
    assert len({record.seed for record in records}) == len(records)
    assert records[0].messages == PROMPTS[0].messages
    assert records[0].settings == {"temperature": 1.0, "top_p": 1.0}
    result = RunDirectory(tmp_path / "run").result()
    assert result["responses"] == 30
    assert result["tokens"] == sum(len(record.tokens) for record in records)


def test_a_record_says_how_likely_its_policy_and_the_reference_found_the_words(place, tmp_path):
    words = ("--reference", str(place / "base"), "--temperature", "0.8")
    records = draw(place, tmp_path / "run", *words, policies=("tuned",))
    chat = Chat.load(place / "base")
    prompts = [chat.prompt(record.messages) for record in records]
    responses = [record.tokens for record in records]
    for name, field in (("tuned", "logprob"), ("base", "reference_logprob")):
        expected = score_all(backbone.load(place / name), prompts, responses, temperature=0.8).sums()
        assert [getattr(record, field) for record in records] == pytest.approx(expected.tolist(), abs=1e-4)
    kl = RunDirectory(tmp_path / "run").result()["kl"]
    assert kl == pytest.approx(
        sum(record.logprob - record.reference_logprob for record in records) / len(records)
    )
    assert [record.response for record in records] == [chat.text(tokens) for tokens in responses]


@pytest.mark.parametrize("policy", ["base", "tuned"])
def test_rewards_are_the_reward_models_whether_it_shares_the_policys_forward_or_not(place, tmp_path, policy):
    records = draw(place, tmp_path / "run", "--reward-model", str(place / "reward"), policies=(policy,))
    chat, model = Chat.load(place / "base"), RewardModel.load(place / "reward")
    expected = model.score(
        [chat.prompt(record.messages) for record in records], [record.tokens for record in records]
    )
    assert [record.reward for record in records] == pytest.approx(expected.tolist(), abs=1e-4)


def test_best_of_n_keeps_the_best_of_what_would_have_been_drawn(place, tmp_path):
    reward = ("--reward-model", str(place / "reward"))
    every = draw(place, tmp_path / "all", *reward, "--samples", "8")
    best = draw(place, tmp_path / "best", *reward, "--samples", "2", "--best-of", "4")
    assert len(best) == 2 * len(PROMPTS)
    for number, record in enumerate(best):
        assert record == max(every[4 * number : 4 * number + 4], key=lambda one: one.reward)
    result = RunDirectory(tmp_path / "best").result()
    assert result["drawn"] == 8 * len(PROMPTS)
    assert result["reward"] > RunDirectory(tmp_path / "all").result()["reward"]
    assert "kl" not in result


def test_features_stand_in_the_order_of_the_responses_with_the_trunk_they_are_of(place, tmp_path):
    records = draw(place, tmp_path / "run", "--features", "--samples", "2", "--temperature", "0.7")
    found = load_file(tmp_path / "run" / "features.safetensors")["features"]
    chat = Chat.load(place / "base")
    prompts = [chat.prompt(record.messages) for record in records]
    expected = extract(backbone.load(place / "base"), prompts, [record.tokens for record in records])
    assert torch.allclose(found, expected, atol=1e-4)
    assert found.dtype == torch.float32
    result = RunDirectory(tmp_path / "run").result()
    assert result["trunk"] == RewardModel.load(place / "reward").trunk_digest


def test_the_same_seed_draws_the_same_and_another_seed_something_else(place, tmp_path):
    one, two, other = (
        draw(place, tmp_path / name, "--seed", seed) for name, seed in (("1", "7"), ("2", "7"), ("3", "8"))
    )
    assert one == two
    assert [record.response for record in one] != [record.response for record in other]
    assert not {record.seed for record in one} & {record.seed for record in other}


def test_a_temperature_of_0_takes_the_likeliest_token(place, tmp_path):
    one, two = (
        draw(place, tmp_path / name, "--temperature", "0", "--seed", seed)
        for name, seed in (("1", "1"), ("2", "2"))
    )
    assert [record.response for record in one] == [record.response for record in two]


class StoppedError(Exception):
    pass


def test_a_killed_run_publishes_nothing_and_goes_on_to_the_same_responses(place, tmp_path, monkeypatch):
    words = ("--names", "a", "b", "--samples", "2", "--features")
    monkeypatch.setattr(sample, "PIECE", 4)  # two prompts at a time
    monkeypatch.setattr(sample, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    words = words[:-1]
    whole = draw(place, tmp_path / "whole", *words, policies=("base", "tuned"))
    times = []

    def report(self, **_):
        times.append(1)
        if len(times) == 5:  # in the second policy
            raise StoppedError

    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "report", report)
        with pytest.raises(StoppedError):
            draw(place, tmp_path / "parts", *words, policies=("base", "tuned"))
    assert not (tmp_path / "parts" / "responses.jsonl").exists()
    assert draw(place, tmp_path / "parts", *words, "--resume", policies=("base", "tuned")) == whole


def test_features_survive_a_restart_too(place, tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "PIECE", 2)
    monkeypatch.setattr(sample, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    draw(place, tmp_path / "run", "--features")
    whole = load_file(tmp_path / "run" / "features.safetensors")["features"]
    (tmp_path / "run" / "result.json").unlink()
    draw(place, tmp_path / "run", "--features", "--resume")
    assert torch.equal(load_file(tmp_path / "run" / "features.safetensors")["features"], whole)


def test_an_output_that_is_a_file_gets_the_responses_with_the_run_beside_it(place, tmp_path):
    records = draw(place, tmp_path / "drawn.jsonl")
    assert len(records) == len(PROMPTS)
    assert RunDirectory(tmp_path / "drawn.run").has_result()
    assert (tmp_path / "drawn.run" / "responses.jsonl").read_bytes() == (
        tmp_path / "drawn.jsonl"
    ).read_bytes()


def test_inputs_are_looked_up_in_the_run_directory_first(place, tmp_path):
    only = Prompt(prompt_id="only", messages=(Message(role="user", content="Is the soup warm?"),))
    (tmp_path / "run" / "input").mkdir(parents=True)
    write(tmp_path / "run" / "input" / "prompts.jsonl", [only])
    sample.main(
        [
            *("--policies", str(place / "base"), "--prompts", "input/prompts.jsonl"),
            *("--output", str(tmp_path / "run"), "--device", "cpu"),
        ]
    )
    (record,) = read(tmp_path / "run" / "responses.jsonl", Response)
    assert (record.prompt_id, record.policy) == ("only", "base")


def test_a_file_without_prompts_is_refused(place, tmp_path, caplog):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(SystemExit) as exit_:
        draw(place, tmp_path / "run", "--prompts", str(tmp_path / "none.jsonl"))
    assert exit_.value.code == 78
    assert "holds no prompt" in caplog.text


def test_a_reference_with_other_tokens_is_refused(place, tmp_path, caplog):
    save_tiny(tmp_path / "other")
    exchange_two_tokens(tmp_path / "other")
    with pytest.raises(SystemExit) as exit_:
        draw(place, tmp_path / "run", "--reference", str(tmp_path / "other"))
    assert exit_.value.code == 78
    assert "whose tokens are not those of the policy" in caplog.text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"policies": ()}, "policies must name at least one"),
        ({"best_of": 4}, "best_of is 4, which needs a reward_model"),
        ({"names": ("a", "b")}, "names has 2 names for 1 policies"),
        ({"policies": ("x/model", "y/model")}, "names must tell the policies apart"),
        ({"policies": ("a", "b"), "features": True}, "features are of one policy, not of 2"),
        ({"temperature": -1.0}, "temperature must be 0 or more"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"samples": 0}, "samples must be 1 or more"),
    ],
)
def test_what_cannot_work_is_refused(changes, named):
    from lm.config import ConfigError, from_json

    values = {"policies": ["base"], "prompts": "prompts.jsonl"} | {
        name: list(value) if isinstance(value, tuple) else value for name, value in changes.items()
    }
    with pytest.raises(ConfigError, match=named):
        from_json(SampleConfig, values)
