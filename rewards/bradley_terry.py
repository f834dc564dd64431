"""Preferences as likelihoods: Bradley-Terry's, and its extensions to ties by Davidson and by Rao and Kupper.

Davidson (1970): a pair whose rewards differ by d has the outcomes

    P(first) = e^(d/2) / Z    P(tie) = nu / Z    P(second) = e^(-d/2) / Z    Z = e^(d/2) + nu + e^(-d/2)

With nu = 0 that is Bradley-Terry, P(first) = sigmoid(d), and so it stays for the pairs that are no tie.

Rao and Kupper (1967): a difference below a threshold kappa is not seen,

    P(first) = sigmoid(d - kappa)    P(second) = sigmoid(-d - kappa)    P(tie) = 1 - P(first) - P(second)

Each is right in its own world only, so which one fits is for held-out likelihood to say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

Ties = Literal["davidson", "rao-kupper", "half"]
WIN, TIE, LOSS = 1.0, 0.5, 0.0  # outcomes of a pair, for its first response
TOLERANCE = 1e-7  # largest gradient at a fit's end, as a share of that at zero
NEWTON_STEPS, HALVINGS = 100, 40


def preference_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | float = 0.0,
    probability: Tensor | float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean negative log-likelihood of the raters' choices.

    P(chosen beats rejected) = sigmoid(chosen - rejected), so only differences of rewards matter and their
    common offset stays free. A margin asks the difference to be that much larger. A probability below 1 is
    a soft label; .5 makes a tie half a win each.
    """
    difference = chosen - rejected - margin
    losses = probability * softplus(-difference) + (1 - probability) * softplus(difference)
    return _mean(losses, weight)


def davidson(difference: Tensor, log_width: Tensor | float) -> Tensor:
    """Log-probabilities (…, 3) that the first is preferred, that they tie, that the second is."""
    width = torch.as_tensor(log_width, dtype=difference.dtype, device=difference.device)
    logits = [difference / 2, width.expand_as(difference), -difference / 2]  # each less log Z
    return torch.log_softmax(torch.stack(logits, dim=-1), dim=-1)


def rao_kupper(difference: Tensor, log_width: Tensor | float) -> Tensor:
    """The same by Rao and Kupper, the threshold kappa being e^log_width."""
    width = torch.as_tensor(log_width, dtype=difference.dtype, device=difference.device).exp()
    first, second = logsigmoid(difference - width), logsigmoid(-difference - width)
    # sigmoid(a) sigmoid(b) (e^(2 kappa) - 1) with a = kappa + d and b = kappa - d, e^(a + b) taken out.
    tie = logsigmoid(width + difference) + logsigmoid(width - difference) + (-torch.expm1(-2 * width)).log()
    return torch.stack([first, tie.expand_as(first), second], dim=-1)


def rao_kupper_loss(
    difference: Tensor, tie: Tensor, log_width: Tensor | float, *, weight: Tensor | None = None
) -> Tensor:
    """Mean negative log-likelihood by Rao and Kupper, as `davidson_loss` is by Davidson."""
    logprobs = rao_kupper(difference, log_width)
    return _mean(-torch.where(tie, logprobs[..., 1], logprobs[..., 0]), weight)


def davidson_loss(
    difference: Tensor, tie: Tensor, log_width: Tensor | float, *, weight: Tensor | None = None
) -> Tensor:
    """Mean negative log-likelihood of pairs whose first response won or, where `tie`, was equal."""
    logprobs = davidson(difference, log_width)
    return _mean(-torch.where(tie, logprobs[..., 1], logprobs[..., 0]), weight)


def fit_head(
    differences: Tensor,
    outcomes: Tensor,
    weights: Tensor,
    penalty: float,
    *,
    ties: Ties = "davidson",
    margins: Tensor | float = 0.0,
) -> tuple[Tensor, float]:
    """The linear head (D,) that makes the outcomes likeliest, and the ties' width; see `fit_heads`."""
    heads, widths = fit_heads(differences, outcomes, weights[None], penalty, ties=ties, margins=margins)
    return heads[0], float(widths[0])


def fit_heads(
    differences: Tensor,  # (N, D): features of each pair's first response less those of its second
    outcomes: Tensor,  # (N,): WIN, TIE or LOSS, or the probability that the first one won
    weights: Tensor,  # (M, N): how much each pair counts for each head; 0 keeps it from the head
    penalty: Tensor | float,  # one, or one for each feature (D,)
    *,
    ties: Ties = "davidson",
    tied: Tensor | None = None,  # (N,) bool; left out, whatever has the outcome TIE
    margins: Tensor | float = 0.0,
    log_widths: Tensor | None = None,  # (N,): the ties' width for each pair; left out, one is learned
) -> tuple[Tensor, Tensor]:
    """Many linear heads (M, D) at once, each for its own weights, and the ties' widths nu (M,).

    Each minimises sum(weight * negative log-likelihood) + penalty / 2 * |w|^2, which is convex in w and
    log nu. Newton's method in float64, its steps solved by conjugate gradients, takes each head to its own
    minimum; where one does not get there, FloatingPointError says how far off. Without ties nu is 0, and so
    it is where the widths are given. Rao and Kupper's width is not learned here: `rewards.raters` fits it.
    """
    x, y, weight = differences.double(), outcomes.double(), weights.double()
    tied = (y == TIE).double() if tied is None else tied.double()
    if not bool((weight @ (1 - tied) > 0).all()):
        raise ValueError("every pair is a tie, so nothing says which responses are better")
    if ties == "rao-kupper" and log_widths is None:
        raise ValueError("log_widths must be given where ties are Rao and Kupper's")
    learns_width = ties == "davidson" and log_widths is None and bool(tied.any())
    likelihood = _Likelihood(
        x,
        y,
        weight,
        tied,
        torch.as_tensor(margins, dtype=torch.float64),
        torch.as_tensor(penalty, dtype=torch.float64),
        learns_width,
        None if log_widths is None or ties == "half" else log_widths.double(),
        threshold=ties == "rao-kupper",
    )
    point = torch.zeros(len(weight), x.shape[1] + learns_width, dtype=torch.float64)
    loss, gradient, shares = likelihood.at(point)
    first = gradient.abs().amax(1, keepdim=True).clamp(min=1e-3)
    for _ in range(NEWTON_STEPS):
        left = gradient.abs().amax(1, keepdim=True) / first  # (M, 1)
        if bool((left <= TOLERANCE).all()):
            break
        step = _solved(partial(likelihood.curvature, shares), -gradient, 0.1 * left.sqrt())
        slope = (gradient * step).sum(1, keepdim=True)
        length = torch.where(left > TOLERANCE, 1.0, 0.0)
        for _ in range(HALVINGS):  # until each head's loss falls as a convex one must; rounding is let pass
            new_loss, new_gradient, new_shares = likelihood.at(point + length * step)
            rises = new_loss > loss + 1e-4 * length * slope + 1e-13 * loss.abs()
            if not bool(rises.any()):
                break
            length = torch.where(rises, length / 2, length)
        point = point + length * step
        loss, gradient, shares = new_loss, new_gradient, new_shares
    else:
        remaining = float(gradient.abs().max())
        raise FloatingPointError(f"the fit of {len(y)} pairs ended with a gradient of {remaining:.2g}")
    widths = point[:, -1].exp() if learns_width else torch.zeros(len(weight), dtype=torch.float64)
    return point[:, : x.shape[1]].clone(), widths


@dataclass(frozen=True, slots=True)
class _Likelihood:
    """The penalised negative log-likelihood of M heads at (M, D) or, with their log widths, (M, D + 1)."""

    x: Tensor
    y: Tensor
    weight: Tensor
    tied: Tensor
    margin: Tensor
    penalty: Tensor
    learns_width: bool
    log_widths: Tensor | None  # given, not learned
    threshold: bool  # Rao and Kupper's model

    def at(self, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (M, 1), gradients, and the chances (M, N, 3) of the outcomes."""
        w = point[:, : self.x.shape[1]]
        difference = w @ self.x.T - self.margin  # (M, N)
        if self.threshold and self.log_widths is not None:
            losses, slopes, shares = self._threshold_at(difference, self.log_widths)
        else:
            log_width = self.log_widths
            if log_width is None:
                log_width = point[:, -1:] if self.learns_width else torch.full_like(point[:, :1], -torch.inf)
            half = difference / 2
            norm = torch.logaddexp(half, -half)
            if self.learns_width or self.log_widths is not None:
                norm = torch.logaddexp(norm, log_width)
            shares = torch.stack(
                [(half - norm).exp(), (log_width - norm).exp(), (-half - norm).exp()], dim=-1
            )
            losses = norm - (self.y - 0.5) * difference
            slopes = (shares[..., 0] - shares[..., 2] + 1) / 2 - self.y
            if self.learns_width:
                losses = losses - self.tied * log_width
        parts = [(self.weight * slopes) @ self.x + self.penalty * w]
        if self.learns_width:
            parts.append((self.weight * (shares[..., 1] - self.tied)).sum(1, keepdim=True))
        ridge = (self.penalty * w.square()).sum(1, keepdim=True) / 2
        loss = (self.weight * losses).sum(1, keepdim=True) + ridge
        return loss, torch.cat(parts, dim=1), shares

    def curvature(self, shares: Tensor, vectors: Tensor) -> Tensor:
        """The Hessians, where these are the chances of the outcomes, times a vector (M, D) each."""
        along = vectors[:, : self.x.shape[1]] @ self.x.T / 2
        ridge = self.penalty * vectors[:, : self.x.shape[1]]
        if self.threshold:
            first, _, second = shares.unbind(-1)
            won, lost = self._won_and_lost()
            curved = (1 - lost) * first * (1 - first) + (1 - won) * second * (1 - second)
            return (2 * self.weight * curved * along) @ self.x + ridge
        wider = vectors[:, -1:] if self.learns_width else torch.zeros_like(vectors[:, :1])
        moved = torch.stack([along, wider.expand_as(along), -along], dim=-1)
        moved = shares * (moved - (shares * moved).sum(-1, keepdim=True)) * self.weight[..., None]
        parts = [(moved[..., 0] - moved[..., 2]) / 2 @ self.x + ridge]
        if self.learns_width:
            parts.append(moved[..., 1].sum(1, keepdim=True))
        return torch.cat(parts, dim=1)

    def _threshold_at(self, difference: Tensor, log_widths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logs = rao_kupper(difference, log_widths)
        shares = logs.exp()
        won, lost = self._won_and_lost()
        losses = -(won * logs[..., 0] + self.tied * logs[..., 1] + lost * logs[..., 2])
        first, _, second = shares.unbind(-1)
        slopes = won * (first - 1) + self.tied * (first - second) + lost * (1 - second)
        return losses, slopes, shares

    def _won_and_lost(self) -> tuple[Tensor, Tensor]:
        return self.y - self.tied / 2, 1 - self.y - self.tied / 2


def _solved(times: Callable[[Tensor], Tensor], right: Tensor, share: Tensor) -> Tensor:
    """Conjugate gradients for each row, until what is left is at most this share of the right-hand side."""
    solution, residual = torch.zeros_like(right), right.clone()
    direction = residual.clone()
    size = residual.square().sum(1, keepdim=True)
    enough = share.square() * size
    for _ in range(min(right.shape[1] + 10, 500)):
        if bool((size <= enough).all()):
            break
        image = times(direction)
        curved = (direction * image).sum(1, keepdim=True)
        going = (size > enough) & (curved > 0)
        length = torch.where(going, size / curved, 0.0)
        solution = solution + length * direction
        residual = residual - length * image
        new_size = torch.where(going, residual.square().sum(1, keepdim=True), size.clamp(max=enough))
        direction = torch.where(going, residual + new_size / size * direction, direction)
        size = new_size
    return solution


def _mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    return losses.mean() if weight is None else (weight * losses).sum() / weight.sum()
