"""PPO as a whole: the answers that can be known beforehand, the budget, and going on after a stop."""

import dataclasses
import itertools
import json

import pytest
import torch
from safetensors.torch import load_file

from lm.config import from_json, to_json
from lm.records import write
from lm.run_directory import EX_NUMERIC, RunDirectory
from policy import ppo
from policy.config import PpoConfig
from policy.ppo import Learner, Progress, backward, budget_is_spent, is_within, new_value_head
from policy.rollouts import Reference
from tests.policy.ppo_parts import (
    PROMPTS,
    Letters,
    TokenRewards,
    config,
    exchange_two_tokens,
    logits_after,
    models,
    rollouts_of,
    save_reward_model,
    train_in,
)
from tests.torch_models import save_tiny, tiny_llama

MODES = list(itertools.product(["group", "value"], ["loss", "reward"]))


def metrics(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in line.items() if not name.endswith("seconds") and name != "at"}
        for line in lines
    ]


# The closed form: with a KL penalty of weight b, the best policy is the reference times exp(reward / b).


@pytest.mark.parametrize(("baseline", "kl_in"), MODES)
def test_on_a_space_that_can_be_enumerated_ppo_finds_the_best_policy_there_is(tmp_path, baseline, kl_in):
    weight = 0.7
    settings = config(
        baseline=baseline,
        kl_in=kl_in,
        kl_coefficient=weight,
        scale_advantages=False,
        max_new_tokens=1,
        missing_end_penalty=0.0,
        iterations=40,
        prompts_per_iteration=1,
        samples_per_prompt=64,
        minibatch_size=32,
        learning_rate=5e-3,
        value_learning_rate=0.05,
        temperature_rate=0.0,
        ppo_epochs=2,
        checkpoint_every=100,
    )
    chat = Letters()
    policy, start = (tiny_llama(chat, hidden=16, layers=1) for _ in range(2))
    reference = Reference(start.requires_grad_(False), "digest")
    rewards = TokenRewards(16)
    directory = RunDirectory(tmp_path / "run")
    directory.begin(settings, resume=False)
    ppo.train(Learner(policy, settings), reference, rewards, PROMPTS[:1], chat, settings, directory)

    origin = logits_after(start, chat.prompt(())).log_softmax(-1)
    best = (origin + rewards.table / weight).log_softmax(-1)
    found = logits_after(policy, chat.prompt(())).log_softmax(-1)

    def objective(logprobs):
        return float((logprobs.exp() * (rewards.table - weight * (logprobs - origin))).sum())

    def kl(p, q):
        return float((p.exp() * (p - q)).sum())

    gained = (objective(found) - objective(origin)) / (objective(best) - objective(origin))
    assert kl(found, best) < 0.1 * kl(origin, best)
    assert gained > 0.9
    assert kl(found, origin) == pytest.approx(kl(best, origin), rel=0.25)


# Identities


@pytest.mark.parametrize(("baseline", "kl_in"), MODES)
def test_before_the_first_step_of_each_iteration_nothing_has_changed(tmp_path, baseline, kl_in):
    train_in(tmp_path / "run", config(baseline=baseline, kl_in=kl_in, iterations=3))
    lines = metrics(tmp_path / "run")
    assert len(lines) == 3
    for line in lines:
        assert line["first_approxkl"] < 1e-10
        assert line["approxkl"] > line["first_approxkl"]
    assert abs(lines[0]["kl"]) < 1e-3


@pytest.mark.parametrize(("baseline", "kl_in"), MODES)
def test_the_gradient_does_not_depend_on_how_many_rows_fit_into_a_forward(baseline, kl_in):
    _, _, reference = models()
    gradients = []
    for size in (64, 1, 5):
        settings = config(baseline=baseline, kl_in=kl_in, batch_size=size)
        head = new_value_head(models()[1]) if baseline == "value" else None
        policy, rollouts = rollouts_of(settings, policy_seed=1, value_head=head)
        assert len(set(map(len, rollouts.responses))) > 1
        learner = Learner(policy, settings)
        rollouts = rollouts.with_advantages(settings, 0.1)
        backward(learner, reference, rollouts, list(range(12)), settings)
        gradients.append(torch.cat([weight.grad.flatten() for weight in learner.parameters]))
    assert gradients[0].abs().max() > 0
    for other in gradients[1:]:
        assert torch.allclose(gradients[0], other, atol=1e-5 * gradients[0].abs().max().item())


def test_the_first_gradient_is_that_of_the_plain_policy_gradient():
    settings = config(kl_in="reward", kl_coefficient=0.0)
    _, _, reference = models()
    policy, rollouts = rollouts_of(settings)
    rollouts = rollouts.with_advantages(settings, 0.0)
    learner = Learner(policy, settings)
    backward(learner, reference, rollouts, list(range(12)), settings)
    found = [weight.grad.clone() for weight in policy.parameters()]
    policy.zero_grad()
    total, place = 0.0, 0
    for prompt, response in zip(rollouts.prompts, rollouts.responses, strict=True):
        logits = policy(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        taken = logits.log_softmax(-1)[range(len(response)), response]
        total = total - (taken * rollouts.advantages[place : place + len(response)]).sum()
        place += len(response)
    (total / place).backward()
    for weight, expected in zip(policy.parameters(), found, strict=True):
        assert torch.allclose(weight.grad, expected, atol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_policy_that_is_its_reference_has_an_exact_kl_of_0_in_the_loss(temperature):
    settings = config(temperature=temperature)
    _, _, reference = models()
    policy, rollouts = rollouts_of(settings)
    learner = Learner(policy, settings)
    terms = ppo.token_terms(learner, reference, rollouts.with_advantages(settings, 0.0), [3, 1], settings)
    assert terms["kl_loss"].abs().max() < 1e-6


def test_logits_in_chunks_give_the_same_loss_and_gradient(monkeypatch):
    settings = config()
    _, _, reference = models()
    gradients = []
    for size in (ppo.LOGITS_BYTES, 4 * 400 * 7):  # all tokens at once, and seven
        monkeypatch.setattr(ppo, "LOGITS_BYTES", size)
        policy, rollouts = rollouts_of(settings, policy_seed=1)
        learner = Learner(policy, settings)
        found = backward(learner, reference, rollouts.with_advantages(settings, 0.0), [0, 5, 2], settings)
        gradients.append((found, torch.cat([weight.grad.flatten() for weight in learner.parameters])))
    (one, whole), (two, chunked) = gradients
    assert one == pytest.approx(two, abs=1e-6)
    assert torch.allclose(whole, chunked, atol=1e-6)


def test_the_reference_never_changes(tmp_path):
    settings = config(iterations=2)
    chat, policy, reference = models()
    before = {name: weight.clone() for name, weight in reference.model.named_parameters()}
    directory = RunDirectory(tmp_path / "run")
    directory.begin(settings, resume=False)
    rewards = TokenRewards(len(chat.tokenizer))
    ppo.train(Learner(policy, settings), reference, rewards, PROMPTS, chat, settings, directory)
    for name, weight in reference.model.named_parameters():
        assert torch.equal(weight, before[name])
        assert not torch.equal(weight, dict(policy.named_parameters())[name])


# Going on after a stop


class Power(TokenRewards):
    """Goes off at the third iteration."""

    calls = 0

    def score(self, prompts, responses):
        self.calls += 1
        if self.calls == 3:
            raise KeyboardInterrupt
        return super().score(prompts, responses)


@pytest.mark.parametrize("baseline", ["group", "value"])
def test_two_iterations_and_two_more_after_a_kill_are_four_bit_for_bit(tmp_path, baseline):
    settings = config(baseline=baseline, kl_in="reward", kl_target=0.5, kl_budget=50.0)
    whole, _ = train_in(tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path / "parts", settings, rewards=Power(400))
    assert RunDirectory(tmp_path / "parts").checkpoint_steps() == [1, 2]
    parts, stopped = train_in(tmp_path / "parts", settings)
    assert stopped == "iterations"
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    assert whole.progress.kls == parts.progress.kls
    assert whole.progress.kl_weight == parts.progress.kl_weight != settings.kl_weight
    last = [RunDirectory(tmp_path / name).latest_checkpoint().path for name in ("whole", "parts")]
    files = sorted(path.name for path in last[0].glob("*.safetensors"))
    assert ("value_head.safetensors" in files) == (baseline == "value")
    for name in files:
        one, two = (load_file(folder / name) for folder in last)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    for name, weight in whole.within.items():
        assert torch.equal(weight, parts.within[name])


# The budget


def test_the_budget_is_the_mean_of_two_iterations_from_the_third_on():
    assert not budget_is_spent([1.0, 3.0], 2.0)
    assert budget_is_spent([1.0, 1.9, 2.2], 2.0)
    assert not budget_is_spent([3.0, 1.5, 2.4], 2.0)
    assert budget_is_spent([4.1], 2.0)
    assert not budget_is_spent([9.0, 9.0, 9.0], None)
    assert is_within([0.0, 1.0, 1.9], 2.0)
    assert not is_within([0.0, 1.0, 2.1], 2.0)
    assert not is_within([0.0, 2.5, 1.9], 2.0)
    assert not is_within([2.1], 2.0)


@pytest.mark.parametrize("baseline", ["group", "value"])
def test_a_run_ends_at_its_budget_with_the_last_policy_within_it(tmp_path, baseline):
    settings = config(
        baseline=baseline,
        kl_in="reward",
        kl_coefficient=0.0,
        iterations=40,
        kl_budget=0.3,
        learning_rate=3e-3,
    )
    learner, stopped = train_in(tmp_path / "run", settings)
    assert stopped == "budget"
    progress = learner.progress
    kept = int(progress.kept["iterations"])
    means = [sum(progress.kls[at - 1 : at + 1]) / 2 for at in range(1, len(progress.kls))]
    within = [at for at, mean in enumerate(means, 1) if max(mean, progress.kls[at]) <= 0.3]
    assert kept == within[-1]
    assert progress.kept["kl"] == progress.kls[kept]
    assert sum(progress.kls[-2:]) / 2 > 0.3
    last = dict(learner.policy.named_parameters())
    assert any(not torch.equal(last[name], weight) for name, weight in learner.within.items())
    chat, _, _ = models()
    ppo.save_result(learner, chat, RunDirectory(tmp_path / "run"), stopped)
    saved = ppo.backbone.load(tmp_path / "run")
    for name, weight in saved.named_parameters():
        assert torch.equal(weight, learner.within[name])
    result = RunDirectory(tmp_path / "run").result()
    assert result["stopped"] == "budget"
    assert result["kl"] == progress.kls[kept]


def test_a_start_beyond_the_budget_is_given_back_as_it_was(tmp_path):
    settings = config(kl_budget=0.1)
    chat, _, reference = models()
    policy = models(seed=1)[1]  # another model altogether
    before = ppo.weights_of(policy)
    learner = Learner(policy, settings)
    directory = RunDirectory(tmp_path / "run")
    directory.begin(settings, resume=False)
    rewards = TokenRewards(len(chat.tokenizer))
    assert ppo.train(learner, reference, rewards, PROMPTS, chat, settings, directory) == "budget"
    assert learner.progress.kept["iterations"] == 0
    assert learner.progress.kept["kl"] > 0.2
    assert all(torch.equal(weight, before[name]) for name, weight in learner.within.items())


# The rest


def test_the_reward_rises(tmp_path):
    settings = config(
        iterations=8,
        samples_per_prompt=16,
        minibatch_size=16,
        learning_rate=0.01,
        warm_up=1,
        kl_coefficient=0.0,
    )
    train_in(tmp_path / "run", settings)
    rewards = [line["reward"] for line in metrics(tmp_path / "run")]
    assert sum(rewards[-3:]) / 3 > rewards[0] + 0.2


def test_a_large_change_ends_the_epochs_of_an_iteration(tmp_path):
    train_in(tmp_path / "run", config(iterations=1, ppo_epochs=5, learning_rate=0.05, warm_up=1))
    (line,) = metrics(tmp_path / "run")
    assert line["approxkl"] > 0.03
    assert line["epochs"] < 5


def test_a_reward_that_is_no_number_ends_the_run(tmp_path):
    rewards = TokenRewards(400)
    rewards.table[:] = torch.nan
    with pytest.raises(SystemExit) as exit_:
        train_in(tmp_path / "run", config(), rewards=rewards)
    assert exit_.value.code == EX_NUMERIC


def test_every_prompt_is_drawn_once_before_any_is_drawn_again():
    settings = config(prompts_per_iteration=2)
    drawn = [prompt.prompt_id for turn in range(5) for prompt in ppo.drawn_prompts(PROMPTS, turn, settings)]
    assert set(drawn[:5]) == set(drawn[5:]) == {prompt.prompt_id for prompt in PROMPTS}
    assert drawn[:5] != drawn[5:]


def test_the_rates_go_by_the_models_size_and_the_value_head_has_one_of_its_own():
    assert ppo.learning_rate(1_000_000, config()) == 1.5e-4
    assert ppo.learning_rate(124_000_000, config()) == pytest.approx(1e-5, rel=0.1)
    assert ppo.learning_rate(1_000_000_000, config()) == pytest.approx(3e-6, rel=0.1)
    learner = Learner(models()[1], config(baseline="value"))
    assert [group["peak"] for group in learner.optimizer.param_groups] == [1e-3, 1e-2]
    assert learner.optimizer.defaults["eps"] == 1e-5


def test_the_learning_rate_rises_over_the_first_iterations(tmp_path):
    train_in(tmp_path / "run", config())
    rates = [line["learning_rate"] for line in metrics(tmp_path / "run")]
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 1e-3])


def test_twenty_rollouts_of_the_saved_policy_can_be_read(tmp_path):
    settings = config(iterations=1, prompts_per_iteration=5, samples_per_prompt=8)
    train_in(tmp_path / "run", settings)
    records = [json.loads(line) for line in (tmp_path / "run" / "samples.jsonl").read_text().splitlines()]
    assert len(records) == 20
    assert {record["prompt_id"] for record in records} == {prompt.prompt_id for prompt in PROMPTS}


def test_progress_is_all_that_a_checkpoint_holds_beside_tensors():
    progress = Progress(0.25)
    assert Progress(**json.loads(json.dumps(dataclasses.asdict(progress)))) == progress


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"baseline": "group", "samples_per_prompt": 1}, "samples_per_prompt is 1"),
        ({"temperature": 0.0}, "temperature must be above 0, not 0.0"),
        ({"kl_budget": 0.0}, "kl_budget must be above 0, not 0.0"),
        ({"kl_target": 0.0}, "kl_target must be above 0"),
        ({"kl_coefficient": -0.1}, "kl_coefficient must be 0 or more"),
        ({"iterations": 0}, "iterations must be 1 or more"),
        ({"ppo_epochs": 0}, "ppo_epochs must be 1 or more"),
        ({"smoothing": 1.5}, "smoothing must be 0 to 1"),
        ({"kl_target": 2.0, "kl_coefficient": 0.0}, "kl_target steers kl_coefficient"),
        ({"seed": -1}, "seed must be 0 to"),
    ],
)
def test_what_cannot_work_is_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        config(**changes)


def test_a_value_head_needs_no_second_sample_and_has_the_textbooks_defaults():
    settings = config(samples_per_prompt=1, minibatch_size=None, kl_in="reward")
    assert settings.baseline == "value"
    assert (settings.epochs, settings.responses_per_step, settings.kl_weight) == (2, 32, 0.05)
    group = config(minibatch_size=None)
    assert (group.epochs, group.responses_per_step, group.kl_weight) == (1, 64, 0.25)


def test_the_config_survives_json():
    settings = from_json(PpoConfig, to_json(config(kl_target=3.0)))
    assert from_json(PpoConfig, to_json(settings)) == settings


# The command


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny model, a reward model on it, and prompts."""
    folder = tmp_path_factory.mktemp("models")
    save_tiny(folder / "base")
    save_reward_model(folder / "reward", folder / "base")
    write(folder / "prompts.jsonl", PROMPTS)
    return folder


def command(place, output, *words: str) -> None:
    ppo.main(
        [
            *("--policy", str(place / "base"), "--reward-model", str(place / "reward")),
            *("--prompts", str(place / "prompts.jsonl"), "--output", str(output), "--device", "cpu"),
            *("--iterations", "2", "--prompts-per-iteration", "2", "--samples-per-prompt", "2"),
            *("--max-new-tokens", "8", *words),
        ]
    )


def test_the_command_leaves_a_policy_its_value_head_and_a_result(place, tmp_path):
    command(place, tmp_path / "run", "--baseline", "value")
    result = RunDirectory(tmp_path / "run").result()
    assert result["stopped"] == "iterations"
    assert result["iterations"] == 2
    assert result["episodes"] == 8
    assert len(result["kl_by_iteration"]) == 3  # the last is of the policy that was saved
    assert result["kl"] == result["kl_by_iteration"][-1]
    assert result["tokens_per_second"] > 0
    assert result["temperature_scale"] != 1
    trained, base = ppo.backbone.load(tmp_path / "run"), ppo.backbone.load(place / "base")
    assert not torch.equal(ppo.weights_of(trained)["model.norm.weight"], base.model.norm.weight)
    assert set(load_file(tmp_path / "run" / "value_head.safetensors")) == {"weight", "bias"}
    (lines,) = [metrics(tmp_path / "run")]
    expected = {"reward", "reward_sd", "kl", "kl_k3", "entropy", "approxkl", "clipfrac", "ended", "words"}
    expected |= {"value_loss", "explained_variance", "gradient_norm", "kl_coefficient", "distinct4"}
    assert expected <= set(lines[0])


def test_inputs_that_cannot_work_are_refused_in_one_line(place, tmp_path, caplog):
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(SystemExit) as exit_:
        command(place, tmp_path / "one", "--prompts", str(tmp_path / "none.jsonl"))
    assert exit_.value.code == 78
    assert "holds no prompt" in caplog.text
    save_tiny(tmp_path / "other")
    exchange_two_tokens(tmp_path / "other")
    with pytest.raises(SystemExit) as exit_:
        command(place, tmp_path / "two", "--reference", str(tmp_path / "other"))
    assert exit_.value.code == 78
    assert "whose tokens are not those of the policy" in caplog.text
