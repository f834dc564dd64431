"""Measure how good a set of judgments is: agreement, biases, time, and each rater's reliability.

    python -m annotate.measure --config DIR/config.json --output DIR

DIR/input/judged.jsonl holds the judgments; DIR/input/skips.json, if there, how often each rater skipped.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from annotate.judged import Judged
from annotate.measure_config import MeasureConfig
from annotate.quality.project import quality
from lm.config import EX_CONFIG, ConfigError
from lm.records import RecordError, read
from lm.run_directory import command

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out one run directory."""
    config, directory, _ = command(MeasureConfig, argv)
    directory.resume(0)
    began = time.monotonic()
    try:
        rows = list(read(directory.path / "input" / "judged.jsonl", Judged))
        skips = _skips(directory.path / "input" / "skips.json")
    except (RecordError, ConfigError, OSError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    directory.report(step=1, total=2, judgments=len(rows))
    result = quality(
        rows, skips=skips, people_only=config.people_only, resamples=config.resamples, seed=config.seed
    )
    seconds = round(time.monotonic() - began, 3)
    directory.report(step=2, total=2, seconds=seconds)
    directory.write_result({"seconds": seconds, "project": config.project, "batch": config.batch, **result})


def _skips(path: Path) -> dict[str, int]:
    """How many comparisons each rater skipped."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict) or any(type(count) is not int or count < 0 for count in found.values()):
        raise ConfigError(f"{path} must hold a number of skips for each rater")
    return found


if __name__ == "__main__":
    main()
