"""What can be set for a reward model; pages import this too, so it takes the standard library alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
REWARD_MODEL = "a run directory of rewards.train, a model folder, or a classifier of one label"


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardConfig:
    """Every setting of one reward-model run; it is saved beside the model."""

    model: Annotated[Path, "the model to start from: a run directory, a model folder or a hub id"]
    pairs: Annotated[Path, "preferences to learn from (pairs.jsonl)"]
    eval_pairs: Annotated[Path | None, "preferences to measure on; left out, held-out prompts"] = None
    samples: Annotated[Path | None, "run of policy.sample whose rewards get mean 0 and deviation 1"] = None
    simulated: Annotated[bool, "learn from judgments of simulated raters, too"] = True
    train: Annotated[
        Literal["auto", "head", "lora", "full"],
        "head: a linear head on the frozen model; lora: adapters; full: all weights; auto: head below "
        "500 judgments, above it and full, and the better is kept",
    ] = "auto"
    members: Annotated[int, "heads fitted to bootstrapped judgments"] = 8
    pessimism: Annotated[float, "deviations of the members taken off their mean"] = 1.0
    penalty: Annotated[float, "ridge on the head's weights, features having deviation 1"] = 100.0
    ties: Annotated[
        Literal["davidson", "rao-kupper", "half"],
        "a width learned for ties, a threshold of noticing learned, or half a win each",
    ] = "davidson"
    raters: Annotated[bool, "fit each rater's care, pull to a side and lapses with the rewards"] = True
    style_terms: Annotated[bool, "fit what raters pay for length and Markdown, and leave it out"] = True
    groups: Annotated[bool, "a head for each large declared group of raters, head only"] = False
    pooling: Annotated[
        Literal["auto", "first", "mean"],
        "what is read of an encoder: the first token's state or the mean; auto: as its family does",
    ] = "auto"
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

    reward_model: Annotated[Path, REWARD_MODEL]
    pairs: Annotated[Path | None, "preferences to measure on (pairs.jsonl)"] = None
    bench: Annotated[Path | None, "RewardBench-like lines: prompt, chosen, rejected, subset"] = None
    policy_pairs: Annotated[Path | None, "preferences between the current policy's responses"] = None
    policy_samples: Annotated[Path | None, "the current policy's responses (responses.jsonl)"] = None
    base_samples: Annotated[Path | None, "the base's, to compare with; left out, those of the pairs"] = None
    probes: Annotated[int, "responses spoiled in each way, to see that the clean one is preferred"] = 100
    flattery: Annotated[str | None, "praise for the flattery probe; left out, in English"] = None
    kl_budget: Annotated[float | None, "how far the policy may go, in nats; beyond 4 gate G1 asks more"] = (
        None
    )
    max_length: Annotated[int, "tokens of prompt and response; longer pairs are left out"] = 1024
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"
    seed: Annotated[int, "draws probes, replicates and folds"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        _check_positive(self, "max_length")
        if self.pairs is None and self.bench is None:
            raise ValueError("pairs or bench must be given: there is nothing to measure on")
        for name in ("policy_pairs", "policy_samples", "base_samples"):
            if getattr(self, name) is not None and self.pairs is None:
                raise ValueError(f"{name} is compared with pairs, which must be given too")
        if self.base_samples is not None and self.policy_samples is None:
            raise ValueError("base_samples are for policy_samples, which must be given too")
        if self.flattery is not None and not self.flattery.strip():
            raise ValueError("flattery must not be blank")
        if self.kl_budget is not None and self.kl_budget <= 0:
            raise ValueError(f"kl_budget must be above 0, not {self.kl_budget}")
        if self.probes < 0:
            raise ValueError(f"probes must be 0 or more, not {self.probes}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Write each response's reward beside it."""

    reward_model: Annotated[Path, REWARD_MODEL]
    responses: Annotated[Path, "what to score (responses.jsonl)"]
    output: Annotated[Path, "file to write: the same lines with their reward"]
    batch_tokens: Annotated[
        int | None, "tokens computed at once, padding counted; left out, 2048 on the CPU and 16384 on a GPU"
    ] = None
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.batch_tokens is not None:
            _check_positive(self, "batch_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Write a reward model as a sequence classifier that transformers loads without us."""

    reward_model: Annotated[Path, REWARD_MODEL]
    output: Annotated[Path, "folder to write; it must be new or empty"]
    member: Annotated[
        str | None,
        "`mean` of the members, or one by its number from 1; needed where doubt is taken off their mean",
    ] = None

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.member is not None and self.member != "mean" and not self.member.isdecimal():
            raise ValueError(f"member must be mean or a number, not {self.member!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptConfig:
    """Make a reward model of ours from one that others made, its rewards normalised."""

    model: Annotated[Path, "a folder or hub id of a sequence classifier with one label"]
    samples: Annotated[Path, "responses of the reference, whose rewards get mean 0 and deviation 1"]
    output: Annotated[Path, "folder to write; it must be new or empty"]
    reference_samples: Annotated[int, "how many of the samples are used at most"] = 256
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"
    seed: Annotated[int, "draws which samples"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.reference_samples < 2:
            raise ValueError(f"reference_samples must be 2 or more, not {self.reference_samples}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcquireConfig:
    """Choose the pairs whose judgments would tell a reward model most."""

    reward_model: Annotated[Path, "a run directory of rewards.train or its model folder"]
    output: Annotated[Path, "file to write: comparisons to import (comparisons.jsonl)"]
    responses: Annotated[Path | None, "pool: all pairs of responses to one prompt (responses.jsonl)"] = None
    comparisons: Annotated[Path | None, "or pool: the pairs of a file (comparisons.jsonl)"] = None
    labels: Annotated[Path | None, "preferences judged so far (pairs.jsonl)"] = None
    count: Annotated[int, "pairs to choose"] = 100
    uniform_share: Annotated[float, "share drawn uniformly, to measure by"] = 0.2
    uniform_below: Annotated[int, "judgments below which all are drawn uniformly"] = 300
    per_prompt: Annotated[int, "pairs of one prompt that are chosen by what they tell, at most"] = 2
    strategy: Annotated[
        Literal["d-optimal", "bald"], "what telling means: log-determinant of the head's doubt, or entropy"
    ] = "d-optimal"
    temperature: Annotated[
        float | None, "draw instead, by exp(score / so many deviations of scores); left out, the best"
    ] = None
    penalty: Annotated[float, "prior on the head's weights, features having deviation 1"] = 100.0
    dimensions: Annotated[int, "directions of the features looked at, those that differ most"] = 128
    max_length: Annotated[int, "tokens of prompt and response; longer pairs are left out"] = 1024
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"
    seed: Annotated[int, "draws what is drawn"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if (self.responses is None) == (self.comparisons is None):
            raise ValueError("one of responses and comparisons must be given, not both")
        if not 0 <= self.uniform_share <= 1:
            raise ValueError(f"uniform_share must be 0 to 1, not {self.uniform_share}")
        if self.uniform_below < 0:
            raise ValueError(f"uniform_below must be 0 or more, not {self.uniform_below}")
        if self.temperature is not None and not 0.1 <= self.temperature <= 100:
            raise ValueError(f"temperature must be 0.1 to 100, not {self.temperature}")
        if self.penalty <= 0:
            raise ValueError(f"penalty must be above 0, not {self.penalty}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        _check_positive(self, "count", "per_prompt", "dimensions", "max_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreComparisonsConfig:
    """Score comparisons that wait by what their judgments would tell a reward model."""

    reward_model: Annotated[Path, "a run directory of rewards.train or its model folder"]
    comparisons: Annotated[Path, "comparisons that wait, with their ids (comparisons.jsonl)"]
    labels: Annotated[Path | None, "preferences judged so far (pairs.jsonl)"] = None
    count: Annotated[int, "scored one after the other, each given those before it; the rest given all"] = 500
    penalty: Annotated[float, "prior on the head's weights, features having deviation 1"] = 100.0
    dimensions: Annotated[int, "directions of the features looked at, those that differ most"] = 128
    max_length: Annotated[int, "tokens of prompt and response; longer ones get no score"] = 1024
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.penalty <= 0:
            raise ValueError(f"penalty must be above 0, not {self.penalty}")
        _check_positive(self, "count", "dimensions", "max_length")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorsConfig:
    """Compare what was chosen actively with what was drawn uniformly, by what a head learns from each."""

    reward_model: Annotated[Path, "whose features are used: a run directory or a model folder"]
    labels: Annotated[Path, "preferences judged so far, with their purpose (pairs.jsonl)"]
    penalty: Annotated[float, "ridge on the heads' weights, features having deviation 1"] = 100.0
    dimensions: Annotated[int, "directions of the features looked at, those that differ most"] = 128
    max_length: Annotated[int, "tokens of prompt and response; longer pairs are left out"] = 1024
    precision: Annotated[Precision, "of the computation"] = "float32"
    device: Annotated[Device, "where to compute"] = "auto"
    seed: Annotated[int, "draws the folds and which judgments count"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.penalty <= 0:
            raise ValueError(f"penalty must be above 0, not {self.penalty}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")
        _check_positive(self, "dimensions", "max_length")


def _check_positive(config: object, *names: str) -> None:
    for name in names:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be 1 or more, not {getattr(config, name)}")
