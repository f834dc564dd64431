"""The linear head of a reward model: what turns features into a normalised reward, and how it is fitted."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rewards.batches import FOLDS, Preferences
from rewards.bradley_terry import Ties, fit_heads

NARROW = 1e-4  # added to the features' deviations, so that a constant feature divides by no zero


@dataclass(frozen=True, slots=True)
class Head:
    """Reward = gain * (mean of the members - pessimism * their deviation) + bias.

    Each member is a linear function of standardised features, itself standardised on the reference samples,
    so that the members' deviation measures their doubt and not their scales.
    """

    mean: Tensor  # (features,)
    scale: Tensor  # (features,)
    weights: Tensor  # (members, features)
    centre: Tensor  # (members,)
    spread: Tensor  # (members,)
    pessimism: float
    gain: float
    bias: float

    @classmethod
    def normalised(
        cls, mean: Tensor, scale: Tensor, weights: Tensor, *, reference: Tensor, pessimism: float
    ) -> "Head":
        """The head whose rewards of the reference samples have mean 0 and deviation 1."""
        raw = _linear(reference, mean, scale, weights)
        centre, spread = raw.mean(0), raw.std(0, correction=0).clamp_min(1e-6)
        head = cls(mean, scale, weights.float(), centre, spread, pessimism=pessimism, gain=1.0, bias=0.0)
        rewards = head(reference)
        gain = 1 / max(1e-6, float(rewards.std(correction=0)))
        return replace(head, gain=gain, bias=-gain * float(rewards.mean()))

    def __call__(self, features: Tensor) -> Tensor:
        """The normalised reward (B,) of features (B, D)."""
        members = self.members(features)
        together = members.mean(1) - self.pessimism * members.std(1, correction=0)
        return self.gain * together + self.bias

    def members(self, features: Tensor) -> Tensor:
        """What each member says, standardised: (B, members)."""
        raw = _linear(features.float(), self.mean, self.scale, self.weights)
        return (raw - self.centre) / self.spread

    @property
    def claimed_logits(self) -> float:
        """The log-odds that one unit of reward stands for, as the members were fitted."""
        return float(self.spread.mean()) / self.gain

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: getattr(self, name) for name in ("mean", "scale", "weights", "centre", "spread")}

    def to(self, device: str | torch.device) -> "Head":
        """The same on another device."""
        return replace(
            self,
            mean=self.mean.to(device),
            scale=self.scale.to(device),
            weights=self.weights.to(device),
            centre=self.centre.to(device),
            spread=self.spread.to(device),
        )


def fit(
    features: Tensor,  # (responses, D)
    preferences: Preferences,
    reference: Tensor,  # (samples, D): what features are standardised and rewards normalised on
    *,
    folds: Tensor,  # (pairs,): from `Preferences.folds`
    penalty: float,
    members: int,
    pessimism: float,
    ties: Ties,
    seed: int,
) -> tuple[Head, float, Tensor]:
    """A head, the ties' width, and each pair's log-odds by a head that has not seen its prompt.

    Those log-odds are not a number where the other prompts hold no decided pair. Each member is fitted to
    bootstrapped judgments. The bootstrap is Rubin's (1981): each judgment gets an exponential weight.
    Unlike drawing with replacement it can't draw ties alone.
    """
    mean, scale = reference.mean(0), reference.std(0, correction=0) + NARROW
    differences = (features[preferences.chosen] - features[preferences.rejected]).double() / scale.double()
    whole = _bootstrap(preferences, members, seed)  # (1 + members, pairs), the first not drawn
    held_out = [folds == fold for fold in range(FOLDS)]
    held_out = [those for those in held_out if those.any() and preferences.decided[~those].any()]
    weights = torch.cat([whole, *(whole[1:] * ~those for those in held_out)])
    heads, widths = fit_heads(
        differences, preferences.outcomes, weights, penalty, ties=ties, margins=preferences.margin
    )
    _, final, *others = heads.split([1] + [members] * (1 + len(held_out)))

    def normalised(rows: Tensor) -> Head:
        return Head.normalised(mean, scale, rows, reference=reference, pessimism=pessimism)

    unseen = torch.full((len(preferences),), torch.nan)
    for those, rows in zip(held_out, others, strict=True):
        head = normalised(rows)
        rewards = head(features) * head.claimed_logits
        unseen[those] = (rewards[preferences.chosen] - rewards[preferences.rejected])[those]
    return normalised(final), float(widths[0]), unseen


def _bootstrap(preferences: Preferences, members: int, seed: int) -> Tensor:
    """Weights (1 + members, pairs): as given, then for each member; a single member takes them as given."""
    given = preferences.weight[None]
    if members == 1:
        return given.repeat(2, 1)
    generator = torch.Generator().manual_seed(seed)
    _, judgment = preferences.judgment.unique(return_inverse=True)
    share = torch.empty(members, int(judgment.max()) + 1, dtype=torch.float64)
    share = share.exponential_(generator=generator)
    return torch.cat([given, given * (share / share.mean(1, keepdim=True))[:, judgment]])


def _linear(features: Tensor, mean: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    return ((features - mean) / scale) @ weights.float().T
