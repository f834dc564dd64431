"""What raters are like, fitted together with the reward model: how a judgment comes about.

A pair whose rewards differ by d (chosen less rejected), judged by rater r, has the outcome y with

    P(y) = (1 - q) * ((1 - e) * P_ties(y; z) + e * P_guess(y)) + q * [y is a tie]
    z    = a * c * (d - margin + h . style) + b * side + g . style

a: how much of the reward the rater sees (1 for the average judgment; below 0 the scale is read backwards);
b: pull of the side shown first (side is 1 where that was the chosen one, -1 the rejected one, 0 unknown);
e: share of answers that don't look at the responses, and pick the first side with probability p; q: share of
ties that don't either (where ties are learned); g and h: what raters pay for style, which is no part of the
reward, some of it as part of what they see and some whatever they see; c: what is left of a in a ranking
between responses below its best. P_ties is Davidson's model or Rao and Kupper's, with the width
exp(eta_0 + eta_r); with ties as half a win each, a tie is the soft label .5.

    a ~ N(1, .5^2)    b ~ N(mu, .3^2)    mu ~ N(0, .5^2)    logit e ~ N(-2, 1.5^2)    logit p ~ N(0, 1.5^2)
    logit q ~ N(u, 1)    u ~ N(-2.5, 1)    eta_r ~ N(0, .5^2)    c ~ N(1, .5^2)

How often raters lapse on the whole trades with the scale of rewards: a few thousand judgments hardly tell
the two apart, so what is usual for e is left to the prior, which counts on long sittings. Calibration on
held-out judgments sets the scale right in the end.

The mean of a over all judgments is held at 1, else rewards and raters could trade their scales; so one rater
alone has a = 1. A judgment without a rater is that of an average one: a = 1, b = mu, logit e = -2. Where no
judgment names its rater nothing tells raters apart: then a = 1, b = 0 and e = 0. A soft label q makes the
loss q * -log P(chosen) + (1 - q) * -log P(rejected).

Interface for training by gradient descent:

    raters = Raters(preferences, ties="davidson", terms=Terms.counted(texts, chosen, rejected))
    observed = Observed.of(preferences, terms)             # one row for each pair; observed.to(device)
    AdamW([…, {"params": list(raters.parameters.values()), "lr": raters.RATE, "weight_decay": 0.0}])
    loss = (weight * raters.losses(differences, observed[pairs])).sum() / weight.sum() + raters.prior_share()
    raters.save(file)    raters.load(file)    raters.parameters      # named float tensors, for a checkpoint

`differences` are rewards of chosen less rejected, without margin; `losses` is differentiable in them and in
the parameters, one number for each pair, not weighted. `prior_share` is the negative log-prior divided by
the weight of all pairs, so that an epoch counts the prior once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from rewards.batches import Preferences
from rewards.bradley_terry import Ties, davidson, rao_kupper
from rewards.style import Terms

SCALE, SIDE, MEAN_SIDE, LAPSE, GUESS, LAZY, MEAN_LAZY, WIDTH = 0.5, 0.3, 0.5, 1.5, 1.5, 1.0, 1.0, 0.5
USUAL_LAPSE, USUAL_LAZY = -2.0, -2.5  # log-odds; with long sittings one in eight answers is a lapse
STYLE_PENALTY = 1.0  # ridge on the coefficients of style
Values = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a loss must know of pairs beside their rewards; an entry for each."""

    rater: Tensor  # number, or NOBODY
    side: Tensor
    tie: Tensor  # bool
    soft_label: Tensor
    margin: Tensor
    weight: Tensor
    below_best: Tensor  # bool
    style: Tensor  # (pairs, terms)

    @classmethod
    def of(cls, preferences: Preferences, terms: Terms) -> Observed:
        """All pairs of these preferences."""
        return cls(
            rater=preferences.rater,
            side=preferences.side.double(),
            tie=preferences.tie,
            soft_label=preferences.soft_label,
            margin=preferences.margin,
            weight=preferences.weight,
            below_best=preferences.below_best,
            style=terms.columns,
        )

    def __len__(self) -> int:
        return len(self.rater)

    def __getitem__(self, pairs: Tensor) -> Observed:
        """These pairs alone."""
        return Observed(*(column[pairs] for column in self._columns()))

    def to(self, device: str | torch.device, dtype: torch.dtype = torch.float32) -> Observed:
        """The same elsewhere, its fractions in this precision."""
        return Observed(
            *(column.to(device, dtype if column.is_floating_point() else None) for column in self._columns())
        )

    def _columns(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))


class Raters:
    """The parameters of the model above, each in units of its prior's deviation, and what follows of them."""

    RATE: ClassVar[float] = 3e-2  # learning rate of a second group in training by gradient descent

    def __init__(
        self,
        preferences: Preferences,
        *,
        ties: Ties,
        terms: Terms,
        named: bool = True,  # whether raters have something of their own
        style_penalty: float = STYLE_PENALTY,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
    ) -> None:
        weight, rater = preferences.weight, preferences.rater
        self.ties, self.style_penalty = ties, style_penalty
        self.style_names = terms.names
        self.names = list(preferences.raters) if named else []
        count = len(self.names)
        self.total = float(weight.sum())
        self.learns_width = ties != "half" and bool(preferences.tie.any())
        known = rater >= 0
        share = torch.zeros(count, dtype=torch.float64)
        if count:
            share = share.index_add(0, rater[known], weight[known] / weight[known].sum())
        self.share = share.to(device, dtype)  # of the weight, by rater
        tied = float(weight[preferences.tie].sum()) / self.total

        sizes: dict[str, tuple[int, ...]] = {}
        if count:
            sizes |= {"scale": (count,), "side": (count,), "mean_side": (), "lapse": (count,)}
            sizes |= {"lapse_first": (count,)}
        if self.learns_width:
            sizes |= {"width": ()} | (
                {"rater_width": (count,), "lazy": (count,), "mean_lazy": ()} if count else {}
            )
        if bool(preferences.below_best.any()):
            sizes |= {"below_best": ()}
        if terms.names:  # where all scales are 1 the two are one
            sizes |= {"style": (len(terms.names),)} | ({"style_seen": (len(terms.names),)} if count else {})
        self.parameters: dict[str, Tensor] = {
            name: torch.zeros(size, dtype=dtype, device=device) for name, size in sizes.items()
        }
        if self.learns_width:  # where all pairs are equal, by Davidson and by Rao and Kupper
            wide = 2 * tied / (1 - tied) if ties == "davidson" else 2 * math.atanh(tied)
            self.parameters["width"].fill_(math.log(wide))
        for value in self.parameters.values():
            value.requires_grad_()

    def losses(self, differences: Tensor, observed: Observed) -> Tensor:
        """The negative log-likelihood of each pair (B,), the chosen's reward being so much above."""
        return loss_of(self.values(observed), differences, observed, self.ties)

    def prior(self) -> Tensor:
        """The negative log-prior of all parameters, up to a constant; flat in the ties' common width."""
        total = self.share.new_zeros(())
        for name, value in self.parameters.items():
            if name != "width":
                total = (
                    total
                    + (self.style_penalty if name.startswith("style") else 1.0) * value.square().sum() / 2
                )
        return total

    def prior_share(self) -> Tensor:
        """The same for each unit of the pairs' weight."""
        return self.prior() / self.total

    def values(self, observed: Observed) -> Values:
        """What each pair's judgment is made of (B,), by name; see `loss_of`."""
        found: Values = {}
        own, rater = self.own(), observed.rater
        zero = torch.zeros_like(observed.side)
        found["scale"] = own["scale"][rater] if self.names else zero + 1
        found["offset"] = own["side"][rater] * observed.side if self.names else zero
        if "below_best" in self.parameters:
            found["scale"] = found["scale"] * torch.where(observed.below_best, self.below_best, 1.0)
        if "style" in self.parameters:
            found["offset"] = found["offset"] + observed.style @ self.parameters["style"]
        if "style_seen" in self.parameters:
            seen = observed.style @ self.parameters["style_seen"]
            found["offset"] = found["offset"] + found["scale"] * seen
        if self.learns_width:
            wider = own["width"][rater] if self.names else zero
            found["log_width"] = self.parameters["width"] + wider
        if self.names:
            found |= {name: own[name][rater] for name in ("lapse", "lapse_first")}
            if self.learns_width:
                found["lazy"] = own["lazy"][rater]
        return found

    def own(self) -> Values:
        """By rater, an average one being the last (R + 1,): scale, side, log-odds of lapses, log width."""
        if not self.names:
            return {}
        scale = self.parameters["scale"]
        found = {
            "scale": 1 + SCALE * _averaged(scale - self.share @ scale),
            "side": MEAN_SIDE * self.parameters["mean_side"] + SIDE * _averaged(self.parameters["side"]),
            "lapse": USUAL_LAPSE + LAPSE * _averaged(self.parameters["lapse"]),
            "lapse_first": GUESS * _averaged(self.parameters["lapse_first"]),
        }
        if self.learns_width:
            found["width"] = WIDTH * _averaged(self.parameters["rater_width"])
            found["lazy"] = USUAL_LAZY + MEAN_LAZY * self.parameters["mean_lazy"]
            found["lazy"] = found["lazy"] + LAZY * _averaged(self.parameters["lazy"])
        return found

    @property
    def below_best(self) -> Tensor:
        """What is left of the scale between responses of a ranking below its best."""
        return 1 + SCALE * self.parameters["below_best"]

    @property
    def log_width(self) -> Tensor | None:
        """The ties' width of an average rater; None where no tie is learned."""
        return self.parameters["width"].detach() if self.learns_width else None

    def save(self, file: Path) -> None:
        """Write all parameters."""
        save_file({name: value.detach().contiguous().cpu() for name, value in self.parameters.items()}, file)

    @torch.no_grad()
    def load(self, file: Path) -> None:
        """Take the parameters that `save` wrote for the same preferences."""
        stored = load_file(file)
        if stored.keys() != self.parameters.keys() or any(
            stored[name].shape != value.shape for name, value in self.parameters.items()
        ):
            raise ValueError(f"{file} holds the parameters of other raters")
        for name, value in self.parameters.items():
            value.copy_(stored[name])


def loss_of(values: Values, differences: Tensor, observed: Observed, ties: Ties) -> Tensor:
    """The negative log-likelihood of each pair (B,).

    `values` holds for each pair scale and offset and, where they are learned, log_width and the log-odds
    lapse, lapse_first and lazy.
    """
    first, tie, second = logprobs_of(values, differences, observed, ties)
    label = observed.soft_label.to(first.dtype)
    if tie is None:
        label = torch.where(observed.tie, 0.5, label)
    losses = -(label * first + (1 - label) * second)
    return losses if tie is None else torch.where(observed.tie, -tie, losses)


def logprobs_of(
    values: Values, differences: Tensor, observed: Observed, ties: Ties
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Log-probabilities (B,) that the rater prefers the chosen, ties (None where nobody can), the other."""
    looked = looked_at(values, differences, observed, ties)
    if "lapse" not in values:
        return looked
    first, tie, second = looked
    pull = values["lapse_first"] * observed.side  # log-odds of the chosen; 0 where nobody knows the sides
    awake, asleep = logsigmoid(-values["lapse"]), logsigmoid(values["lapse"])
    first = torch.logaddexp(awake + first, asleep + logsigmoid(pull))
    second = torch.logaddexp(awake + second, asleep + logsigmoid(-pull))
    if tie is None:
        return first, None, second
    weighs, lazy = logsigmoid(-values["lazy"]), logsigmoid(values["lazy"])
    return weighs + first, torch.logaddexp(weighs + awake + tie, lazy), weighs + second


def looked_at(
    values: Values, differences: Tensor, observed: Observed, ties: Ties
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The same given that the rater looks at the responses."""
    z = values["scale"] * (differences - observed.margin.to(differences.dtype)) + values["offset"]
    if "log_width" not in values:
        return logsigmoid(z), None, logsigmoid(-z)
    model = rao_kupper if ties == "rao-kupper" else davidson
    first, tie, second = model(z, values["log_width"]).unbind(-1)
    return first, tie, second


@torch.no_grad()
def considered(values: Values, differences: Tensor, observed: Observed, ties: Ties) -> Tensor:
    """How much of each outcome (B, 3) was observed and no lapse: first, tie, second; EM's responsibilities.

    The sum is 1 for an answer that surely was given with care, and near 0 for a likely lapse.
    """
    label = torch.where(observed.tie, 0.5, observed.soft_label).to(differences.dtype)
    shares = [label, torch.zeros_like(label), 1 - label]
    looked = looked_at(values, differences, observed, ties)
    if looked[1] is not None:
        shares = [torch.where(observed.tie, 0.0, share) for share in shares]
        shares[1] = observed.tie.to(label.dtype)
    if "lapse" in values:
        awake = logsigmoid(-values["lapse"])
        if "lazy" in values:
            awake = awake + logsigmoid(-values["lazy"])
        mixed = logprobs_of(values, differences, observed, ties)
        for place, (one, all_of_it) in enumerate(zip(looked, mixed, strict=True)):
            if one is not None and all_of_it is not None:
                shares[place] = shares[place] * (awake + one - all_of_it).exp()
    return torch.stack(shares, dim=-1)


def _averaged(values: Tensor) -> Tensor:
    """With a last row for NOBODY, who has nothing of their own."""
    return torch.cat([values, values.new_zeros(1)])


def table(raters: Raters, judgments: Sequence[int], errors: dict[str, Tensor]) -> list[dict[str, Any]]:
    """What was found of each rater, for a run's result, in the order of the file."""
    own = {name: values.detach().double().cpu()[:-1] for name, values in raters.own().items()}
    found = []
    for number, name in enumerate(raters.names):
        lapse = float(torch.sigmoid(own["lapse"][number]))
        row: dict[str, Any] = {
            "rater": name,
            "judgments": judgments[number],
            "scale": float(own["scale"][number]),
            "scale_error": float(errors["scale"][number]) if len(raters.names) > 1 else None,
            "side": float(own["side"][number]),
            "side_error": float(errors["side"][number]),
            "lapse": lapse,
            "lapse_error": lapse * (1 - lapse) * float(errors["lapse"][number]),
            "lapse_first": float(torch.sigmoid(own["lapse_first"][number])),
        }
        if raters.learns_width:
            row["lazy_ties"] = float(torch.sigmoid(own["lazy"][number]))
            row["tie_width"] = float((raters.parameters["width"].detach() + own["width"][number]).exp())
            row["tie_width_error"] = row["tie_width"] * float(errors["width"][number])
        found.append(row)
    return found
