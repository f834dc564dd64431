"""Draw responses from a model: a decode loop of our own, so that what is drawn is what is scored.

Nothing but the arguments decides: the model's own generation_config (top_k, penalties) is never read.
Each row's uniform numbers are drawn beforehand, so neither other rows that finish nor the size of a batch
change which number decides a token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from lm import backbone


@dataclass(frozen=True, slots=True)
class Drawn:
    """One response as it was drawn."""

    tokens: list[int]  # the stop token included when it came
    logprobs: Tensor  # (T,) fp32, under the whole distribution at this temperature; at 0, under that at 1
    ended: bool  # whether a stop token came


@torch.no_grad()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    samples: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    max_new_tokens: int = 60,
    stop_ids: Collection[int],
    generator: torch.Generator,
    batch_size: int = 256,
    progress: Callable[[int], None] | None = None,
) -> list[Drawn]:
    """`samples` responses to each prompt, a prompt's side by side; a temperature of 0 takes the likeliest.

    A prompt goes through the model once for all its samples. `progress` is told how many responses are done.
    """
    _check(model, prompts, samples, temperature, top_p, max_new_tokens)
    uniform = torch.rand(
        len(prompts) * samples, max_new_tokens, generator=generator, device=generator.device
    ).to(model.device)
    drawn: dict[int, Drawn] = {}
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    at_once = max(1, batch_size // samples)
    training = model.training
    model.eval()  # gradient checkpointing would switch the cache off
    try:
        for start in range(0, len(by_length), at_once):
            chosen = by_length[start : start + at_once]
            rows = [i * samples + sample for i in chosen for sample in range(samples)]
            picker = _Picker(temperature, top_p, uniform[rows])
            tokens, logprobs = _decode(model, [prompts[i] for i in chosen], picker, samples, stop_ids)
            drawn |= zip(rows, _cut(tokens, logprobs, stop_ids), strict=True)
            if progress is not None:
                progress(len(drawn))
    finally:
        model.train(training)
    return [drawn[row] for row in range(len(drawn))]


def _decode(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    picker: _Picker,
    samples: int,
    stop_ids: Collection[int],
) -> tuple[Tensor, Tensor]:
    """Tokens and log-probabilities (rows, steps); what stands after a row's stop token means nothing."""
    device = model.device
    rows, steps = picker.uniform.shape
    width = max(map(len, prompts))
    padding = torch.tensor([width - len(prompt) for prompt in prompts], device=device)
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.arange(width + steps, device=device) >= padding[:, None]  # also for what is to come
    ragged = bool(padding.any())
    stops = torch.tensor(sorted(stop_ids), device=device, dtype=torch.long)
    cache = _cache(model, width + steps)

    def forward(ids: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        states: Tensor = model.base_model(
            input_ids=ids,
            attention_mask=seen if ragged else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state
        return states[:, -1]

    state = forward(ids, backbone.position_ids(mask[:, :width]), mask[:, :width])
    if samples > 1:
        cache.batch_repeat_interleave(samples)
    state, mask, padding = (value.repeat_interleave(samples, 0) for value in (state, mask, padding))
    tokens = torch.full((rows, steps), -1, device=device)
    logprobs = torch.zeros(rows, steps, device=device)
    live = torch.arange(rows, device=device)  # the rows still in the batch
    done = torch.zeros(rows, dtype=torch.bool, device=device)
    for step in range(steps):
        token, logprob = picker(backbone.logits(model, state), live, step)
        tokens[live, step] = token
        logprobs[live, step] = logprob
        done |= torch.isin(token, stops)
        finished = int(done.sum())
        if finished == len(live) or step == steps - 1:
            break
        if 4 * finished >= len(live):
            kept = (~done).nonzero()[:, 0]
            cache.batch_select_indices(kept)
            live, token, mask, padding, done = (value[kept] for value in (live, token, mask, padding, done))
        here = width + step
        state = forward(token[:, None], (here - padding)[:, None], mask[:, : here + 1])
    return tokens, logprobs


@dataclass(frozen=True, slots=True)
class _Picker:
    """Picks the next token of each row."""

    temperature: float
    top_p: float
    uniform: Tensor  # (rows, steps), in [0, 1): the number that decides each token

    def __call__(self, logits: Tensor, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Tokens and log-probabilities of the rows: (len(rows),) each."""
        probabilities = (logits / (self.temperature or 1.0)).softmax(1)
        if self.temperature == 0:
            token = logits.argmax(1)
        elif self.top_p < 1:
            sorted_, order = probabilities.sort(1, descending=True)
            before = sorted_.cumsum(1) - sorted_
            sorted_ = sorted_.masked_fill(before >= self.top_p, 0)  # the first always stays
            token = order.gather(1, self._inverse(sorted_, rows, step)[:, None])[:, 0]
        else:
            token = self._inverse(probabilities, rows, step)
        return token, probabilities.gather(1, token[:, None])[:, 0].log()

    def _inverse(self, weights: Tensor, rows: Tensor, step: int) -> Tensor:
        """The place where the cumulated weights pass the row's number."""
        cumulated = weights.cumsum(1)
        threshold = self.uniform[rows, step, None] * cumulated[:, -1:]
        place = torch.searchsorted(cumulated, threshold, right=True)[:, 0]
        last = (weights > 0).sum(1) - 1 if self.top_p < 1 else weights.shape[1] - 1
        return torch.minimum(place, torch.as_tensor(last, device=place.device))  # where the product rounds up


class _RoomyLayer(DynamicLayer):
    """A layer's keys and values with room for all that are to come, where others copy them at each step."""

    def __init__(self, room: int):
        super().__init__()  # type: ignore[no-untyped-call] # transformers has no types here
        self.room = room

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Write the new ones behind the others."""
        start = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stored = _with_room(key_states, self.room), _with_room(value_states, self.room)
        else:
            for stored, states in zip(self._stored, (key_states, value_states), strict=True):
                stored[:, :, start : start + states.shape[2]] = states
        return self._show(start + key_states.shape[2])

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Let each row stand `repeats` times."""
        rows = torch.arange(len(self._stored[0]), device=self._stored[0].device)
        self.batch_select_indices(rows.repeat_interleave(repeats))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows."""
        length = self.get_seq_length()
        keys, values = (_with_room(stored[indices, :, :length], self.room) for stored in self._stored)
        self._stored = keys, values
        self._show(length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (stored[:, :, :length] for stored in self._stored)
        return self.keys, self.values


def _with_room(states: Tensor, room: int) -> Tensor:
    """The states (rows, heads, length, size) in a tensor that is `room` long."""
    rows, heads, length, size = states.shape
    roomy = states.new_empty(rows, heads, room, size)
    roomy[:, :, :length] = states
    return roomy


def _cache(model: PreTrainedModel, room: int) -> DynamicCache:
    """The model's own kinds of layers, but those that see everything with room."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _cut(tokens: Tensor, logprobs: Tensor, stop_ids: Collection[int]) -> list[Drawn]:
    """Each row up to its first stop token, which stays."""
    drawn = []
    for row, found in zip(tokens.tolist(), logprobs.cpu(), strict=True):
        end = next((place for place, token in enumerate(row, start=1) if token in stop_ids), None)
        drawn.append(Drawn(row[:end], found[:end].clone(), end is not None))
    return drawn


def _check(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    samples: int,
    temperature: float,
    top_p: float,
    max_new_tokens: int,
) -> None:
    if samples < 1 or max_new_tokens < 1:
        raise ValueError(f"samples is {samples} and max_new_tokens {max_new_tokens}; both must be at least 1")
    if temperature < 0 or not 0 < top_p <= 1:
        raise ValueError(
            f"temperature is {temperature} and top_p {top_p}; they must be at least 0, and above 0 up to 1"
        )
    if not prompts or not all(prompts):
        raise ValueError("every prompt must have tokens, and there must be one")
    room = getattr(model.config, "max_position_embeddings", None)
    longest = max(map(len, prompts))
    if room is not None and longest + max_new_tokens > room:
        raise ValueError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones are more than the {room} "
            "that the model has places for"
        )
