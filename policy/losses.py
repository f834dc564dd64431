"""What PPO minimises and what it watches, as pure functions of flat tensors.

Tokens of all responses lie one after another, (N,), so there is no padding to mask; `lengths` (B,) says how
many belong to each response. Checked against sums written out by hand in tests/policy/test_losses.py.
"""

import torch
from torch import Tensor

LARGEST_LOG_RATIO = 20.0  # exp of more means nothing
SMALLEST_VARIANCE = 1e-8


def token_rewards(
    scores: Tensor, logprobs: Tensor, reference_logprobs: Tensor, lengths: Tensor, *, kl_coefficient: float
) -> Tensor:
    """The reward of each token: its share of the KL penalty, and at the last one also the score.

    The log-ratio is an unbiased estimate of the KL and may be negative; cutting it at 0 would bias it.
    """
    rewards = -kl_coefficient * (logprobs - reference_logprobs)
    some = lengths > 0
    last = lengths.cumsum(0)[some] - 1
    rewards[last] += scores[some]
    return rewards


def sums(values: Tensor, lengths: Tensor) -> Tensor:
    """For each response, the sum over its tokens."""
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return torch.zeros(len(lengths), dtype=values.dtype, device=values.device).index_add(0, rows, values)


def gae(rewards: Tensor, values: Tensor, lengths: Tensor, *, discount: float, smoothing: float) -> Tensor:
    """Generalised advantage estimation; a response that was cut off counts as over (no bootstrap).

    A_t = delta_t + discount smoothing A_{t+1}, delta_t = r_t + discount V_{t+1} - V_t, V = 0 after the end.
    """
    longest = int(lengths.max()) if len(lengths) else 0
    inside = torch.arange(longest, device=lengths.device) < lengths[:, None]  # (B, T)
    reward, value = (
        torch.zeros(inside.shape, dtype=flat.dtype, device=flat.device).masked_scatter(inside, flat)
        for flat in (rewards, values)
    )
    advantages = torch.zeros_like(reward)
    following = next_value = torch.zeros_like(reward[:, 0]) if longest else reward.sum(1)
    for t in reversed(range(longest)):  # after a response's end all is 0 and stays so
        delta = reward[:, t] + discount * next_value - value[:, t]
        following = delta + discount * smoothing * following
        advantages[:, t], next_value = following, value[:, t]
    return advantages[inside]


def whiten(values: Tensor) -> Tensor:
    """The values with mean 0 and variance 1 (the population's, over all tokens of the rollouts)."""
    return (values - values.mean()) * torch.rsqrt(values.var(correction=0) + SMALLEST_VARIANCE)


def group_advantages(scores: Tensor, samples: int) -> Tensor:
    """Each response's score less the mean score of the prompt's other responses; prompts in order."""
    groups = scores.view(-1, samples)
    others = (groups.sum(1, keepdim=True) - groups) / (samples - 1)
    return (groups - others).reshape(-1)


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, *, clip: float
) -> tuple[Tensor, Tensor]:
    """The clipped loss of each token, and where the clipped term is the larger: there it has no gradient."""
    ratio = (logprobs - old_logprobs).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    plain, clipped = -advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip)
    return torch.maximum(plain, clipped), clipped > plain


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, *, clip: float) -> Tensor:
    """The clipped squared error of each token's value; the clip is in units of the reward."""
    near = torch.clamp(values, old_values - clip, old_values + clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2)


def half_squared(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    """Half the squared change of each token's log-probability; the mean approximates KL(old, new)."""
    return 0.5 * (logprobs - old_logprobs) ** 2


def k3(logprobs: Tensor, reference_logprobs: Tensor) -> Tensor:
    """A second estimate of each token's KL, never negative and less noisy; for logging only.

    Biased as a loss. exp(r) - 1 - r written with expm1, or a small r would drown in rounding.
    """
    ratio = reference_logprobs - logprobs
    return torch.expm1(ratio) - ratio


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """Which part of the returns' variance the values foresee: 1 all, 0 none, below 0 worse than none."""
    variance = returns.var(correction=0)
    return float(1 - (returns - values).var(correction=0) / variance) if variance > 0 else 0.0


def adapted(coefficient: float, *, kl: float, target: float, episodes: int, horizon: int = 10_000) -> float:
    """The KL coefficient after `episodes` rollouts whose mean KL was `kl` (lm-human-preferences)."""
    error = min(max(kl / target - 1, -0.2), 0.2)
    return coefficient * (1 + error * episodes / horizon)
