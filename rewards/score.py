"""Write each response's reward beside it.

    python -m rewards.score --reward-model DIR --responses F --output F

The file is read in windows, so that memory stays flat whatever its size; within a window rows about as long
are computed together. The output appears whole or not at all.
"""

import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lm import backbone, records
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import RecordError, Response
from rewards.batches import Rows, read_numbered
from rewards.config import ScoreConfig
from rewards.reward_model import RewardModel

logger = logging.getLogger(__name__)
WINDOW, WINDOW_TOKENS = 4096, 2**20  # responses and tokens that are held at once


def score(config: ScoreConfig) -> int:
    """Read, score and write; says how many."""
    device = backbone.pick_device(config.device)
    reward_model = RewardModel.load(config.reward_model, device=device)
    tokens = config.batch_tokens or (2048 if device == "cpu" else 16384)  # what fits a cache is faster
    with backbone.computing(device, config.precision):
        return records.write(config.output, scored(config.responses, reward_model, tokens))


def scored(path: Path, reward_model: RewardModel, batch_tokens: int = 16384) -> Iterator[Response]:
    """The responses of a file with their rewards, in their order."""
    rows = Rows(reward_model.chat, path, reward_model.trunk.longest_row())
    identity = reward_model.identity
    for window in _windows(path, rows):
        prompts, responses = [row.prompt for row in window], [row.response for row in window]
        rewards = reward_model.score(prompts, responses, batch_tokens=batch_tokens).tolist()
        for row, reward in zip(window, rewards, strict=True):
            if not math.isfinite(reward):
                raise ConfigError(
                    f"responses is {str(path)!r}, whose line {row.line} gets the reward {reward}"
                )
            yield replace(row.record, reward=reward, reward_model=identity)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    record: Response
    prompt: list[int]
    response: list[int]


def _windows(path: Path, rows: Rows) -> Iterator[list[_Row]]:
    window: list[_Row] = []
    tokens = count = 0
    for count, (line, record) in enumerate(read_numbered(path), start=1):  # noqa: B007 the last one is asked
        row = _Row(line, record, *rows.of(line, record))
        window.append(row)
        tokens += len(row.prompt) + len(row.response)
        if len(window) == WINDOW or tokens >= WINDOW_TOKENS:
            yield window
            window, tokens = [], 0
    if not count:
        raise ConfigError(f"responses is {str(path)!r}, which holds no response")
    if window:
        yield window


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
