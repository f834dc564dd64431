"""Preferences as likelihoods: Bradley-Terry's, and Davidson's extension of it to ties.

Davidson (1970): a pair whose rewards differ by d has the outcomes

    P(first) = e^(d/2) / Z    P(tie) = nu / Z    P(second) = e^(-d/2) / Z    Z = e^(d/2) + nu + e^(-d/2)

With nu = 0 that is Bradley-Terry, P(first) = sigmoid(d), and so it stays for the pairs that are no tie.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

Ties = Literal["davidson", "half"]
WIN, TIE, LOSS = 1.0, 0.5, 0.0  # outcomes of a pair, for its first response
TOLERANCE = 1e-7  # largest gradient at a fit's end, as a share of that at zero


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
    outcomes: Tensor,  # (N,): WIN, TIE or LOSS
    weights: Tensor,  # (M, N): how much each pair counts for each head; 0 keeps it from the head
    penalty: float,
    *,
    ties: Ties = "davidson",
    margins: Tensor | float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Many linear heads (M, D) at once, each for its own weights, and the ties' widths nu (M,).

    Each minimises sum(weight * negative log-likelihood) + penalty / 2 * |w|^2, which is convex in w and
    log nu. L-BFGS in float64 takes their sum to its one minimum; where it does not get there,
    FloatingPointError says how far off. Without ties nu is 0.
    """
    x, y, weight = differences.double(), outcomes.double(), weights.double()
    margin = torch.as_tensor(margins, dtype=torch.float64)
    tied = (y == TIE).double()
    if not bool((weight @ (1 - tied) > 0).all()):
        raise ValueError("every pair is a tie, so nothing says which responses are better")
    learns_width = ties == "davidson" and bool(tied.any())
    size = x.shape[1]
    point = torch.zeros(len(weight), size + learns_width, dtype=torch.float64)

    def loss_and_gradient() -> tuple[float, Tensor]:
        w = point[:, :size]
        difference = w @ x.T - margin  # (M, N)
        if learns_width:
            log_width = point[:, size:]
            p = davidson(difference, log_width).exp()
            scores = (y - 0.5) * difference + tied * log_width
            norm = torch.logaddexp(torch.logaddexp(difference / 2, -difference / 2), log_width)
            losses, slopes = norm - scores, (p[..., 0] - p[..., 2] + 1) / 2 - y
            rest = (weight * (p[..., 1] - tied)).sum(1, keepdim=True)
        else:
            losses, slopes = softplus(difference) - y * difference, torch.sigmoid(difference) - y
            rest = point[:, size:]  # empty
        loss = (weight * losses).sum() + penalty / 2 * w.square().sum()
        return float(loss), torch.cat([(weight * slopes) @ x + penalty * w, rest], dim=1)

    tolerance = TOLERANCE * max(1e-3, float(loss_and_gradient()[1].abs().max()))
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=1000,
        max_eval=4000,
        tolerance_grad=tolerance / 2,
        tolerance_change=0,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, point.grad = loss_and_gradient()
        return loss

    with torch.no_grad():
        optimizer.step(closure)
    remaining = float(loss_and_gradient()[1].abs().max())
    if not remaining <= tolerance:
        raise FloatingPointError(f"the fit of {len(y)} pairs ended with a gradient of {remaining:.2g}")
    widths = point[:, size].exp() if learns_width else torch.zeros(len(weight), dtype=torch.float64)
    return point[:, :size].clone(), widths


def _mean(losses: Tensor, weight: Tensor | None) -> Tensor:
    return losses.mean() if weight is None else (weight * losses).sum() / weight.sum()
