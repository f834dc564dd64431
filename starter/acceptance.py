"""What the starter reaches on prompts with held-out names, at two temperatures, beside the corpus itself."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from transformers import AutoModelForCausalLM

from lm.backbone import hidden, load, logits, model_folder
from lm.config import parse
from lm.generate import generate
from lm.tokens import Chat
from starter.measure import measure
from starter.scenes import Scene, respond, scene

SEED = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceConfig:
    """What to measure."""

    model: Annotated[Path, "folder or run directory"]
    prompts: Annotated[int, "with held-out names"] = 2048
    output: Annotated[Path | None, "file for the figures as JSON"] = None


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    config = parse(AcceptanceConfig, argv)
    folder = model_folder(config.model)
    chance = random.Random(SEED)
    scenes = [scene(chance, held_out=True) for _ in range(config.prompts)]
    written = [respond(chance, one, "sft").text for one in scenes]
    model = load(folder)
    figures: dict[str, Any] = {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "bytes": (folder / "model.safetensors").stat().st_size,
        "logits_difference": logits_difference(folder, scenes[:16]),
        "corpus": dataclasses.asdict(measure(scenes, written)),
    }
    chat = Chat.load(folder)
    for temperature in (1.0, 0.7):
        drawn = sample(model, chat, scenes, temperature=temperature, seed=3)
        figures[str(temperature)] = dataclasses.asdict(measure(scenes, drawn))
    text = json.dumps(figures, indent=1)
    if config.output:
        config.output.write_text(text + "\n", encoding="utf-8")
    print(text)


def sample(model: Any, chat: Chat, scenes: Sequence[Scene], *, temperature: float, seed: int) -> list[str]:
    """One response to each prompt."""
    drawn = generate(
        model,
        [chat.prompt(one.messages) for one in scenes],
        temperature=temperature,
        max_new_tokens=60,
        stop_ids=chat.stop_ids,
        generator=torch.Generator().manual_seed(seed),
    )
    return [chat.text(one.tokens) for one in drawn]


def logits_difference(folder: Path, scenes: Sequence[Scene]) -> float:
    """The largest difference between our forward and that of a model loaded by transformers alone."""
    ours, theirs = load(folder), AutoModelForCausalLM.from_pretrained(folder)
    chat = Chat.load(folder)
    largest = 0.0
    with torch.no_grad():
        for one in scenes:
            ids = torch.tensor([chat.prompt(one.messages)])
            mine = logits(ours, hidden(ours, ids, torch.ones_like(ids))[0])
            largest = max(largest, float((mine - theirs(ids).logits[0]).abs().max()))
    return largest


if __name__ == "__main__":
    main()
