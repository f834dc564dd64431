"""How probable a model finds responses: log-probabilities, entropy and KL in fp32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from lm import backbone, packed

LOGITS_BYTES = 64 * 2**20  # of one chunk; a vocabulary of 150,000 then takes 111 tokens at a time


@dataclass(frozen=True, slots=True)
class Scored:
    """One forward of rows of prompt and response; of the N response tokens only, one row after the other."""

    hidden: Tensor  # (N, d) the state before each token, from which it was drawn
    logprobs: Tensor  # (N,) fp32; (0,) if they weren't asked for
    tokens: Tensor  # (N,)
    row: Tensor  # (N,) the row that a token belongs to
    last: Tensor  # (B, d) the state at the last token of each row
    lengths: Tensor  # (B,) of the responses

    def sums(self) -> Tensor:
        """The log-probability of each whole response: (B,)."""
        return self.logprobs.new_zeros(len(self.lengths)).index_add(0, self.row, self.logprobs)


def score(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
    with_logprobs: bool = True,
) -> Scored:
    """States and log-probabilities of given responses; gradients flow unless torch is told otherwise."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; log-probabilities need one above 0")
    _check_rows(prompts, responses)
    if packs(model, prompts, responses):
        return _score_packed(model, prompts, responses, temperature, with_logprobs)
    device = model.device
    rows = [torch.tensor([*prompt, *response]) for prompt, response in zip(prompts, responses, strict=True)]
    lengths = torch.tensor([len(response) for response in responses])
    ends = torch.tensor([len(row) for row in rows])
    width = -(-int(ends.max()) // 8) * 8  # a multiple of 8: shapes that come again are faster
    ids = torch.nn.functional.pad(pad_sequence(rows, batch_first=True), (0, width - int(ends.max())))
    real = torch.arange(width) < ends[:, None]
    at = torch.arange(len(rows)) * width
    row = torch.repeat_interleave(torch.arange(len(rows)), lengths)
    within = torch.arange(len(row)) - torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
    places = (at + ends - lengths)[row] + within  # of the response's tokens, in rows laid end to end
    tokens = ids.view(-1)[places].to(device)
    states = backbone.hidden(model, ids.to(device), real.to(device)).flatten(0, 1)
    before = states[(places - 1).to(device)]  # a token is drawn from the state one place earlier
    return Scored(
        hidden=before,
        logprobs=_logprobs(model, before, tokens, temperature) if with_logprobs else states.new_zeros(0),
        tokens=tokens,
        row=row.to(device),
        last=states[(at + ends - 1).to(device)],
        lengths=lengths.to(device),
    )


@torch.no_grad()
def score_all(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    temperature: float = 1.0,
    batch_tokens: int = 16384,
    with_logprobs: bool = True,
) -> Scored:
    """`score` for any number of rows, in batches of rows about as long; the answer is in the order given."""
    _check_rows(prompts, responses)
    sizes = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
    order: list[int] = []
    parts = []
    shared = packs(model, prompts, responses)
    batches = _packed_batches(prompts, responses, batch_tokens) if shared else _batches(sizes, batch_tokens)
    for rows in batches:
        order += rows
        batch = [prompts[i] for i in rows], [responses[i] for i in rows]
        parts.append(score(model, *batch, temperature=temperature, with_logprobs=with_logprobs))
    return _in_order(parts, order)


def exact_kl(policy_logits: Tensor, reference_logits: Tensor) -> Tensor:
    """KL(policy || reference) at each position, over the whole vocabulary: (N, V) twice to (N,).

    sum_v p_v (log p_v - log q_v); divide both by the temperature first if there is one.
    """
    policy = policy_logits.float().log_softmax(-1)
    reference = reference_logits.float().log_softmax(-1)
    return (policy.exp() * (policy - reference)).sum(-1)


def entropy(logits: Tensor) -> Tensor:
    """How undecided a model is at each position, in nats: (N, V) to (N,)."""
    logprobs = logits.float().log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def packs(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> bool:
    """Whether these rows go through the model end to end, each prompt once, and not padded."""
    window = packed.longest_seen(model)
    if window is not None and any(map(lambda p, r: len(p) + len(r) > window, prompts, responses)):
        return False
    return packed.prepare(model)


def _score_packed(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    temperature: float,
    with_logprobs: bool,
) -> Scored:
    """What `score` gives, without padding and with each prompt once."""
    rows = packed.pack(prompts, responses, device=model.device)
    states = packed.hidden(model, rows)
    lengths = torch.tensor([len(response) for response in responses], device=model.device)
    tokens = torch.tensor([token for response in responses for token in response], dtype=torch.long)
    tokens = tokens.to(model.device)
    before = states[rows.before]
    return Scored(
        hidden=before,
        logprobs=_logprobs(model, before, tokens, temperature) if with_logprobs else states.new_zeros(0),
        tokens=tokens,
        row=rows.row,
        last=states[rows.ends],
        lengths=lengths,
    )


def _logprobs(model: PreTrainedModel, hidden: Tensor, tokens: Tensor, temperature: float) -> Tensor:
    """Chunk by chunk, so that logits of large vocabularies never stand side by side in memory."""

    def of(hidden: Tensor, tokens: Tensor) -> Tensor:
        scores = backbone.logits(model, hidden) / temperature
        return scores.gather(1, tokens[:, None])[:, 0] - scores.logsumexp(1)

    size = max(1, LOGITS_BYTES // (4 * model.get_output_embeddings().weight.shape[0]))
    if len(tokens) <= size:
        return of(hidden, tokens)
    chunks = zip(hidden.split(size), tokens.split(size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([of(*chunk) for chunk in chunks])
    return torch.cat([checkpoint(of, *chunk, use_reentrant=False) for chunk in chunks])


def _in_order(parts: Sequence[Scored], order: Sequence[int]) -> Scored:
    """Batches as one; `order` says which row of the whole each of their rows is."""
    device = parts[0].row.device
    back = torch.tensor(order, device=device).argsort()
    lengths = torch.cat([part.lengths for part in parts])
    starts = (lengths.cumsum(0) - lengths)[back]  # of each row's tokens, among those of all batches
    lengths = lengths[back]
    row = torch.repeat_interleave(torch.arange(len(order), device=device), lengths)
    places = torch.arange(len(row), device=device) + (starts - (lengths.cumsum(0) - lengths))[row]
    logprobs = torch.cat([part.logprobs for part in parts])
    return Scored(
        hidden=torch.cat([part.hidden for part in parts])[places],
        logprobs=logprobs[places] if len(logprobs) else logprobs,
        tokens=torch.cat([part.tokens for part in parts])[places],
        row=row,
        last=torch.cat([part.last for part in parts])[back],
        lengths=lengths,
    )


def _batches(sizes: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Rows by size, as many at a time as fit, padding included; a row that is too long comes alone."""
    batch: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batch and (len(batch) + 1) * sizes[i] > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    yield batch


def _packed_batches(
    prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], batch_tokens: int
) -> Iterator[list[int]]:
    """Rows by prompt and size, as many at a time as fit; a prompt counts once in a batch."""
    keys = [tuple(prompt) for prompt in prompts]
    batch: list[int] = []
    held, known = 0, None
    order = sorted(range(len(keys)), key=lambda i: (len(keys[i]), keys[i], len(responses[i])))
    for i in order:
        more = len(responses[i]) + (0 if keys[i] == known else len(keys[i]))
        if batch and held + more > batch_tokens:
            yield batch
            batch, held, more = [], 0, len(keys[i]) + len(responses[i])
        batch.append(i)
        held, known = held + more, keys[i]
    yield batch


def _check_rows(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> None:
    if len(prompts) != len(responses) or not prompts:
        raise ValueError(
            f"{len(prompts)} prompts and {len(responses)} responses; there must be as many of both"
        )
    if empty := [i for i, prompt in enumerate(prompts) if not prompt]:
        raise ValueError(f"prompt {empty[0]} has no tokens, so nothing says how its response begins")
