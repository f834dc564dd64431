"""The linear head of a reward model: what turns features into a normalised reward, and how it is fitted."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rewards import group_heads
from rewards.batches import FOLDS, Preferences
from rewards.bradley_terry import Ties
from rewards.joint import fit_jointly, rater_errors, refit, style_found
from rewards.raters import Observed, Raters, table
from rewards.style import Terms

STYLE_SHARE = 0.01  # of the features' ridge on style terms: what both could express goes to style
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
    deltas: Tensor | None = None  # (groups, members, features): what a group's raters weigh otherwise
    groups: tuple[str, ...] = ()

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
        found = {name: getattr(self, name) for name in ("mean", "scale", "weights", "centre", "spread")}
        return found if self.deltas is None else {**found, "deltas": self.deltas}

    def for_group(self, group: str) -> "Head":
        """The head of one group's raters, on the same scale."""
        if self.deltas is None or group not in self.groups:
            known = ", ".join(self.groups) or "none"
            raise ValueError(f"group must be one that has a head ({known}), not {group!r}")
        delta = self.deltas[self.groups.index(group)]
        return replace(self, weights=self.weights + delta, deltas=None, groups=())

    def to(self, device: str | torch.device) -> "Head":
        """The same on another device."""
        return replace(
            self,
            mean=self.mean.to(device),
            scale=self.scale.to(device),
            weights=self.weights.to(device),
            centre=self.centre.to(device),
            spread=self.spread.to(device),
            deltas=None if self.deltas is None else self.deltas.to(device),
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A head, and what was found on the way to it."""

    head: Head
    tie_width: float
    unseen: Tensor  # (pairs,): log-odds of the chosen by a head that has not seen its prompt, or NaN
    raters: Raters
    observed: Observed
    differences: Tensor  # (pairs,): rewards of the chosen less the rejected, in log-odds, as all were fitted
    figures: dict[str, Any]


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
    raters: bool = True,  # whether each rater's care is fitted too
    terms: Terms | None = None,  # of style, fitted and left out of the reward
    groups: bool = False,  # whether declared groups get heads of their own
) -> Fitted:
    """A head fitted together with its raters, and how it does on pairs that it has not seen.

    The log-odds of unseen pairs are not a number where the other prompts hold no decided pair. Each member
    is fitted to bootstrapped judgments, the raters staying as all judgments have them. The bootstrap is
    Rubin's (1981): each judgment gets an exponential weight. Unlike drawing with replacement it can't draw
    ties alone.
    """
    mean, scale = reference.mean(0), reference.std(0, correction=0) + NARROW
    differences = (features[preferences.chosen] - features[preferences.rejected]).double() / scale.double()
    terms = terms or Terms.none(len(preferences))
    observed = Observed.of(preferences, terms)
    width = differences.shape[1]

    def new_raters() -> Raters:
        return Raters(
            preferences,
            ties=ties,
            terms=terms,
            named=raters,
            style_penalty=STYLE_SHARE * penalty,
            dtype=torch.float64,
        )

    numbers = group_heads.large_enough(preferences) if groups else []
    ridge = torch.full((width,), penalty, dtype=torch.float64)
    factor = None
    if numbers:
        differences = group_heads.expanded(differences, preferences.group, numbers)
        factor = group_heads.best_factor(
            differences, observed, new_raters, ridge, groups=len(numbers), held_out=folds == folds.min()
        )
        ridge = group_heads.penalties(ridge, factor, groups=len(numbers))
    known = new_raters()
    whole = fit_jointly(differences, observed, known, ridge)

    drawn = _bootstrap(preferences, members, seed)
    held_out = [folds == fold for fold in range(FOLDS)]
    held_out = [those for those in held_out if those.any() and preferences.decided[~those].any()]
    weights = torch.cat([drawn, *(drawn * ~those for those in held_out)])
    heads = refit(differences, observed, known, whole, weights, ridge)
    final, *others = heads.split([members] * (1 + len(held_out)))
    names = tuple(preferences.groups[number] for number in numbers)

    def normalised(rows: Tensor) -> Head:
        head = Head.normalised(mean, scale, rows[:, :width], reference=reference, pessimism=pessimism)
        if not names:
            return head
        deltas = rows[:, width:].reshape(members, len(names), width).transpose(0, 1).float()
        return replace(head, deltas=deltas.contiguous(), groups=names)

    unseen = torch.full((len(preferences),), torch.nan)
    by_group = unseen.clone()
    for those, rows in zip(held_out, others, strict=True):
        head = normalised(rows)
        unseen[those] = _log_odds(head, head, features, preferences)[those]
        for number, name in zip(numbers, names, strict=True):
            of_group = those & (preferences.group == number)
            by_group[of_group] = _log_odds(head.for_group(name), head, features, preferences)[of_group]
    told = differences @ whole
    figures: dict[str, Any] = {
        "raters": table(known, judgments_by_rater(preferences), rater_errors(known, observed, told)),
        "style": style_found(known, observed, terms, differences, whole, ridge),
    }
    if "below_best" in known.parameters:
        figures["scale_below_best"] = float(known.below_best.detach())
    if numbers:
        figures["groups"] = group_heads.table(preferences, numbers, unseen, by_group, factor)
    log_width = known.log_width
    tie_width = 0.0 if log_width is None else float(log_width.exp())
    return Fitted(normalised(final), tie_width, unseen, known, observed, told, figures)


def _log_odds(head: Head, claims: Head, features: Tensor, preferences: Preferences) -> Tensor:
    rewards = head(features) * claims.claimed_logits
    return rewards[preferences.chosen] - rewards[preferences.rejected]


def judgments_by_rater(preferences: Preferences) -> Sequence[int]:
    """How many each rater gave."""
    by_judgment = torch.stack([preferences.rater, preferences.judgment]).unique(dim=1)[0]
    known = by_judgment[by_judgment >= 0]
    return [int(count) for count in torch.bincount(known, minlength=len(preferences.raters))]


def _bootstrap(preferences: Preferences, members: int, seed: int) -> Tensor:
    """Weights (members, pairs); a single member takes them as given."""
    given = preferences.weight[None]
    if members == 1:
        return given
    generator = torch.Generator().manual_seed(seed)
    _, judgment = preferences.judgment.unique(return_inverse=True)
    share = torch.empty(members, int(judgment.max()) + 1, dtype=torch.float64)
    share = share.exponential_(generator=generator)
    drawn: Tensor = given * (share / share.mean(1, keepdim=True))[:, judgment]
    return drawn


def _linear(features: Tensor, mean: Tensor, scale: Tensor, weights: Tensor) -> Tensor:
    return ((features - mean) / scale) @ weights.float().T
