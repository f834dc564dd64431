"""Train a reward model on raters' preferences.

    python -m rewards.train --model DIR --pairs F [--eval-pairs F] [--samples DIR] --output DIR

`head` fits a linear head to the frozen model's features within seconds; `full` fine-tunes all weights; `lora`
trains thin matrices beside frozen weights and merges them at the end. `auto` takes the head below 500
judgments, and above trains both and keeps the better on held-out prompts. torch is loaded only once the
command line has been read, so that `--help` and a refusal come at once.
"""

import logging
import sys
from collections.abc import Sequence

from lm.config import EX_CONFIG, ConfigError
from lm.records import RecordError
from lm.run_directory import StopSignal, command, numeric_failure
from rewards.config import RewardConfig

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out one run directory."""
    config, directory, _ = command(RewardConfig, argv)
    from rewards.training import train  # noqa: PLC0415, it loads torch

    stop = StopSignal()
    try:
        result = train(config, directory, lambda: stop.asked)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    except FloatingPointError as error:
        numeric_failure(str(error))
    directory.write_result(result)


if __name__ == "__main__":
    main()
