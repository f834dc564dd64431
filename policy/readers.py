"""How a reward model reads what a policy drew: its tokens if they mean the same to both, else its words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from lm.config import ConfigError
from lm.records import Message
from lm.tokens import Chat
from rewards.reward_model import RewardModel


class WordReader:
    """A reward model with a tokenizer or a template of its own, to which a policy's draws are read as words.

    The reward is of the whole response, so the policy's last token has it, as ever.
    """

    frozen_trunk = False  # what the policy's trunk says of its own tokens is nothing to it

    def __init__(self, reward_model: RewardModel, chat: Chat, asked: Iterable[Sequence[Message]]) -> None:
        self.reward_model, self.chat = reward_model, chat
        self.trunk_digest = reward_model.trunk_digest
        self._asked = {tuple(chat.prompt(messages)): messages for messages in asked}

    @property
    def identity(self) -> Mapping[str, Any]:
        """Digest, gain and bias of the reward model."""
        return self.reward_model.identity

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Tensor:
        """The rewards (B,) of the words that these tokens of the policy say."""
        return self.reward_model.score_texts(
            [self._asked[tuple(prompt)] for prompt in prompts],
            [self.chat.text(response) for response in responses],
            ended=[bool(response) and response[-1] in self.chat.stop_ids for response in responses],
        )

    def score_features(self, features: Tensor) -> Tensor:
        """It has no features of the policy's trunk."""
        raise ConfigError(f"{self.reward_model.folder}: reads words, not the features of another model")


def reader(
    reward_model: RewardModel, chat: Chat, asked: Iterable[Sequence[Message]]
) -> RewardModel | WordReader:
    """What scores the draws of a policy with this chat, the prompts being among those asked."""
    return reward_model if reward_model.reads_tokens_of(chat) else WordReader(reward_model, chat, asked)
