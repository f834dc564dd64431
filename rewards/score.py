"""Write each response's reward beside it.

python -m rewards.score --reward-model DIR --responses F --output F
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

from lm import backbone, records
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import RecordError
from rewards.batches import longest_row, read_samples
from rewards.config import ScoreConfig
from rewards.reward_model import RewardModel

logger = logging.getLogger(__name__)


def score(config: ScoreConfig) -> int:
    """Read, score and write; says how many."""
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(config.reward_model, device=device)
    limit = longest_row(reward_model.model)
    found, prompts, responses = read_samples(config.responses, reward_model.chat, max_length=limit)
    with backbone.computing(device, config.precision):
        rewards = reward_model.score(prompts, responses).tolist()
    return records.write(
        config.output, (replace(record, reward=reward) for record, reward in zip(found, rewards, strict=True))
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Score one file."""
    config = parse(ScoreConfig, argv)
    try:
        count = score(config)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    print(f"{count} responses scored: {config.output}")


if __name__ == "__main__":
    main()
