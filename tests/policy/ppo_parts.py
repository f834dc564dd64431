"""Small real parts for the tests of rollouts and PPO, and rewards that are known exactly."""

import json
from pathlib import Path

import torch

from lm import backbone
from lm.logprobs import score_all
from lm.records import Message, Prompt
from lm.run_directory import RunDirectory
from policy.config import PpoConfig
from policy.ppo import Learner, train
from policy.rollouts import Reference, collect
from rewards.features import features
from rewards.head import Head
from rewards.reward_model import RewardModel
from tests.torch_models import tiny_chat, tiny_llama

torch.set_num_threads(1)  # the tests run side by side

QUESTIONS = [
    "Is the soup warm?",
    "When does the train leave?",
    "What is the price of the green lamp, and does it come with a cable?",
    "Thank you.",
    "Is the lamp red?",
]
PROMPTS = [
    Prompt(prompt_id=f"p{number}", messages=(Message(role="user", content=text),))
    for number, text in enumerate(QUESTIONS)
]


class Letters:
    """A chat of sixteen tokens, so that all responses of one token can be looked at."""

    tokenizer = range(16)
    pad_id = end_id = 0
    stop_ids: frozenset[int] = frozenset()

    def prompt(self, messages):
        return [3, 1, 2]

    def text(self, ids):
        return " ".join(map(str, ids))


class TokenRewards:
    """Each token has a reward; a response has the mean of its tokens'."""

    trunk_digest = "none"
    frozen_trunk = False
    identity = {"digest": "none", "gain": 1.0, "bias": 0.0}

    def __init__(self, size: int, *, seed: int = 0, spread: float = 1.0):
        self.table = spread * torch.randn(size, generator=torch.Generator().manual_seed(seed))

    def score(self, prompts, responses):
        return torch.stack([self.table[torch.tensor(response)].mean() for response in responses])

    def score_features(self, features):
        raise AssertionError("has no trunk")


class TrunkRewards:
    """A linear head on the features of a frozen trunk, which it can also compute itself."""

    frozen_trunk = True

    def __init__(self, trunk, digest: str):
        self.trunk, self.trunk_digest = trunk, digest
        self.forwards = 0

    def score(self, prompts, responses):
        self.forwards += 1
        return self.score_features(features(score_all(self.trunk, prompts, responses)))

    def score_features(self, features):
        weights = torch.randn(features.shape[1], generator=torch.Generator().manual_seed(3))
        return features @ weights


def config(**changes) -> PpoConfig:
    settings = {
        "policy": Path("policy"),
        "reward_model": Path("reward"),
        "prompts": Path("prompts.jsonl"),
        "iterations": 4,
        "prompts_per_iteration": 3,
        "samples_per_prompt": 4,
        "max_new_tokens": 12,
        "minibatch_size": 4,
        "learning_rate": 1e-3,
        "kl_budget": None,
    }
    return PpoConfig(**settings | changes)


def models(seed: int = 0):
    """A policy and the reference it started from."""
    chat = tiny_chat()
    chat.stop_ids |= frozenset(
        range(340, 400)
    )  # so that responses of an untrained model end, and differ in length
    policy, origin = tiny_llama(chat, seed), tiny_llama(chat, seed).requires_grad_(False)
    return chat, policy, Reference(origin, "digest")


def rollouts_of(settings: PpoConfig, *, rewards=None, value_head=None, seed: int = 0, policy_seed: int = 0):
    chat, _, reference = models()
    policy = tiny_llama(chat, policy_seed)
    rewards = rewards or TokenRewards(len(chat.tokenizer))
    generator = torch.Generator().manual_seed(seed)
    return policy, collect(
        policy, reference, rewards, PROMPTS[:3], chat, settings, generator=generator, value_head=value_head
    )


def train_in(folder, settings: PpoConfig, rewards=None, learner=None):
    """Train in a run directory, new or not; gives the learner and why it stopped."""
    chat, policy, reference = models()
    learner = learner or Learner(policy, settings)
    directory = RunDirectory(folder)
    directory.begin(settings, resume=True)
    rewards = rewards or TokenRewards(len(chat.tokenizer))
    stopped = train(learner, reference, rewards, PROMPTS, chat, settings, directory)
    return learner, stopped


def logits_after(model, ids: list[int]) -> torch.Tensor:
    """The logits of the next token, by a plain forward of these tokens alone."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].float()


def save_reward_model(folder, trunk, *, seed: int = 0):
    """A real reward model with two random members on the frozen trunk in a folder."""
    width = backbone.load(trunk).config.hidden_size + 4
    generator = torch.Generator().manual_seed(seed)
    head = Head.normalised(
        torch.zeros(width),
        torch.ones(width),
        torch.randn(2, width, generator=generator),
        reference=torch.randn(64, width, generator=generator),
        pessimism=1.0,
    )
    RewardModel(head, folder=trunk, trunk_digest=backbone.digest(trunk), frozen_trunk=True).save(folder)
    return folder


def exchange_two_tokens(folder) -> None:
    """Make a model's tokenizer another one."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    one, two = list(vocabulary)[20:22]
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    file.write_text(json.dumps(tokenizer))
