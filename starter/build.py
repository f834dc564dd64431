"""`make starter`: the shipped model from nothing: corpus, training, figures, card and the demo's files.

Each step is a command anyone can run; one that is done is not done again, one that was cut off goes on.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from lm.config import parse, to_json

HERE = Path(__file__).resolve().parent
SHIPPED = HERE / "model"
DEMO = HERE / "demo"
TUNING_ROW, BATCH = 128, 16  # tokens a row, rows a step


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """How the starter is made."""

    tokens: Annotated[int, "processed in pretraining, padding counted"] = 26_000_000
    rows: Annotated[int, "of the corpus; drills end at 60 % of them, and not all need be read"] = 137_000
    tuning_tokens: Annotated[int, "processed in fine-tuning"] = 400_000
    seed: Annotated[int, "of corpus, weights and samples"] = 1
    held_out: Annotated[int, "prompts of the figures; of 512 each figure is off by up to .04"] = 2048
    demo_prompts: Annotated[int, "prompts of the demo project"] = 1600
    demo_compared: Annotated[int, "of these, prompts with two responses to compare"] = 240
    compile: Annotated[bool, "torch.compile, faster where a compiler is installed"] = False
    folder: Annotated[Path, "for everything on the way"] = Path("build/starter")
    ship: Annotated[bool, "put model, card and demo files into starter/"] = True

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("tokens", "rows", "tuning_tokens", "held_out", "demo_prompts", "demo_compared"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.demo_compared > self.demo_prompts:
            raise ValueError(f"demo_compared is {self.demo_compared}; there are {self.demo_prompts} prompts")


def main(argv: Sequence[str] | None = None) -> None:
    """Make the starter."""
    config = parse(BuildConfig, argv)
    config.folder.mkdir(parents=True, exist_ok=True)
    corpus = write_corpus(config, "pretrain", rows=config.rows)
    tuning = write_corpus(config, "sft", rows=config.tuning_tokens // TUNING_ROW + 2 * BATCH)
    pretrained, tuned = config.folder / "pretrained", config.folder / "tuned"
    train("policy.pretrain", pretrained, corpus=corpus, tokens=config.tokens, seed=config.seed,
          compile=config.compile)  # fmt: skip
    train("policy.sft", tuned, model=pretrained, rows=tuning, tokens=config.tuning_tokens, seed=config.seed)
    figures = config.folder / "figures.json"
    if not figures.is_file():
        run("starter.acceptance", "--model", tuned, "--prompts", config.held_out, "--output", figures)
    print(figures.read_text(encoding="utf-8"))
    if config.ship:
        ship(tuned, json.loads(figures.read_text(encoding="utf-8")), config)


def write_corpus(config: BuildConfig, mix: str, *, rows: int) -> Path:
    """The rows of a mix; written aside, so that half a file is never taken for a whole one."""
    target = config.folder / f"{mix}-{rows}-{config.seed}.jsonl"
    if not target.is_file():
        aside = target.with_suffix(".tmp")
        run("starter.corpus", "--mix", mix, "--rows", rows, "--seed", config.seed, "--output", aside)
        aside.rename(target)
    return target


def train(module: str, output: Path, **settings: object) -> None:
    """Run a training to its end, or on to its end."""
    if (output / "result.json").is_file():
        return
    flags: list[object] = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        flags += [flag if value else f"--no-{name}"] if isinstance(value, bool) else [flag, value]
    resume = ["--resume"] if (output / "config.json").is_file() else []
    run(module, *flags, "--output", output, *resume)


def run(module: str, *arguments: object) -> None:
    """Run a command of ours; its failure is ours."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    print("$ python -m", module, *map(str, arguments), flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def ship(tuned: Path, figures: dict[str, Any], config: BuildConfig) -> None:
    """Put model, card, settings and the demo's files into the repository."""
    aside = SHIPPED.with_name(".model")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(tuned / "model", aside, ignore=shutil.ignore_patterns("readouts.safetensors"))
    settings = {
        "build": to_json(config) | {"folder": "build/starter"},
        "pretraining": recorded(config.folder / "pretrained"),
        "fine_tuning": recorded(tuned),
        "figures": figures,
    }
    (aside / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    (aside / "README.md").write_text(card(settings), encoding="utf-8")
    shutil.rmtree(SHIPPED, ignore_errors=True)
    aside.rename(SHIPPED)
    run("starter.prompts", "--count", config.demo_prompts, "--seed", config.seed + 100, "--output",
        DEMO / "prompts.jsonl")  # fmt: skip
    compared = config.folder / "compared.jsonl"
    lines = (DEMO / "prompts.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    compared.write_text("".join(lines[: config.demo_compared]), encoding="utf-8")
    shutil.rmtree(config.folder / "samples", ignore_errors=True)
    run("policy.sample", "--policies", SHIPPED, "--names", "starter", "--prompts", compared, "--samples", 2,
        "--seed", config.seed, "--output", config.folder / "samples")  # fmt: skip
    shutil.copy(config.folder / "samples" / "responses.jsonl", DEMO / "responses.jsonl")


def recorded(run_directory: Path) -> dict[str, Any]:
    """Config and result of a run; paths as they are in the repository."""
    config = json.loads((run_directory / "config.json").read_text(encoding="utf-8"))
    result = json.loads((run_directory / "result.json").read_text(encoding="utf-8"))
    return {"config": config, "result": result}


def card(settings: dict[str, Any]) -> str:
    """The model card: what it is, how it was made, what it reaches."""
    figures, trained = settings["figures"], settings["pretraining"]["result"]
    rows = "\n".join(
        f"| {title} | {demanded} | {warm[key]:.3f} | {demanded_cool} | {cool[key]:.3f} | {corpus[key]:.3f} |"
        for warm, cool, corpus in [(figures["1.0"], figures["0.7"], figures["corpus"])]
        for title, key, demanded, demanded_cool in (
            ("facts right: named values that stand in the notes", "facts_right", ".85", ".94"),
            ("correct: the asked fact is there, nothing wrong is", "correct", ".65", ".85"),
            ("clean: sentences that the generator could have written", "clean", ".955", ".985"),
            ("distinct responses", "distinct", "", ""),
        )
    )
    megabytes, apart = figures["bytes"] / 1e6, figures["logits_difference"]
    minutes, tuning = trained["seconds"] / 60, settings["fine_tuning"]["result"]
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
language: en
---

# Rankloop starter

A decoder of the Llama shape with {figures["parameters"]:,} parameters ({megabytes:.2f} MB of fp32
safetensors), trained from nothing on text of our own generator (`starter/`). It answers a question from
notes in the prompt, in one to four sentences, and errs in the ways people care about: wrong values, beside
the point, rude, pushy, vague, jargon, repetition. So a person can prefer one response to another, and a round
of learning shows within minutes on two cores. It knows nothing else and is of no use outside Rankloop's demo
and tests.

    from transformers import AutoModelForCausalLM, AutoTokenizer
    model = AutoModelForCausalLM.from_pretrained("starter/model")

Prompts: a system message `Notes: kettle Ardo; price: $65; colour: teal`, then a question. Sample at
temperature 1 for comparisons, 0.7 to show it off.

## Made by

`make starter`: {trained["tokens_processed"]:,} tokens of pretraining in {minutes:.0f} minutes on a CPU, then
{tuning["tokens_processed"]:,} tokens of fine-tuning. Every setting and loss is in `settings.json` beside
this file. No text, weights or tokenizer from elsewhere; names, a tenth of them held out, are invented.

## Reaches

{settings["build"]["held_out"]} prompts with held-out names, measured by `python -m starter.acceptance`.

| | demanded, temperature 1 | reached | demanded, 0.7 | reached | the corpus itself |
| --- | --- | --- | --- | --- | --- |
{rows}

Logits of `AutoModelForCausalLM` and of the training code differ by at most {apart:.1e}.
"""


if __name__ == "__main__":
    main()
