"""What a frozen model knows of a response: its state at the end, and how likely it found the words.

The likelihoods carry what the state hardly does: a wrong value is improbable (measured on the starter).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lm import logprobs
from lm.logprobs import Scored

LIKELIHOODS = ("mean", "smallest", "sum", "mean_of_two_smallest")  # the last columns, in this order
CHUNK = 256  # responses whose states are held at once


def features(scored: Scored) -> Tensor:
    """One row for each response, (B, d + 4) in float32: the state at its last token, then LIKELIHOODS.

    The log-probabilities must be those at temperature 1. A response without tokens gets zeros for them.
    """
    lengths = scored.lengths
    rows, longest = len(lengths), max(2, int(lengths.max()))
    starts = lengths.cumsum(0) - lengths
    place = torch.arange(len(scored.row), device=lengths.device) - starts[scored.row]
    padded = scored.logprobs.new_full((rows, longest), torch.inf)
    padded = padded.index_put((scored.row, place), scored.logprobs.float())
    two = padded.topk(2, dim=1, largest=False).values.masked_fill_(
        torch.arange(2, device=lengths.device) >= lengths[:, None], 0
    )
    total = padded.masked_fill(padded.isinf(), 0).sum(1)
    count = lengths.clamp_min(1)
    columns = [total / count, two[:, 0], total, two.sum(1) / count.clamp_max(2)]
    return torch.cat([scored.last.float(), torch.stack(columns, dim=1)], dim=1)


@torch.no_grad()
def extract(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 16384,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """The features of many responses, on the CPU, in the order given; progress is told how many are done."""
    lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    order = sorted(
        range(len(lengths)), key=lengths.__getitem__, reverse=True
    )  # the largest batch comes first
    found = []
    for begin in range(0, len(order), CHUNK):
        chunk = order[begin : begin + CHUNK]
        scored = logprobs.score_all(
            model, [prompts[i] for i in chunk], [responses[i] for i in chunk], batch_tokens=batch_tokens
        )
        found.append(features(scored).cpu())
        if progress:
            progress(begin + len(chunk))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
    return torch.cat(found)[back]
