"""Training a reward model, ours beside TRL's RewardTrainer, on the same model, pairs, steps and precision.

    python -m bench.rewards [--workload short long four] [--pairs 128] [--repeats 3] [--precision auto]

The peer lives in build/peer-trl, an environment of its own that the first run makes (trl 1.16.0, torch 2.13.0).
Both train all weights from the same folder for one epoch, with AdamW, the same peak rate and schedule, the
same number of pairs a step, the same limit of length, and no dropout; TRL is given the same token ids. In turn, several times; medians.

`short` is a prompt of some 34 tokens with two answers of some 47, `long` has the long tails of real talk
(prompts up to 800 tokens), `four` has four answers to a prompt, all six pairs of which are trained on. TRL runs
without gradient checkpointing, which would cost it time; on `long` also with its grouping by length, which
needs a column that it doesn't make. The precision `auto` is bfloat16 where the processor computes in it.
Seconds are those of the steps alone; peak is the memory of the whole process.
"""

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEER = ROOT / "build" / "peer-trl"
PEER_NEEDS = ("torch==2.13.0", "trl==1.16.0")
SIZES = {  # hidden, layers, heads, intermediate, vocabulary
    "tiny": (128, 4, 4, 352, 4096),
    "small": (384, 6, 6, 1024, 8192),
    "mid": (768, 12, 12, 2048, 16384),
}
MARKS = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
HELD_OUT = 200


@dataclass(frozen=True, slots=True)
class Workload:
    """Lengths in words, log-normal: median, spread, least, most."""

    prompt: tuple[float, float, int, int]
    answer: tuple[float, float, int, int]
    answers: int = 2


WORKLOADS = {
    "short": Workload((34, 0.25, 20, 62), (47, 0.4, 19, 120)),
    "long": Workload((86, 0.85, 10, 798), (31, 0.85, 5, 572)),
    "four": Workload((100, 0.4, 20, 400), (50, 0.4, 10, 200), answers=4),
}


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took."""

    seconds: float
    processor: float
    peak: int
    accuracy: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--pairs", type=int, default=128, help="comparisons to train on")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", choices=("ours", "peer"), help="leave the other side out")
    options = parser.parse_args()
    precision = fitting(options.precision, options.device)
    if options.only != "ours":
        install()
    print(
        f"{options.size} model, {options.pairs} comparisons, 16 a step, one epoch, {precision}, "
        f"{options.threads} threads, medians of {options.repeats}"
    )
    print(f"{'':22}{'seconds':>9}{'pairs/s':>9}{'tokens/s':>10}{'CPU s':>8}{'peak MiB':>10}{'held-out':>10}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_model(folder / "model", options.size)
        for name in options.workload:
            compare(name, folder, precision, options)


def compare(name: str, folder: Path, precision: str, options: argparse.Namespace) -> None:
    """Run both sides in turn and print what each took."""
    data = folder / name
    data.mkdir()
    pairs, tokens = make_data(WORKLOADS[name], folder / "model", data, options.pairs)
    sides = {}
    if options.only != "peer":
        sides["ours"] = lambda turn: ours(folder, data, precision, options, turn)
    if options.only != "ours":
        sides["TRL"] = lambda turn: peer(folder, data, precision, options, turn, each=pairs // options.pairs)
        if name == "long":
            sides["TRL, by length"] = lambda turn: peer(folder, data, precision, options, turn, grouped=True)
    runs: dict[str, list[Took]] = {side: [] for side in sides}
    for turn in range(options.repeats):
        for side, run in sides.items():
            runs[side].append(run(turn))
    found = {side: middle(took) for side, took in runs.items()}
    for side, took in found.items():
        ratio = ""
        if side != "ours" and "ours" in found:
            mine = found["ours"]
            share = mine.peak / took.peak
            ratio = f"  ours {took.seconds / mine.seconds:.2f} times as fast, {share:.0%} of its memory"
        print(
            f"{name + ': ' + side:22}{took.seconds:9.2f}{pairs / took.seconds:9.1f}{tokens / took.seconds:10,.0f}"
            f"{took.processor:8.1f}{took.peak / 2**20:10,.0f}{took.accuracy:10.3f}{ratio}",
            flush=True,
        )


def middle(runs: list[Took]) -> Took:
    return Took(
        *(statistics.median(column) for column in zip(*(asdict(run).values() for run in runs), strict=True))
    )


def ours(folder: Path, data: Path, precision: str, options: argparse.Namespace, turn: int) -> Took:
    output = data / f"ours-{turn}"
    words = [
        *("--model", folder / "model", "--pairs", data / "pairs.jsonl", "--eval-pairs", data / "eval.jsonl"),
        *("--train", "full", "--members", "1", "--epochs", "1", "--batch-size", "16", "--output", output),
        *("--learning-rate", "3e-4", "--max-length", "1024", "--precision", precision, "--seed", turn),
        *("--checkpoint-every", "100000", "--reference-samples", "64", "--device", options.device),
    ]
    launched([sys.executable, "-m", "rewards.train", *map(str, words)], options)
    found = json.loads((output / "result.json").read_text())
    return Took(
        found["training_seconds"],
        found["training_processor_seconds"],
        found["peak_memory_bytes"],
        found["eval_accuracy"],
    )


def peer(
    folder: Path,
    data: Path,
    precision: str,
    options: argparse.Namespace,
    turn: int,
    *,
    each: int = 1,
    grouped: bool = False,
) -> Took:
    settings: dict[str, Any] = {
        "model": str(folder / "model"),
        "train": str(data / "train-ids.jsonl"),
        "eval": str(data / "eval-ids.jsonl"),
        "output": str(data / "peer"),
        "answer": str(data / "answer.json"),
        "micro_batch": 16,
        "batch": 16 * each,
        "epochs": 1,
        "learning_rate": 3e-4,
        "warm_up": max(1, round(0.03 * math.ceil(options.pairs / 16))),
        "max_length": 1024,
        "precision": precision,
        "checkpointing": False,
        "grouped": grouped,
        "device": options.device,
        "threads": options.threads,
        "seed": turn,
    }
    (data / "settings.json").write_text(json.dumps(settings))
    launched(
        [
            str(PEER / "bin" / "python"),
            "-P",
            str(ROOT / "bench" / "rewards_peer.py"),
            str(data / "settings.json"),
        ],
        options,
    )
    return Took(**json.loads((data / "answer.json").read_text()))


def launched(command: list[str], options: argparse.Namespace) -> None:
    environment = os.environ | {
        "OMP_NUM_THREADS": str(options.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "1000",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def fitting(precision: str, device: str) -> str:
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bfloat16"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def install() -> None:
    """Make the peer's environment, once."""
    if (PEER / "made").is_file():
        return
    print("installing the peer into build/peer-trl", flush=True)
    subprocess.run([sys.executable, "-m", "venv", PEER], check=True)
    subprocess.run(
        [PEER / "bin" / "pip", "install", "-qq", "--disable-pip-version-check", *PEER_NEEDS], check=True
    )
    (PEER / "made").touch()


def make_model(folder: Path, size: str) -> None:
    """A Llama with random weights and a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    hidden, layers, heads, intermediate, vocabulary = SIZES[size]
    words = {mark: place for place, mark in enumerate(MARKS)}
    words |= {f"w{place}": place for place in range(len(MARKS), vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w4"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=MARKS[0], eos_token=MARKS[1], extra_special_tokens=MARKS[2:]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=intermediate,
        vocab_size=vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def make_data(workload: Workload, model: Path, data: Path, count: int) -> tuple[int, int]:
    """Files for both; how many pairs are trained on, and the tokens of their rows."""
    from transformers import AutoTokenizer

    from lm import records
    from lm.records import Message, Pair
    from lm.tokens import Chat

    chat = Chat(AutoTokenizer.from_pretrained(model))
    chance = random.Random(0)
    vocabulary = [f"w{place}" for place in range(len(MARKS), len(chat.tokenizer))]
    often = list(__import__("itertools").accumulate(1 / (place + 3) for place in range(len(vocabulary))))
    liked = {word: chance.choice((-1, 1)) for word in vocabulary[:60]}  # which a reward can be learned from

    def text(shape: tuple[float, float, int, int]) -> str:
        median, spread, least, most = shape
        size = min(most, max(least, round(chance.lognormvariate(math.log(median), spread))))
        return " ".join(chance.choices(vocabulary, cum_weights=often, k=size))

    def worth(answer: str) -> float:
        words = answer.split()
        return sum(liked.get(word, 0) for word in words) / math.sqrt(len(words))

    def some(start: int, number: int, answers: int):
        for place in range(start, start + number):
            asked = (Message(role="user", content=text(workload.prompt)),)
            found = sorted((text(workload.answer) for _ in range(answers)), key=worth, reverse=True)
            for first in range(answers):
                for second in range(first + 1, answers):
                    better, worse = found[first], found[second]
                    if chance.random() < 0.05:
                        better, worse = worse, better
                    yield Pair(
                        prompt_id=f"p{place}", messages=asked, chosen=better, rejected=worse,
                        judgment_id=f"j{place}", size=answers,
                    )  # fmt: skip

    def ids(pair: Pair) -> dict[str, Any]:
        asked = chat.prompt(pair.messages)
        chosen, rejected = (asked + chat.response(each) for each in (pair.chosen, pair.rejected))
        return {"chosen_ids": chosen, "rejected_ids": rejected, "length": max(len(chosen), len(rejected))}

    training = list(some(0, count, workload.answers))
    held_out = list(some(count, HELD_OUT, 2))
    tokens = 0
    for name, rows in (("train", training), ("eval", held_out)):
        records.write(data / ("pairs.jsonl" if name == "train" else "eval.jsonl"), rows)
        with (data / f"{name}-ids.jsonl").open("w") as file:
            for row in map(ids, rows):
                file.write(json.dumps(row) + "\n")
                if name == "train":
                    tokens += len(row["chosen_ids"]) + len(row["rejected_ids"])
    return len(training), tokens


if __name__ == "__main__":
    main()
