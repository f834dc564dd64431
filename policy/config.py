"""What can be set on the runs that train and sample policies; pages import this, so no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """Train a small language model from scratch on a corpus of conversations."""

    corpus: Annotated[Path, "conversations with the properties of their responses, a line each"]
    tokens: Annotated[int, "how many to process, padding counted"] = 15_000_000
    tokenizer: Annotated[Path | None, "a folder with one; left out, it is trained first"] = None
    tokenizer_rows: Annotated[int, "conversations the tokenizer is trained on"] = 8_000
    vocabulary: Annotated[int, "entries of the tokenizer"] = 2_048
    hidden: Annotated[int, "width of the model"] = 128
    layers: Annotated[int, "depth of the model"] = 4
    heads: Annotated[int, "attention heads of a layer"] = 4
    feed_forward: Annotated[int, "inner width of a layer's feed-forward half"] = 352
    context: Annotated[int, "longest sequence the model will be used with"] = 512
    max_length: Annotated[int, "tokens a row; a conversation is cut after its last response that fits"] = 192
    batch_size: Annotated[int, "rows a step, one conversation each"] = 16
    matrix_rate: Annotated[float, "Muon's peak rate, for the matrices of the layers"] = 0.02
    learning_rate: Annotated[float, "AdamW's peak rate, for embeddings, norms and read-outs"] = 3e-3
    weight_decay: Annotated[float, "of the matrices"] = 0.1
    warmup_steps: Annotated[int, "steps until the rates are at their peak"] = 60
    constant_share: Annotated[float, "of the run, at the peak rates"] = 0.3
    final_rate_share: Annotated[float, "of the peak rates, at the end"] = 0.02
    auxiliary_weight: Annotated[float, "of the loss on the responses' properties"] = 0.15
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 250
    report_every: Annotated[int, "steps between two lines of metrics"] = 10
    compile: Annotated[bool, "compile the model: half a minute first, then faster"] = False
    threads: Annotated[int, "of the processor; 0 leaves them as they are"] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], "where to compute"] = "auto"
    seed: Annotated[int, "draws the first weights"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in (
            *("tokens", "tokenizer_rows", "hidden", "layers", "heads", "feed_forward", "context"),
            *("max_length", "batch_size", "checkpoint_every", "report_every"),
        ):
            _at_least(self, name, 1)
        for name in ("matrix_rate", "learning_rate", "weight_decay", "warmup_steps"):
            _at_least(self, name, 0)
        for name in ("auxiliary_weight", "threads", "seed"):
            _at_least(self, name, 0)
        for name in ("constant_share", "final_rate_share"):
            _share(self, name)
        if self.vocabulary < 262:
            raise ValueError(f"vocabulary must be at least 262 (bytes and markers), not {self.vocabulary}")
        if self.hidden % (2 * self.heads):
            step = 2 * self.heads
            raise ValueError(f"hidden must be a multiple of twice heads ({step}), not {self.hidden}")
        if self.max_length > self.context:
            raise ValueError(f"max_length must be at most context ({self.context}), not {self.max_length}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SftConfig:
    """Fine-tune a model: on demonstrations, on the best of its own samples, or on rows of conversations.

    What is left out (None) goes by the source, or by the model's size.
    """

    model: Annotated[Path, "the model to start from: a model folder or a run directory"]
    demonstrations: Annotated[Path | None, "demonstrations.jsonl, to imitate"] = None
    samples: Annotated[Path | None, "a run directory of policy.sample, to imitate the best of"] = None
    rows: Annotated[Path | None, "a corpus of conversations, as for policy.pretrain"] = None
    reward_model: Annotated[Path | None, "a run directory of rewards.train, to choose samples by"] = None
    best_of: Annotated[int, "samples of a prompt that the best is chosen from"] = 8
    max_prompts: Annotated[int | None, "prompts of the samples to use; left out, all"] = None
    missing_end_penalty: Annotated[float, "for a sample without an end, in units of the reward"] = 2.0
    epochs: Annotated[int, "passes over demonstrations or chosen samples"] = 2
    tokens: Annotated[int, "of rows to process, padding counted"] = 400_000
    batch_size: Annotated[int | None, "sequences a step; left out, 32, or 16 rows"] = None
    micro_batch: Annotated[int | None, "sequences in memory at once; the step is the same"] = None
    max_length: Annotated[
        int | None, "tokens; longer sequences are left out, rows are cut (left out: the context, or 128)"
    ] = None
    learning_rate: Annotated[float | None, "AdamW's peak rate; left out, by the model's size"] = None
    temperature_rate: Annotated[float, "of the learned temperature; 0 learns none; not for rows"] = 0.012
    matrix_rate: Annotated[float, "Muon's peak rate; rows only"] = 0.007
    weight_decay: Annotated[float, "of the matrices; rows only"] = 0.1
    auxiliary_weight: Annotated[float, "of the loss on the responses' properties; rows only"] = 0.5
    warmup_steps: Annotated[int, "steps until the rates are at their peak"] = 5
    final_rate_share: Annotated[float | None, "of the peak rates, at the end; left out, .05, rows .02"] = None
    gradient_norm: Annotated[float, "longer gradients are cut to this"] = 1.0
    checkpoint_every: Annotated[int, "steps between checkpoints"] = 50
    report_every: Annotated[int, "steps between two lines of metrics"] = 5
    compile: Annotated[bool, "compile the model; rows only"] = False
    precision: Annotated[
        Literal["float32", "bfloat16"], "to compute in; weights stay float32; not for rows"
    ] = "float32"
    threads: Annotated[int, "of the processor; 0 leaves them as they are"] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], "where to compute"] = "auto"
    seed: Annotated[int, "orders the sequences"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        sources = ("demonstrations", "samples", "rows")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) or "none"
            raise ValueError(f"exactly one of {', '.join(sources)} must be given, not {what}")
        if (self.samples is None) != (self.reward_model is None):
            raise ValueError(
                f"samples is {_shown(self.samples)} and reward_model {_shown(self.reward_model)}; "
                "the one needs the other"
            )
        for name in (
            *("best_of", "max_prompts", "epochs", "tokens", "batch_size", "micro_batch", "max_length"),
            *("checkpoint_every", "report_every"),
        ):
            if getattr(self, name) is not None:
                _at_least(self, name, 1)
        for name in (
            *("missing_end_penalty", "temperature_rate", "matrix_rate", "weight_decay", "auxiliary_weight"),
            *("warmup_steps", "threads"),
        ):
            _at_least(self, name, 0)
        for name in ("learning_rate", "gradient_norm"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.final_rate_share is not None:
            _share(self, "final_rate_share")
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """Draw responses to prompts from one or several policies."""

    policies: Annotated[tuple[Path, ...], "model folders or run directories"]
    names: Annotated[tuple[str, ...], "what the records call the policies; left out, their folders"] = ()
    prompts: Annotated[Path, "prompts.jsonl"]
    samples: Annotated[int, "responses kept for each prompt and policy"] = 1
    best_of: Annotated[int, "draw so many for each response and keep the best by the reward model"] = 0
    reward_model: Annotated[Path | None, "writes each response's reward"] = None
    reference: Annotated[Path | None, "a model that also gives each response's log-probability"] = None
    features: Annotated[bool, "also write what a reward head reads from each response"] = False
    temperature: Annotated[float, "1 samples the policy itself, 0 takes the likeliest token"] = 1.0
    top_p: Annotated[float, "draw only from the likeliest tokens with this much probability"] = 1.0
    max_new_tokens: Annotated[int, "a response is cut off after so many tokens"] = 60
    batch_size: Annotated[int, "responses drawn at once"] = 256
    precision: Annotated[Literal["float32", "bfloat16"], "to compute in; weights stay float32"] = "float32"
    threads: Annotated[int, "of the processor; 0 leaves them as they are"] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], "where to compute"] = "auto"
    seed: Annotated[int, "draws the responses"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not self.policies:
            raise ValueError("policies must name at least one policy")
        if self.names and len(self.names) != len(self.policies):
            raise ValueError(f"names has {len(self.names)} names for {len(self.policies)} policies")
        called = self.names or tuple(path.name for path in self.policies)
        if len(set(called)) < len(called) or not all(name.strip() for name in called):
            raise ValueError(f"names must tell the policies apart, not be {', '.join(map(repr, called))}")
        if self.best_of < 0:
            raise ValueError(f"best_of must be 0 or more, not {self.best_of}")
        if self.best_of > 1 and self.reward_model is None:
            raise ValueError(f"best_of is {self.best_of}, which needs a reward_model to choose by")
        if self.features and len(self.policies) > 1:
            raise ValueError(f"features are of one policy, not of {len(self.policies)}")
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        for name in ("samples", "max_new_tokens", "batch_size"):
            _at_least(self, name, 1)
        _at_least(self, "threads", 0)
        _check_seed(self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class PpoConfig:
    """Train a policy against a reward model by PPO, within a KL budget.

    The baseline `group` compares the responses to one prompt with each other; `value` learns a value head.
    What is left out (None) goes by the baseline, or by the model's size.
    """

    policy: Annotated[Path, "the policy to start from: a model folder or a run directory"]
    reward_model: Annotated[Path, "a run directory of rewards.train"]
    prompts: Annotated[Path, "prompts.jsonl"]
    reference: Annotated[Path | None, "what the KL is measured from; left out, the policy itself"] = None
    baseline: Annotated[
        Literal["group", "value"] | None,
        "what a reward is compared with; left out, value for one response a prompt, else group",
    ] = None
    iterations: Annotated[int, "times of drawing and learning, at most"] = 14
    prompts_per_iteration: Annotated[int, "prompts drawn for at once"] = 32
    samples_per_prompt: Annotated[int, "responses to each"] = 8
    max_new_tokens: Annotated[int, "a response is cut off after so many tokens"] = 60
    temperature: Annotated[float, "of sampling, and of all likelihoods"] = 1.0
    kl_budget: Annotated[float | None, "nats a response; the run ends before it goes beyond"] = 2.0
    kl_in: Annotated[
        Literal["loss", "reward"], "the exact KL of each token in the loss, or its estimate in the reward"
    ] = "loss"
    kl_coefficient: Annotated[float | None, "its weight; left out, 0.25 in the loss, 0.05 in the reward"] = (
        None
    )
    kl_target: Annotated[float | None, "nats a response that the weight is steered towards"] = None
    reward_clip: Annotated[float, "rewards beyond this are cut"] = 5.0
    missing_end: Annotated[
        Literal["subtract", "replace"], "what the penalty does to the reward of a response cut off"
    ] = "subtract"
    missing_end_penalty: Annotated[float, "for a response without an end, in units of the reward"] = 2.0
    ppo_epochs: Annotated[int | None, "passes over each iteration's responses; left out, 1 or 2"] = None
    minibatch_size: Annotated[int | None, "responses in one step; left out, 64 or 32"] = None
    batch_size: Annotated[int, "responses in one forward pass of training"] = 64
    learning_rate: Annotated[float | None, "left out, by the model's size"] = None
    value_learning_rate: Annotated[float | None, "of the value head; left out, ten times the policy's"] = None
    temperature_rate: Annotated[float, "of the learned temperature; 0 learns none"] = 0.006
    warm_up: Annotated[int, "iterations over which the learning rate rises"] = 3
    scale_advantages: Annotated[
        bool, "to variance 1; off, kl_coefficient means nats per unit of reward also in the loss"
    ] = True
    clip: Annotated[float, "how far the ratio of probabilities is followed"] = 0.2
    value_clip: Annotated[float, "how far values are followed, in units of the reward"] = 0.2
    value_coefficient: Annotated[float, "weight of the value's loss"] = 0.1
    discount: Annotated[float, "of later rewards, a token"] = 1.0
    smoothing: Annotated[float, "lambda of generalised advantage estimation"] = 0.95
    gradient_norm: Annotated[float, "longer gradients are cut to this"] = 1.0
    approxkl_limit: Annotated[float, "a larger change within one iteration ends its epochs"] = 0.03
    checkpoint_every: Annotated[int, "iterations"] = 1
    precision: Annotated[Literal["float32", "bfloat16"], "to compute in; weights stay float32"] = "float32"
    threads: Annotated[int, "of the processor; 0 leaves them as they are"] = 0
    device: Annotated[Literal["auto", "cpu", "cuda"], "where to compute"] = "auto"
    seed: Annotated[int, "orders the prompts and draws the responses"] = 0

    def __post_init__(self) -> None:
        """Fill in the baseline and refuse what cannot work."""
        if self.baseline is None:
            object.__setattr__(self, "baseline", "value" if self.samples_per_prompt == 1 else "group")
        if self.baseline == "group" and self.samples_per_prompt < 2:
            raise ValueError(
                f"samples_per_prompt is {self.samples_per_prompt}; baseline group compares at least 2"
            )
        for name in (
            *("iterations", "prompts_per_iteration", "samples_per_prompt", "max_new_tokens"),
            *("ppo_epochs", "minibatch_size", "batch_size", "warm_up", "checkpoint_every"),
        ):
            if getattr(self, name) is not None:
                _at_least(self, name, 1)
        above_0 = ("temperature", "kl_budget", "kl_target", "learning_rate", "value_learning_rate")
        for name in (*above_0, "reward_clip", "clip", "value_clip", "gradient_norm", "approxkl_limit"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be above 0, not {value}")
        for name in (
            *("kl_coefficient", "missing_end_penalty", "temperature_rate", "value_coefficient"),
            "threads",
        ):
            if getattr(self, name) is not None:
                _at_least(self, name, 0)
        for name in ("discount", "smoothing"):
            _share(self, name)
        if self.kl_target is not None and self.kl_weight == 0:
            raise ValueError("kl_target steers kl_coefficient, which can't grow from 0")
        _check_seed(self.seed)

    @property
    def epochs(self) -> int:
        """Passes over each iteration's responses."""
        return self.ppo_epochs or (1 if self.baseline == "group" else 2)

    @property
    def responses_per_step(self) -> int:
        """Responses in one step of the optimizer."""
        return self.minibatch_size or (64 if self.baseline == "group" else 32)

    @property
    def kl_weight(self) -> float:
        """The weight of the KL at the start."""
        if self.kl_coefficient is not None:
            return self.kl_coefficient
        return 0.25 if self.kl_in == "loss" else 0.05


def _at_least(config: object, name: str, least: float) -> None:
    value = getattr(config, name)
    if value < least:
        raise ValueError(f"{name} must be {least} or more, not {value}")


def _share(config: object, name: str) -> None:
    value = getattr(config, name)
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be 0 to 1, not {value}")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed must be 0 to {2**31 - 1}, not {seed}")


def _shown(path: Path | None) -> str:
    return "left out" if path is None else repr(str(path))
