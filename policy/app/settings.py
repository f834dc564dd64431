"""What can be set on a round; pages offer these fields."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSettings:
    """How far a round goes, and how much it asks of the machine and of the raters."""

    kl_budget: Annotated[float, "how far the policy may move from the base, in nats a response"] = 2.0
    best_of: Annotated[int, "samples of the base for each prompt; the best one is learned"] = 8
    warm_prompts: Annotated[int, "prompts that the base is sampled on, at most"] = 1200
    iterations: Annotated[int, "of PPO, at most"] = 14
    prompts_per_iteration: Annotated[int, "prompts of one iteration"] = 32
    samples_per_prompt: Annotated[int, "rollouts for each of them"] = 8
    comparisons: Annotated[int, "fresh comparisons at the end; half of them evaluate"] = 160
    fewest_judgments: Annotated[int, "judgments before a round can start"] = 60
    seed: Annotated[int, "draws prompts, samples and comparisons"] = 0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        limits = {
            "kl_budget": (0.1, 20),
            "best_of": (2, 64),
            "warm_prompts": (1, 20_000),
            "iterations": (1, 1000),
            "prompts_per_iteration": (1, 4096),
            "samples_per_prompt": (2, 64),
            "comparisons": (2, 10_000),
            "fewest_judgments": (1, 100_000),
            "seed": (0, 1_000_000),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be from {low} to {high}")
