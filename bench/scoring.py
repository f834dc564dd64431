"""Scoring responses: rewards.score's way beside a padded loop, on the same weights, in one process.

    python -m bench.scoring [--workload short long four] [--responses 600] [--repeats 3] [--precision float32]

The loop is what one writes first: sixteen rows at a time in the order of the file, padded to the longest, the
model's own forward with its mask, the state at the last token times the head. Both are given token ids, so
neither tokenises. CPU seconds and wall seconds are medians; the largest difference of two rewards is shown.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.rewards import SIZES, WORKLOADS, make_data, make_model

BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--responses", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args()
    print(f"{options.size} model, about {options.responses} responses, {options.precision}, medians")
    with tempfile.TemporaryDirectory() as place:
        make_model(Path(place) / "model", options.size)
        for name in options.workload:
            compare(name, Path(place), options)


def compare(name: str, folder: Path, options: argparse.Namespace) -> None:
    import torch

    from lm import backbone
    from lm.tokens import Chat
    from rewards.batches import read_pairs
    from rewards.trunks import Trunk

    data = folder / name
    data.mkdir()
    workload = WORKLOADS[name]
    make_data(workload, folder / "model", data, options.responses // workload.answers)
    plain, model = backbone.load(folder / "model"), backbone.load(folder / "model")
    if options.precision == "bfloat16":
        plain, model = plain.bfloat16(), model.bfloat16()
    chat = Chat.load(folder / "model")
    pairs = read_pairs(data / "pairs.jsonl", chat, max_length=2048)
    head = torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(0))
    trunk = Trunk(model, chat, "last")

    @torch.no_grad()
    def ours() -> torch.Tensor:
        return trunk.read_all(pairs.prompts, pairs.responses).float() @ head

    @torch.no_grad()
    def loop() -> torch.Tensor:
        rows = [[*prompt, *response] for prompt, response in zip(pairs.prompts, pairs.responses, strict=True)]
        found = []
        for begin in range(0, len(rows), BATCH):
            batch = rows[begin : begin + BATCH]
            width = max(map(len, batch))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in batch])
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in batch])
            states = plain.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
            found.append(states[torch.arange(len(batch)), mask.sum(1) - 1])
        return torch.cat(found).float() @ head

    (rewards, wall, used), (expected, slow, spent) = (
        timed(ours, options.repeats),
        timed(loop, options.repeats),
    )
    apart = float((rewards - expected).abs().max())
    print(
        f"{name:6} {len(expected):5} responses  ours {wall:6.2f} s (CPU {used:5.1f})  loop {slow:6.2f} s "
        f"(CPU {spent:5.1f})  {slow / wall:.2f} times as fast (CPU {spent / used:.2f}), apart by {apart:.1g}"
    )


def timed(run: Callable[[], object], repeats: int) -> tuple[object, float, float]:
    walls, useds = [], []
    answer = run()  # once to warm up
    for _ in range(repeats):
        began, used = time.perf_counter(), time.process_time()
        answer = run()
        walls.append(time.perf_counter() - began)
        useds.append(time.process_time() - used)
    return answer, statistics.median(walls), statistics.median(useds)


if __name__ == "__main__":
    main()
