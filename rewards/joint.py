"""A linear head and its raters fitted together, and what of that fit can be told with which error.

The joint fit is the largest posterior by L-BFGS in float64. Given the raters, what is left is convex in the
head (EM's second step: each answer counts by how likely it was no lapse), so members, folds and whatever
else is a head for other weights are refitted all at once by `rewards.bradley_terry.fit_heads`.
"""

from typing import Any

import torch
from torch import Tensor

from rewards.bradley_terry import fit_heads
from rewards.raters import (
    GUESS,
    LAPSE,
    LAZY,
    SCALE,
    SIDE,
    WIDTH,
    Observed,
    Raters,
    Values,
    considered,
    loss_of,
)
from rewards.style import Terms

ITERATIONS, MEMORY = 1000, 20
TOLERANCE = 1e-6  # largest gradient at the end, as a share of the root of the pairs' weight
Z = 1.96


def fit_jointly(
    differences: Tensor,  # (N, D) in float64: features of the chosen less those of the rejected
    observed: Observed,
    raters: Raters,  # in float64; left at the largest posterior
    penalty: Tensor,  # (D,)
) -> Tensor:
    """The head (D,) that is likeliest together with the raters, given ridge and priors.

    It starts from the raters as they are, with the head that fits them.
    """
    weight = observed.weight
    start = refit(differences, observed, raters, torch.zeros_like(penalty), weight[None], penalty)[0]
    # Newton's scale for the head, else steps would be cut to suit its steepest direction.
    curved = differences.T @ (0.2 * weight[:, None] * differences) + torch.diag(penalty)
    root = torch.linalg.cholesky(curved)
    point = (root.T @ start).requires_grad_()

    def head() -> Tensor:
        found: Tensor = torch.linalg.solve_triangular(root.T, point[:, None], upper=True)
        return found[:, 0]

    free = [point, *raters.parameters.values()]
    enough = TOLERANCE * float(weight.sum()) ** 0.5
    optimizer = torch.optim.LBFGS(
        free,
        max_iter=ITERATIONS,
        max_eval=2 * ITERATIONS,
        history_size=MEMORY,
        tolerance_grad=enough,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        w = head()
        found = weight @ raters.losses(differences @ w, observed)
        found = found + raters.prior() + (penalty * w.square()).sum() / 2
        found.backward()
        return found

    optimizer.step(loss)
    left = max(float(value.grad.abs().max()) for value in free if value.grad is not None and value.numel())
    if not left <= 1000 * enough:
        raise FloatingPointError(f"the fit of {len(weight)} pairs ended with a gradient of {left:.2g}")
    return head().detach()


@torch.no_grad()
def refit(
    differences: Tensor,  # (N, D)
    observed: Observed,
    raters: Raters,
    head: Tensor,  # (D,): by which lapses are told from answers
    weights: Tensor,  # (M, N)
    penalty: Tensor,  # (D,)
) -> Tensor:
    """Heads (M, D) for other weights, the raters staying as they are."""
    values = raters.values(observed)
    counted = considered(values, differences @ head, observed, raters.ties)
    share = counted.sum(1)
    scale = values["scale"]
    outcomes = (counted[:, 0] + counted[:, 1] / 2) / share.clamp_min(1e-300)
    width = values.get("log_width")
    heads, _ = fit_heads(
        scale[:, None] * differences,
        outcomes,
        weights * share,
        penalty,
        ties=raters.ties if width is not None else "half",
        tied=observed.tie & torch.tensor(width is not None),
        margins=scale * observed.margin - values["offset"],
        log_widths=width,
    )
    return heads


def rater_errors(raters: Raters, observed: Observed, differences: Tensor) -> Values:
    """Standard errors (R,) of what `Raters.own` gives, from the posterior's curvature at the fit.

    Each rater's own parameters are inverted together; head, style and what raters share are taken as known,
    so an error is a little small where there are few raters.
    """
    if not raters.names:
        return {}
    once = torch.ones_like(observed.weight)
    below = raters.below_best.detach().double() if "below_best" in raters.parameters else once
    # Of each parameter: what it moves for a pair, by how much, its prior's deviation, its name in `own`.
    moves = {
        "scale": ("scale", torch.where(observed.below_best, below, once), SCALE),
        "side": ("offset", observed.side, SIDE),
        "lapse": ("lapse", once, LAPSE),
        "lapse_first": ("lapse_first", once, GUESS),
    }
    if raters.learns_width:
        moves |= {"lazy": ("lazy", once, LAZY), "width": ("log_width", once, WIDTH)}
    values = _leaves(raters, observed)
    factors = [factor for _, factor, _ in moves.values()]
    curvature = _curvature(values, [name for name, _, _ in moves.values()], differences, observed, raters)
    known = observed.rater >= 0
    size = len(moves)
    blocks = torch.zeros(len(raters.names), size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            pairs = curvature[i][j] * factors[i] * factors[j]
            blocks[:, i, j].index_add_(0, observed.rater[known], pairs[known])
    blocks += torch.diag(torch.tensor([deviation**-2 for *_, deviation in moves.values()]))
    variance = torch.linalg.inv(blocks).diagonal(dim1=1, dim2=2).clamp_min(0)
    return dict(zip(moves, variance.sqrt().T, strict=True))


def style_found(
    raters: Raters,
    observed: Observed,
    terms: Terms,
    differences: Tensor,  # (N, D)
    head: Tensor,  # (D,)
    penalty: Tensor,  # (D,)
) -> list[dict[str, Any]]:
    """What raters pay for each style term, in log-odds of the average judgment, with 95 % intervals.

    `per` is the difference of two responses, as `rewards.style.differences` counts it, that gets so much.
    The intervals are of the penalised estimate over other judgments of these pairs: what the features could
    express as well counts as style, by the smaller ridge. The raters are taken as known.
    """
    if not terms.names:
        return []
    values = _leaves(raters, observed)
    curved = _curvature(values, ["offset"], differences @ head, observed, raters)[0][0]
    scale, size = values["scale"].detach()[:, None], len(terms.names)
    parts = (
        [terms.columns] if "style_seen" not in raters.parameters else [terms.columns, scale * terms.columns]
    )
    moved = torch.cat([scale * differences, *parts], dim=1)
    ridge = torch.cat([penalty, penalty.new_full((len(parts) * size,), raters.style_penalty)])
    told = moved.T @ (curved[:, None] * moved)
    inverse = torch.linalg.inv(told + torch.diag(ridge))[len(penalty) :]
    covariance = inverse @ told @ inverse.T
    covariance = covariance.reshape(len(parts), size, len(parts), size)
    errors = covariance.sum((0, 2)).diagonal().clamp_min(0).sqrt().tolist()  # of the sum of the parts
    paid = sum(
        (value for name, value in raters.parameters.items() if name.startswith("style")),
        scale.new_zeros(size),
    )
    found = zip(terms.names, paid.tolist(), errors, terms.units.tolist(), strict=True)
    return [
        {"name": name, "coefficient": value, "low": value - Z * error, "high": value + Z * error, "per": unit}
        for name, value, error, unit in found
    ]


def _leaves(raters: Raters, observed: Observed) -> Values:
    return {name: value.detach().clone() for name, value in raters.values(observed).items()}


def _curvature(
    values: Values, names: list[str], differences: Tensor, observed: Observed, raters: Raters
) -> list[list[Tensor]]:
    """Second derivatives of each pair's weighted loss in these values: [i][j] is (N,)."""
    free = [values[name].requires_grad_() for name in names]
    loss = (observed.weight * loss_of(values, differences, observed, raters.ties)).sum()
    slopes = torch.autograd.grad(loss, free, create_graph=True)
    return [
        [
            torch.zeros_like(one) if second is None else second
            for one, second in zip(
                free,
                torch.autograd.grad(slope.sum(), free, retain_graph=True, allow_unused=True),
                strict=True,
            )
        ]
        for slope in slopes
    ]
