"""How much of the rewards a response's length and Markdown explain, without a look at what it says."""

import torch
from torch import Tensor

from rewards import style
from rewards.batches import FOLDS, Preferences
from rewards.bradley_terry import fit_heads

PENALTY = 100.0  # of the content part, on features of deviation 1: that of a head
FREE = 100.0  # style columns are so much larger than the others, so that their ridge is next to none


def explained(rewards: Tensor, preferences: Preferences) -> dict[str, float | None]:
    """Adjusted R^2 of the rewards (responses,) within prompts: on length, on Markdown, on both.

    On log(1 + count): a reward that grows with length seldom does so in proportion. None where there are too
    few responses for so many columns, or where all rewards of a prompt are equal.
    """
    counts = style.counts(preferences.texts)[:, [style.NAMES.index(name) for name in style.MARKDOWN]].log1p()
    lengths = preferences.lengths.double().log1p()[:, None]
    prompts = torch.empty(len(rewards), dtype=torch.long)
    prompts[preferences.chosen] = prompts[preferences.rejected] = preferences.prompt
    columns = {"length": lengths, "markdown": counts, "both": torch.cat([lengths, counts], dim=1)}
    return {name: _r_squared(rewards.double(), each, prompts) for name, each in columns.items()}


def beyond_content(
    differences: Tensor, features: Tensor, pairs: Preferences, folds: Tensor
) -> dict[str, float | None]:
    """How reward differences go with those of length, given what the responses say.

    What they say is the content part of a joint fit of the judgments on features and style: log-odds =
    content + style, the style unpenalised, fitted for each fold of prompts on the others. None where a fold
    leaves nothing to learn from.

    `length_partial` is the partial correlation. Of a reward model that is all content nothing is left once
    content is taken off, and the correlation is one of rounding errors; so the gate looks at `length_part`,
    where content is taken off the length alone: the share of the rewards' deviation that is length.
    """
    nothing: dict[str, float | None] = {"length_partial": None, "length_part": None}
    held_out = [folds == fold for fold in range(FOLDS) if (folds == fold).any()]
    learned_from = torch.stack([~those & pairs.decided for those in held_out])
    if len(held_out) < 2 or not bool(learned_from.any(1).all()):
        return nothing
    content = (features[pairs.chosen] - features[pairs.rejected]).double()
    content = content / (features.double().std(0, correction=0) + 1e-4)
    counted = style.differences(style.counts(pairs.texts), pairs.chosen, pairs.rejected)
    scale = counted.square().mean(0).sqrt()
    counted = counted[:, scale > 0] / scale[scale > 0]
    x = torch.cat([content, FREE * counted], dim=1)
    heads, _ = fit_heads(x, pairs.outcomes, pairs.weight * learned_from, PENALTY)
    part = torch.zeros(len(pairs), dtype=torch.float64)
    for those, head in zip(held_out, heads, strict=True):
        part[those] = content[those] @ head[: content.shape[1]]
    lengths = pairs.lengths.double()
    one, other = lengths[pairs.chosen], lengths[pairs.rejected]
    longer = (one - other) / (one + other + 1)
    kept = pairs.decided & differences.isfinite()
    given, told, longer = part[kept], differences[kept].double(), longer[kept]
    beyond = _without(longer, given)
    return {
        "length_partial": correlation(_without(told, given), beyond),
        "length_part": correlation(told, beyond),
    }


def correlation(one: Tensor, other: Tensor) -> float | None:
    """About 0, no means taken off: turning a pair round turns both signs, and must not matter."""
    size = one.norm() * other.norm()
    return float(one @ other / size) if size > 1e-9 else None


def _without(values: Tensor, given: Tensor) -> Tensor:
    """What is left once a line through the origin is taken off."""
    return values - given * (values @ given) / (given @ given).clamp_min(1e-12)


def _r_squared(values: Tensor, columns: Tensor, groups: Tensor) -> float | None:
    values, columns = _within(values[:, None], groups), _within(columns, groups)
    columns = columns[:, columns.square().sum(0) > 1e-12]
    total = float(values.square().sum())
    freedom = len(values) - len(groups.unique())
    if total < 1e-12 or freedom <= columns.shape[1]:
        return None
    if not columns.shape[1]:
        return 0.0
    fitted = columns @ torch.linalg.lstsq(columns, values, driver="gelsd").solution
    left = float((values - fitted).square().sum())
    return max(0.0, 1 - left / total * freedom / (freedom - columns.shape[1]))


def _within(values: Tensor, groups: Tensor) -> Tensor:
    """Less the mean of the group."""
    _, places = groups.unique(return_inverse=True)
    sums = values.new_zeros(int(places.max()) + 1, values.shape[1]).index_add_(0, places, values)
    return values - (sums / torch.bincount(places)[:, None])[places]
