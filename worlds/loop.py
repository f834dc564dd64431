"""The loop without the product: a taste judges, the commands learn from it, the taste says what came of it.

    python -m worlds.loop --taste reasonable --judgments 150 --draw 0 --rounds 1

Everything goes through files and commands, as a researcher would do it by hand. What is the same for every
draw (prompts, the base's samples) is made once and kept in the folder.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from lm import records
from lm.config import parse
from lm.model_files import digest as model_digest
from worlds.taste import TASTES, features

AGREEMENT = 0.8  # of a judgment with the taste
POOL = 1200  # prompts with two samples of the base, of which a draw judges some
SPARE = 20  # prompts more than needed, for some responses are alike
Asked = tuple[str, str, str]  # prompt_id and two responses


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """One play of the loop."""

    taste: Annotated[Literal["reasonable", "short", "warm"], "who judges"] = "reasonable"
    judgments: Annotated[int, "in each round"] = 150
    rounds: Annotated[int, "once around each; 0 trains a reward model and asks how good it is"] = 1
    draw: Annotated[int, "seed of judgments and training"] = 0
    kl_budget: Annotated[float, "nats a response"] = 2.0
    model: Annotated[Path, "the base"] = Path("starter/model")
    warm_prompts: Annotated[int, "prompts with eight samples of the base"] = 1200
    held_out: Annotated[int, "prompts with held-out names, for what came of it"] = 256
    iterations: Annotated[int, "of PPO, at most"] = 14
    folder: Annotated[Path, "where the files go"] = Path("build/loop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one round came to, on prompts with held-out names."""

    round: int
    judgments: int
    accuracy: float  # of the reward model, on pairs of the base judged without noise
    kl: float  # nats a response
    stopped: str
    taste_before: float
    taste: float
    win: float  # against the base, by the taste
    correct_before: float
    correct: float
    rude: float
    words: float
    fourgrams: float  # distinct ones, as a share of the base's
    best_of_8_taste: float
    best_of_8_win: float
    best_of_8_correct: float
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Told:
    """What a set of responses is worth to a taste."""

    worth: list[float]
    correct: float
    rude: float
    words: float
    fourgrams: float


def main(argv: Sequence[str] | None = None) -> None:
    """Play, print a line a round, write them beside the files."""
    config = parse(LoopConfig, argv)
    if not config.rounds:
        print(json.dumps({"judgments": config.judgments, "accuracy": Loop(config).accuracy()}))
        return
    for outcome in Loop(config).play():
        print(json.dumps(asdict(outcome)))


class Loop:
    """One play: the same prompts and base samples for every draw, judgments of its own."""

    def __init__(self, config: LoopConfig) -> None:
        self.config, self.taste = config, TASTES[config.taste]
        self.chance = random.Random(100 + config.draw)
        folder = config.folder / model_digest(config.model)[:12]  # another model's samples are of no use
        self.shared = folder / "shared"
        self.place = folder / f"{config.taste}-{config.judgments}-{config.draw}"
        self.shared.mkdir(parents=True, exist_ok=True)
        self.messages: dict[str, tuple[records.Message, ...]] = {}
        self.warm = self._prompts("warm", config.warm_prompts, seed=11)
        self.held_out = self._prompts("held-out", config.held_out, seed=13, held_out=True)
        asked = self._prompts("asked", POOL, seed=12)
        self.warm_samples = self._drawn("warm-samples", self.warm, samples=8, features=True)
        self.before = by_prompt(self._drawn("held-out-samples", self.held_out, samples=2))
        self.pool = different(by_prompt(self._drawn("asked-samples", asked, samples=2)))
        self.width = self._noise_width()

    def accuracy(self) -> float:
        """How often a reward model of so many judgments agrees with the taste, on pairs without noise."""
        here = self.place / "round-1"
        here.mkdir(parents=True, exist_ok=True)
        self._judge_all(self._first_pairs(), [], here)
        self._train_reward_model(here, 10 * self.config.draw + 1)
        return self._accuracy(here)

    def play(self) -> list[Outcome]:
        """So many rounds, each from the base and from all judgments so far."""
        config = self.config
        judged: list[records.Pair] = []
        outcomes: list[Outcome] = []
        for number in range(1, config.rounds + 1):
            here = self.place / f"round-{number}"
            here.mkdir(parents=True, exist_ok=True)
            before = self.place / f"round-{number - 1}" / "ppo"
            asked = self._fresh(before, number, here) if number > 1 else self._first_pairs()
            self._judge_all(asked, judged, here)
            seconds = self._learn(here, 10 * config.draw + number)
            outcomes.append(self._weigh(here, number, len(judged), seconds))
            (here / "outcome.json").write_text(json.dumps(asdict(outcomes[-1]), indent=1), encoding="utf-8")
        return outcomes

    # One round

    def _first_pairs(self) -> list[Asked]:
        """Pairs of the base's samples."""
        return self.chance.sample(self.pool, self.config.judgments)

    def _judge_all(self, asked: Sequence[Asked], judged: list[records.Pair], here: Path) -> None:
        """Judge these, and write them down with those judged before."""
        judged += [self._judge(pair, len(judged) + i, self.width) for i, pair in enumerate(asked)]
        records.write(here / "pairs.jsonl", judged)

    def _fresh(self, policy: Path, number: int, here: Path) -> list[Asked]:
        """Pairs of the newest policy and the base, on prompts that were not asked about before."""
        seed = 1000 * (self.config.draw + 1) + number
        prompts = self._prompts(f"fresh-{seed}", self.config.judgments + SPARE, seed=seed)
        responses: defaultdict[str, list[str]] = defaultdict(list)
        for name, model in (("new", policy), ("old", self.config.model)):
            draw(model, prompts, here / f"fresh-{name}", samples=1, seed=seed)
            for prompt, texts in by_prompt(here / f"fresh-{name}").items():
                responses[prompt] += texts
        return different(responses)[: self.config.judgments]

    def _judge(self, asked: Asked, number: int, width: float) -> records.Pair:
        """What a person of this taste says; width 0 says it without noise, a tie only where it is one."""
        name, first, second = asked
        messages = self.messages[name]
        difference = self.taste.reward(messages, first) - self.taste.reward(messages, second)
        first_wins = self.chance.random() < agreement(difference, width) if width else difference > 0
        chosen, rejected = (first, second) if first_wins else (second, first)
        return records.Pair(
            prompt_id=name,
            messages=messages,
            chosen=chosen,
            rejected=rejected,
            judgment_id=str(number),
            rater="taste",
            first="chosen" if first_wins else "rejected",
            tie=not width and abs(difference) < 1e-9,
        )

    def _learn(self, here: Path, seed: int) -> dict[str, float]:
        """Reward model, fine-tuning on the best of eight, PPO; what each took."""
        config = self.config
        reward, warm = here / "reward", here / "warm"
        return {
            "reward model": self._train_reward_model(here, seed),
            "best of 8": command(
                "policy.sft", model=config.model, samples=self.warm_samples, reward_model=reward, seed=seed,
                output=warm,
            ),
            "PPO": command(
                "policy.ppo", policy=warm, reference=config.model, reward_model=reward, prompts=self.warm,
                kl_budget=config.kl_budget, iterations=config.iterations, seed=seed, output=here / "ppo",
            ),
        }  # fmt: skip

    def _train_reward_model(self, here: Path, seed: int) -> float:
        """The seconds it took."""
        return command(
            "rewards.train", model=self.config.model, pairs=here / "pairs.jsonl", samples=self.warm_samples,
            seed=seed, output=here / "reward",
        )  # fmt: skip

    def _accuracy(self, here: Path) -> float:
        """Of the reward model, on pairs of the base that are judged without noise."""
        clear = [self._judge(pair, i, 0.0) for i, pair in enumerate(different(self.before))]
        records.write(here / "clear.jsonl", [pair for pair in clear if not pair.tie])
        command(
            "rewards.evaluate", reward_model=here / "reward", pairs=here / "clear.jsonl",
            output=here / "evaluation",
        )  # fmt: skip
        return float(result(here / "evaluation")["eval_accuracy"])

    def _weigh(self, here: Path, number: int, judgments: int, seconds: dict[str, float]) -> Outcome:
        """Ask the taste about the policy, the base and the best of eight, on held-out prompts."""
        reward, policy, base = here / "reward", here / "ppo", self.config.model
        draw(policy, self.held_out, here / "after", samples=2, seed=2, reference=base)
        draw(base, self.held_out, here / "best", samples=1, seed=3, best_of=8, reward_model=reward)
        before, after = self._told(self.before), self._told(by_prompt(here / "after"))
        best = self._told(by_prompt(here / "best"))
        drawn = list(records.read(here / "after" / "responses.jsonl", records.Response))
        return Outcome(
            round=number,
            judgments=judgments,
            accuracy=self._accuracy(here),
            kl=mean([(one.logprob or 0.0) - (one.reference_logprob or 0.0) for one in drawn]),
            stopped=result(policy)["stopped"],
            taste_before=mean(before.worth),
            taste=mean(after.worth),
            win=wins(after.worth, before.worth),
            correct_before=before.correct,
            correct=after.correct,
            rude=after.rude,
            words=after.words,
            fourgrams=after.fourgrams / before.fourgrams,
            best_of_8_taste=mean(best.worth),
            best_of_8_win=wins(best.worth, before.worth[::2]),
            best_of_8_correct=best.correct,
            seconds=seconds,
        )

    def _told(self, responses: dict[str, list[str]]) -> Told:
        """What these responses are worth, in the order of the prompts' names."""
        told = [(name, text) for name in sorted(responses) for text in responses[name]]
        found = [features(self.messages[name], text) for name, text in told]
        words = [text.split() for _, text in told]
        runs = [tuple(line[i : i + 4]) for line in words for i in range(len(line) - 3)]
        return Told(
            worth=[self.taste.reward(self.messages[name], text) for name, text in told],
            correct=mean([float(one["asked"] > 0 and not one["wrong"]) for one in found]),
            rude=mean([one["rude"] for one in found]),
            words=mean([float(len(line)) for line in words]),
            fourgrams=len(set(runs)) / max(1, len(runs)),
        )

    # What every draw shares

    def _prompts(self, name: str, count: int, *, seed: int, held_out: bool = False) -> Path:
        """A file of prompts under names of its own, and their messages."""
        target = self.shared / f"{name}-{count}.jsonl"
        if not target.is_file():
            aside = target.with_suffix(".tmp")
            command("starter.prompts", count=count, seed=seed, output=aside, held_out=held_out)
            found = records.read(aside, records.Prompt)
            records.write(
                target,
                [
                    records.Prompt(prompt_id=f"{name}-{one.prompt_id}", messages=one.messages, tags=one.tags)
                    for one in found
                ],
            )
            aside.unlink()
        self.messages |= {one.prompt_id: one.messages for one in records.read(target, records.Prompt)}
        return target

    def _drawn(self, name: str, prompts: Path, *, samples: int, features: bool = False) -> Path:
        """A run directory with samples of the base."""
        target = self.shared / f"{name}-{prompts.stem}"
        draw(self.config.model, prompts, target, samples=samples, seed=1, features=features)
        return target

    def _noise_width(self) -> float:
        """The scale of rewards at which judgments agree with the taste as often as people's do."""
        differences = [
            self.taste.reward(self.messages[name], first) - self.taste.reward(self.messages[name], second)
            for name, first, second in self.pool
        ]
        low, high = 0.01, 20.0
        for _ in range(40):
            middle = math.sqrt(low * high)
            agreed = mean([agreement(abs(difference), middle) for difference in differences])
            low, high = (middle, high) if agreed > AGREEMENT else (low, middle)
        return low


def agreement(difference: float, width: float) -> float:
    """The chance that the first wins, by Bradley and Terry."""
    return 1 / (1 + math.exp(-max(-50.0, min(50.0, difference / width))))


def different(responses: dict[str, list[str]]) -> list[Asked]:
    """The first two responses of each prompt, where they differ and say something."""
    return [
        (name, texts[0], texts[1])
        for name, texts in responses.items()
        if len(texts) > 1 and texts[0] != texts[1] and texts[0] and texts[1]
    ]


def draw(model: Path, prompts: Path, output: Path, **settings: Any) -> None:
    """Sample a policy, unless that is done."""
    if not (output / "result.json").is_file():
        command("policy.sample", policies=model, prompts=prompts, output=output, **settings)


def command(module: str, **settings: Any) -> float:
    """Run one of our commands to its end; the seconds it took. A whole run is left alone."""
    output = settings.get("output")
    if isinstance(output, Path) and (output / "result.json").is_file():
        return float(result(output).get("seconds", 0.0))
    words = [sys.executable, "-m", module]
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        words += ([flag] if value else []) if isinstance(value, bool) else [flag, str(value)]
    began = time.monotonic()
    patient = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}  # threads that spin slow others down
    environment = {**patient, **os.environ}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(words[2:])} ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    return round(time.monotonic() - began, 1)


def by_prompt(run: Path) -> dict[str, list[str]]:
    """The texts of a run of policy.sample."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for one in records.read(run / "responses.jsonl", records.Response):
        found[one.prompt_id].append(one.response)
    return dict(found)


def result(run: Path) -> dict[str, Any]:
    """What a run found."""
    found: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return found


def wins(new: Sequence[float], old: Sequence[float]) -> float:
    """How often the new one is worth more; as much counts half."""
    return mean([0.5 if abs(a - b) < 1e-9 else float(a > b) for a, b in zip(new, old, strict=True)])


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
