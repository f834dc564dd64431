"""How much a judgment would tell a reward model: what it takes off the doubt about the linear head.

A pair is the difference x of its two responses' features. Once pairs i were judged, Laplace's approximation
of the head's posterior has the covariance

    S = (sum_i w_i p_i (1 - p_i) x_i x_i' + penalty I)^-1          p_i the chance that the first is preferred

A judgment of one more pair adds p (1 - p) x x' to what is inverted. That shrinks the log-determinant of S by
log(1 + p (1 - p) x' S x), the gain of a D-optimal choice (MacKay 1992).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

Strategy = Literal["d-optimal", "bald"]
NODES, SHARES = (
    torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(9)
)  # of Gauss and Hermite, for means over a normal number
SHARES = SHARES / SHARES.sum()


def covariance(differences: Tensor, chances: Tensor, weights: Tensor, penalty: float) -> Tensor:
    """The head's covariance (d, d) after pairs (N, d) were judged, each with this chance and weight."""
    rows = differences.double()
    information = weights.double() * chances.double() * (1 - chances.double())
    precision = (rows * information[:, None]).T @ rows
    precision.diagonal().add_(penalty)
    return torch.cholesky_inverse(torch.linalg.cholesky(precision))


def chance(logits: Tensor, variance: Tensor) -> Tensor:
    """The chance that the first is preferred, its log-odds being in doubt by this variance (MacKay 1992)."""
    return torch.sigmoid(logits / (1 + torch.pi * variance / 8).sqrt())


def bald(logits: Tensor, variance: Tensor) -> Tensor:
    """What a judgment says of the head, in nats: its entropy less what would be left if the head were known.

    Houlsby et al. 2011, "Bayesian active learning by disagreement".
    """
    drawn = torch.sigmoid(logits[:, None] + variance.sqrt()[:, None] * NODES)
    return (_entropy(drawn @ SHARES) - _entropy(drawn) @ SHARES).clamp_min(0)


class Gains:
    """What each candidate would tell, kept up to date while some of them are taken.

    A candidate is a pair, or a comparison of more responses: then it is all of its pairs, which weigh as
    much as they will in training, and its gain is the sum of theirs (a little above the exact one).
    """

    def __init__(
        self,
        rows: Tensor,  # (N, d): the pairs
        logits: Tensor,  # (N,): log-odds that the reward model claims for the first of each
        covariance: Tensor,  # (d, d)
        *,
        owner: Tensor | None = None,  # (N,): the candidate that the pair belongs to; left out, its own
        weights: Tensor | None = None,  # (N,)
        strategy: Strategy = "d-optimal",
    ) -> None:
        self.rows, self.logits, self.covariance = rows.double(), logits.double(), covariance.clone()
        self.owner = torch.arange(len(rows)) if owner is None else owner
        self.strategy = strategy
        self.variance = ((self.rows @ self.covariance) * self.rows).sum(1)  # of the log-odds
        expected = chance(self.logits, self.variance)
        self.weights = torch.ones_like(self.logits) if weights is None else weights.double()
        self.information = self.weights * expected * (1 - expected)
        self.size = int(self.owner.max()) + 1

    def __len__(self) -> int:
        return self.size

    def now(self) -> Tensor:
        """The gain of each candidate (candidates,), in nats, given all that was taken."""
        if self.strategy == "bald":
            gains = self.weights * bald(self.logits, self.variance)
        else:
            gains = torch.log1p(self.information * self.variance)
        return gains.new_zeros(self.size).index_add_(0, self.owner, gains)

    def take(self, candidate: int) -> None:
        """Count the candidate as judged: Sherman and Morrison's update, for each of its pairs."""
        for row in (self.owner == candidate).nonzero()[:, 0].tolist():
            toward = self.covariance @ self.rows[row]
            along = self.rows @ toward
            share = self.information[row] / (1 + self.information[row] * along[row])
            self.covariance -= share * torch.outer(toward, toward)
            self.variance = (self.variance - share * along.square()).clamp_min(0)


def greedy(
    gains: Gains, count: int, *, allowed: Tensor, group: Tensor | None = None, most: int = 0
) -> tuple[list[int], list[float]]:
    """The candidates that tell most, each given those before it, and what each tells.

    Of one group at most so many are taken; fewer than `count` come back where no more are allowed.
    """
    free = allowed.clone()
    left: dict[int, int] = {}
    places: list[int] = []
    told: list[float] = []
    while len(places) < count and bool(free.any()):
        value, place = torch.where(free, gains.now(), -torch.inf).max(0)
        best = int(place)
        places.append(best)
        told.append(float(value))
        gains.take(best)
        free[best] = False
        if group is not None:
            of = int(group[best])
            left[of] = left.get(of, most) - 1
            if left[of] == 0:
                free[group == of] = False
    return places, told


def _entropy(chances: Tensor) -> Tensor:
    return -(torch.xlogy(chances, chances) + torch.xlogy(1 - chances, 1 - chances))
