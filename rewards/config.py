"""What can be set for a reward model; pages import this too, so it takes the standard library alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Every setting of one reward-model run; it is saved beside the model."""

    model: Annotated[Path, "the policy to start from: a run directory or a model folder"]
    pairs: Annotated[Path, "preferences to learn from (pairs.jsonl)"]
    eval_pairs: Annotated[Path | None, "preferences to measure on; left out, held-out prompts"] = None
    samples: Annotated[Path | None, "run of policy.sample whose rewards get mean 0 and deviation 1"] = None
    train: Annotated[
        Literal["auto", "head", "lora", "full"],
        "head: a linear head on the frozen model; lora: adapters; full: all weights; auto: head below "
        "500 judgments, above it and full, and the better is kept",
    ] = "auto"
    members: Annotated[int, "heads fitted to bootstrapped judgments"] = 8
    pessimism: Annotated[float, "deviations of the members taken off their mean"] = 1.0
    penalty: Annotated[float, "ridge on the head's weights, features having deviation 1"] = 100.0
    ties: Annotated[Literal["davidson", "half"], "a width learned for ties, or half a win each"] = "davidson"
    lora_rank: Annotated[int, "columns of an adapter's matrices, lora only"] = 16
    gradient_checkpointing: Annotated[bool, "compute states anew in the backward pass: less memory"] = False
    centring: Annotated[float, "penalty on the square of a pair's mean reward, not head"] = 0.0
    epochs: Annotated[int | None, "passes over the pairs, not head; left out, 3 or 1 by size"] = None
    batch_size: Annotated[int, "prompts in a step, with all their pairs"] = 16
    learning_rate: Annotated[float | None, "peak, not head; left out, by the size of what is trained"] = None
    max_length: Annotated[int, "tokens of prompt and response; longer pairs are left out"] = 1024
    reference_samples: Annotated[int, "responses that set the mean and deviation of rewards"] = 256
    micro_batch_tokens: Annotated[int, "tokens computed at once"] = 8192
    checkpoint_every: Annotated[int, "steps between checkpoints, not head"] = 200
    precision: Annotated[Precision, "of the computation; weights stay float32"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"
    seed: Annotated[int, "draws splits, bootstraps and the order of prompts"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not 1 <= self.members <= 100:
            raise ValueError(f"members must be 1 to 100, not {self.members}")
        if self.pessimism < 0:
            raise ValueError(f"pessimism must be 0 or more, not {self.pessimism}")
        if self.penalty <= 0:
            raise ValueError(f"penalty must be above 0, not {self.penalty}")
        if self.centring < 0:
            raise ValueError(f"centring must be 0 or more, not {self.centring}")
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs must be 1 or more, not {self.epochs}")
        if self.learning_rate is not None and self.learning_rate <= 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.reference_samples < 2:
            raise ValueError(f"reference_samples must be 2 or more, not {self.reference_samples}")
        names = ("batch_size", "max_length", "micro_batch_tokens", "checkpoint_every", "lora_rank")
        _check_positive(self, *names)
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Measure a reward model on preferences that it has not seen."""

    reward_model: Annotated[Path, "a run directory of rewards.train or its model folder"]
    pairs: Annotated[Path, "preferences to measure on (pairs.jsonl)"]
    max_length: Annotated[int, "tokens of prompt and response; longer pairs are left out"] = 1024
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive(self, "max_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Write each response's reward beside it."""

    reward_model: Annotated[Path, "a run directory of rewards.train or its model folder"]
    responses: Annotated[Path, "what to score (responses.jsonl)"]
    output: Annotated[Path, "file to write: the same lines with their reward"]
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be 1 or more, not {getattr(config, name)}")
