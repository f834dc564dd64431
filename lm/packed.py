"""Prompts and their responses laid end to end in one row of tokens, each prompt once: nothing is padded.

All of a decoder but its attention treats tokens one by one, so a row made of many needs only an attention
function that keeps them apart. Ours is registered with transformers and so serves every decoder that takes
its attention from there, with adapters or without. Prompt tokens see those before them; tokens of a response
see the whole prompt and those before them in their own response. Without `rows` the function is transformers'
own, so a model may keep it while it also generates or takes padded rows.

On the CPU attention is computed in blocks of like length with a backward of its own: torch's is slow there in
bfloat16. On a GPU it is torch's kernel for sequences of any length; in float32, which that doesn't take, the
blocks again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

NAME = "packed_rows"
OVERHEAD = 8192  # what one block more costs, in products of a query and a key
LARGEST = 1 << 22  # products of queries and keys in a block; a single longer sequence makes its own
TOLERANCE = 1e-3  # between packed and separate rows in float32; what is not a packing is far off
REFUSALS = (ValueError, TypeError, RuntimeError, NotImplementedError, AttributeError, IndexError)
UNTAKEN = ("softcap", "s_aux", "sinks")  # what some models do to the scores, and we don't

_prepared: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Block:
    """Sequences of like length as one tensor; what is filled up points at the row's spare token."""

    queries: Tensor  # (n, q) places in the row
    keys: Tensor  # (n, k)
    bias: Tensor  # (n, q, k) float32: 0 where the query sees the key, else -inf

    def to(self, device: torch.device) -> Block:
        """The same where it is needed."""
        return Block(self.queries.to(device), self.keys.to(device), self.bias.to(device))


@dataclass(frozen=True, slots=True)
class Sequences:
    """The same for a kernel that takes sequences of any length."""

    keys: Tensor  # places in the row of all sequences' keys, one after the other
    queries_upto: Tensor  # (sequences + 1,)
    keys_upto: Tensor
    longest: int


@dataclass(slots=True)
class Rows:
    """R responses with their prompts as one row of T tokens; the last token is spare and nobody sees it."""

    tokens: Tensor  # (T,)
    positions: Tensor  # (T,) of each token in its prompt and response
    ends: Tensor  # (R,) place of the last token of each response, or of its prompt if it is empty
    before: Tensor  # (N,) place of the state from which each response token is drawn
    row: Tensor  # (N,) the response that a token belongs to
    sequences: list[tuple[range, range]]  # places of the queries, and of what they see before their own
    _layout: Layout | None = None
    _lengths: Sequences | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def layout(self, device: torch.device) -> Layout:
        """The blocks for the device of the model, made once for all layers."""
        if self._layout is None:
            self._layout = Layout.of(self.sequences, len(self), device)
        return self._layout

    def lengths(self, device: torch.device) -> Sequences:
        """What a kernel for sequences of any length is given, made once for all layers."""
        if self._lengths is None:
            keys = [torch.tensor([*seen, *own]) for own, seen in self.sequences]
            queries = torch.tensor([0, *(len(own) for own, _ in self.sequences)])
            sizes = torch.tensor([0, *(len(part) for part in keys)])
            self._lengths = Sequences(
                torch.cat(keys).to(device),
                queries.cumsum(0).int().to(device),
                sizes.cumsum(0).int().to(device),
                int(sizes.max()),
            )
        return self._lengths


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks, and the way back from them to the row."""

    blocks: list[Block]
    answered: Tensor  # (T,) where a token's output is among those of all blocks
    seen: list[tuple[Tensor, Tensor]]  # rounds of (tokens, each once; where their key is among all blocks')

    @classmethod
    def of(
        cls,
        sequences: Sequence[tuple[range, range]],
        size: int,
        device: torch.device,
    ) -> Layout:
        """Sequences of like length side by side, as many as that costs less than one block more."""
        blocks, spare = [], size - 1
        answered = torch.zeros(size, dtype=torch.long)
        rounds: list[tuple[list[Tensor], list[Tensor]]] = []
        met = torch.zeros(size, dtype=torch.long)
        queries_before = keys_before = 0
        for group in _alike(sequences):
            block = _block(group, spare)
            real = block.queries != spare
            answered[block.queries[real]] = queries_before + real.flatten().nonzero()[:, 0]
            for number, (own, prompt) in enumerate(group):
                tokens = torch.tensor([*prompt, *own])
                where = keys_before + number * block.keys.shape[1] + torch.arange(len(tokens))
                for times in met[tokens].unique().tolist():
                    which = met[tokens] == times
                    while len(rounds) <= times:
                        rounds.append(([], []))
                    rounds[times][0].append(tokens[which])
                    rounds[times][1].append(where[which])
                met[tokens] += 1
            queries_before += block.queries.numel()
            keys_before += block.keys.numel()
            blocks.append(block.to(device))
        seen_rounds = [
            (torch.cat(tokens).to(device), torch.cat(where).to(device)) for tokens, where in rounds
        ]
        return cls(blocks, answered.to(device), seen_rounds)


def pack(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    device: str | torch.device = "cpu",
) -> Rows:
    """Lay out responses behind their prompts; equal prompts are laid out once, before all their responses."""
    of_prompt: dict[tuple[int, ...], list[int]] = {}
    for number, prompt in enumerate(prompts):
        of_prompt.setdefault(tuple(prompt), []).append(number)
    tokens: list[int] = []
    positions: list[int] = []
    starts, ends, asked_until = ([0] * len(responses) for _ in range(3))
    sequences: list[tuple[range, range]] = []
    for prompt, numbers in of_prompt.items():
        asked = range(len(tokens), len(tokens) + len(prompt))
        tokens += prompt
        positions += range(len(prompt))
        sequences.append((asked, range(0)))
        for number in numbers:
            response = responses[number]
            own = range(len(tokens), len(tokens) + len(response))
            tokens += response
            positions += range(len(prompt), len(prompt) + len(response))
            starts[number], ends[number] = own.start, (own or asked).stop - 1
            asked_until[number] = asked.stop - 1
            if own:
                sequences.append((own, asked))
    spare = len(tokens)
    sequences.append((range(spare, spare + 1), range(0)))
    before, row = [], []
    for number, response in enumerate(responses):
        if response:
            before += [asked_until[number], *range(starts[number], starts[number] + len(response) - 1)]
            row += [number] * len(response)
    return Rows(
        tokens=torch.tensor([*tokens, 0], device=device),
        positions=torch.tensor([*positions, 0], device=device),
        ends=torch.tensor(ends, device=device),
        before=torch.tensor(before, dtype=torch.long, device=device),
        row=torch.tensor(row, dtype=torch.long, device=device),
        sequences=sequences,
    )


def hidden(model: PreTrainedModel, rows: Rows) -> Tensor:
    """The states (T, d) after the last norm of all tokens; `prepare` must have said yes to the model."""
    states: Tensor = model.base_model(
        input_ids=rows.tokens[None],
        position_ids=rows.positions[None],
        attention_mask=rows.tokens.new_zeros(1, 1, 1, 1),  # four dimensions: "made already", and not used
        use_cache=False,
        rows=rows,
    ).last_hidden_state
    return states[0]


def prepare(model: PreTrainedModel) -> bool:
    """Give a model the attention of packed rows, if that leaves its states as they are; says whether.

    Tried on two short rows, for what a model makes of its attention can't be read off its config.
    """
    if model not in _prepared:
        before = model.config._attn_implementation
        _prepared[model] = False
        with contextlib.suppress(*REFUSALS):
            model.set_attn_implementation(NAME)
            _prepared[model] = model.config._attn_implementation == NAME and _agrees(model)
        if not _prepared[model]:
            model.set_attn_implementation(before)
    return _prepared[model]


def longest_seen(model: PreTrainedModel) -> int | None:
    """How far back a token sees where a model's attention slides; such a window is not packed."""
    window = getattr(model.config, "sliding_window", None)
    return window if window and getattr(model.config, "use_sliding_window", True) else None


@torch.no_grad()
def _agrees(model: PreTrainedModel) -> bool:
    size = model.config.get_text_config().vocab_size
    prompts = [[1 % size, 2 % size], [1 % size, 2 % size], [3 % size]]
    responses = [[4 % size, 5 % size, 6 % size], [7 % size], [2 % size, 4 % size]]
    rows = pack(prompts, responses, device=model.device)
    together = hidden(model, rows)[rows.ends].float()
    apart = [
        model.base_model(
            input_ids=torch.tensor([[*prompt, *response]], device=model.device), use_cache=False
        ).last_hidden_state[0, -1]
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    expected = torch.stack(apart).float()
    scale = expected.abs().max()
    coarse = 1 if model.dtype == torch.float32 else 30
    return bool((together - expected).abs().max() <= TOLERANCE * coarse * scale)


def attention(
    module: Any,
    query: Tensor,  # (1, heads, T, d)
    key: Tensor,  # (1, key heads, T, d)
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    rows: Rows | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """What transformers calls in each layer: (1, T, heads, d)."""
    if rows is None:
        found, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **more
        )
        return found, None
    if any(more.get(name) is not None for name in UNTAKEN):
        raise NotImplementedError("attention with capped scores or sinks is not packed")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast may have left them apart
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16):
        return by_lengths(query, key, value, rows.lengths(query.device), scale), None
    layout = rows.layout(query.device)
    with torch.autocast(query.device.type, enabled=False):
        mixed: Tensor = Blockwise.apply(query[0], key[0], value[0], layout, scale)  # type: ignore[no-untyped-call]
    return mixed.transpose(0, 1)[None], None


def by_lengths(query: Tensor, key: Tensor, value: Tensor, lengths: Sequences, scale: float) -> Tensor:
    """By torch's kernel for sequences of any length, whose queries are the last of their keys."""
    queries, keys, values = (part[0].transpose(0, 1) for part in (query, key, value))  # (T, heads, d)
    found: Any = varlen_attn(
        queries.contiguous(),
        keys.index_select(0, lengths.keys),
        values.index_select(0, lengths.keys),
        lengths.queries_upto,
        lengths.keys_upto,
        lengths.longest,
        lengths.longest,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=queries.shape[1] != keys.shape[1],
    )
    mixed: Tensor = found[None]
    return mixed


class Blockwise(torch.autograd.Function):
    """Softmax attention over blocks: (heads, T, d), its backward written out."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
        """Each block by itself, then every token's output from where it came out."""
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        found, chances = [], []
        for block in layout.blocks:
            queries, keys, values = _gathered(block, query, key, value)
            shares = _chances(queries, keys, block.bias, scale)
            found.append(_ungrouped(torch.bmm(shares, values), block, query.shape[0]))
            chances.append(shares)
        ctx.save_for_backward(query, key, value, *chances)
        ctx.layout, ctx.scale = layout, scale
        return torch.cat(found, dim=1).index_select(1, layout.answered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of queries, keys and values; a prompt's keys gather those of all its responses."""
        query, key, value, *chances = ctx.saved_tensors
        gradient = gradient.contiguous()
        by_query, by_key, by_value = [], [], []
        for block, shares in zip(ctx.layout.blocks, chances, strict=True):
            queries, keys, values = _gathered(block, query, key, value)
            given = _grouped(_taken(gradient, block.queries), block, key.shape[0])
            by_value.append(_flat(torch.bmm(shares.transpose(1, 2), given), block))
            moved = torch.bmm(given, values.transpose(1, 2))
            moved = torch._softmax_backward_data(moved, shares, -1, shares.dtype)
            by_query.append(_ungrouped(torch.bmm(moved, keys), block, query.shape[0]))
            by_key.append(_flat(torch.bmm(moved.transpose(1, 2), queries), block))
        return (
            torch.cat(by_query, dim=1).index_select(1, ctx.layout.answered).mul_(ctx.scale),
            _summed(torch.cat(by_key, dim=1), ctx.layout, key).mul_(ctx.scale),
            _summed(torch.cat(by_value, dim=1), ctx.layout, value),
            None,
            None,
        )


def _chances(queries: Tensor, keys: Tensor, bias: Tensor, scale: float) -> Tensor:
    """How much each query takes of each key: (key heads * n, heads a key * q, k).

    The softmax is in float32, which on a CPU is also the faster one.
    """
    scores = torch.bmm(queries, keys.transpose(1, 2))
    count, size, _ = bias.shape
    apart = scores.view(-1, count, scores.shape[1] // size, size, scores.shape[2])
    shares = torch.softmax(torch.add(bias[:, None], apart, alpha=scale), dim=-1)
    return shares.to(scores.dtype).view_as(scores)


def _gathered(block: Block, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A block's queries, keys and values: (key heads * n, …, d)."""
    keys, values = (_taken(part, block.keys).flatten(0, 1) for part in (key, value))
    return _grouped(_taken(query, block.queries), block, key.shape[0]), keys, values


def _taken(row: Tensor, places: Tensor) -> Tensor:
    """(heads, T, d) at places (n, q): (heads, n, q, d)."""
    return row.index_select(1, places.flatten()).view(row.shape[0], *places.shape, row.shape[2])


def _grouped(queries: Tensor, block: Block, key_heads: int) -> Tensor:
    """Queries (heads, n, q, d) beside the key they share: (key heads * n, heads a key * q, d)."""
    heads, count, size, width = queries.shape
    if heads == key_heads:
        return queries.view(heads * count, size, width)
    each = heads // key_heads
    shared = queries.view(key_heads, each, count, size, width).transpose(1, 2)
    return shared.reshape(key_heads * count, each * size, width)


def _ungrouped(found: Tensor, block: Block, heads: int) -> Tensor:
    """The way back: (heads, n * q, d)."""
    count, size = block.queries.shape
    each = found.shape[1] // size
    apart = found.view(-1, count, each, size, found.shape[2]).transpose(1, 2)
    return apart.reshape(heads, count * size, found.shape[2])


def _flat(found: Tensor, block: Block) -> Tensor:
    """(key heads * n, k, d) as (key heads, n * k, d)."""
    return found.view(-1, block.keys.numel(), found.shape[2])


def _summed(found: Tensor, layout: Layout, like: Tensor) -> Tensor:
    """What all blocks say of each token, added up: (key heads, T, d)."""
    (_, where), *others = layout.seen
    order = torch.empty_like(where)
    order[layout.seen[0][0]] = where
    total = found.index_select(1, order)
    for tokens, where in others:
        total.index_copy_(1, tokens, total.index_select(1, tokens) + found.index_select(1, where))
    return total


def _alike(sequences: Sequence[tuple[range, range]]) -> Iterator[list[tuple[range, range]]]:
    """Sequences in groups: another joins where filling it up costs less than a block of its own."""
    group: list[tuple[range, range]] = []
    tall = wide = 0
    for own, seen in sorted(sequences, key=lambda each: (len(each[0]) + len(each[1]), len(each[0]))):
        height, width = len(own), len(own) + len(seen)
        joined = (len(group) + 1) * max(tall, height) * max(wide, width)
        apart = len(group) * tall * wide + height * width + OVERHEAD
        if group and (joined > apart or joined > LARGEST):
            yield group
            group, tall, wide = [], 0, 0
        group.append((own, seen))
        tall, wide = max(tall, height), max(wide, width)
    yield group


def _block(group: Sequence[tuple[range, range]], spare: int) -> Block:
    """Some sequences as one block."""
    tall = max(len(own) for own, _ in group)
    wide = max(len(own) + len(seen) for own, seen in group)
    queries = torch.full((len(group), tall), spare)
    keys = torch.full((len(group), wide), spare)
    for number, (own, seen) in enumerate(group):
        queries[number, : len(own)] = torch.arange(own.start, own.stop)
        keys[number, : len(seen)] = torch.arange(seen.start, seen.stop)
        keys[number, len(seen) : len(seen) + len(own)] = torch.arange(own.start, own.stop)
    before = torch.tensor([len(seen) for _, seen in group])[:, None, None]
    visible = torch.arange(wide) <= torch.arange(tall)[:, None] + before
    visible &= torch.arange(wide) < before + torch.tensor([len(own) for own, _ in group])[:, None, None]
    visible[..., 0] = True  # for the queries that fill up: a softmax needs something to see
    bias = torch.zeros(visible.shape).masked_fill_(~visible, -torch.inf)
    return Block(queries, keys, bias)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
