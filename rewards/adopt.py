"""Make a reward model of ours from one that others made: its rewards get mean 0 and deviation 1.

    python -m rewards.adopt --model X --samples responses.jsonl --output DIR

A KL coefficient means something only in units of the reward, so PPO wants the rewards of every reward model
on the reference's own responses alike. Gain and bias are kept in the folder; the weights stay as they are.
"""

import logging
import random
import shutil
import sys
from collections.abc import Sequence

from lm import backbone
from lm.config import EX_CONFIG, ConfigError, parse
from lm.records import RecordError
from rewards.batches import read_samples
from rewards.config import AdoptConfig
from rewards.reward_model import RewardModel, identity_head

logger = logging.getLogger(__name__)


def adopt(config: AdoptConfig) -> RewardModel:
    """Score the samples, and save the model with the gain and bias that follow."""
    output = config.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"output is {str(output)!r}, which exists and isn't empty")
    device = backbone.pick_device(config.device)
    found = RewardModel.of_others(config.model, device=device)
    file = config.samples / "responses.jsonl" if config.samples.is_dir() else config.samples
    _, prompts, responses = read_samples(file, found.chat, max_length=found.trunk.longest_row())
    chance = random.Random(config.seed)  # noqa: S311 which samples, no secret
    count = min(config.reference_samples, len(prompts))
    places = sorted(chance.sample(range(len(prompts)), count))
    with backbone.computing(device, config.precision):
        scores = found.score([prompts[place] for place in places], [responses[place] for place in places])
    spread = float(scores.double().std(correction=0))
    if not spread > 0:
        raise ConfigError(f"samples is {str(file)!r}, whose {count} scores by {config.model} don't differ")
    gain = 1 / spread
    found.head = identity_head(gain, -gain * float(scores.double().mean())).to(device)
    found.logits_per_reward = spread  # a difference of its scores, not of ours, is a log-odds
    aside = output.with_name(f".tmp-{output.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        found.save(aside)
        if output.exists():
            output.rmdir()
        aside.rename(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    found.folder = output
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Adopt one model."""
    config = parse(AdoptConfig, argv)
    try:
        found = adopt(config)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    print(f"{config.output}: gain {found.head.gain:.6g}, bias {found.head.bias:.6g}")


if __name__ == "__main__":
    main()
