"""Draw responses to prompts from one policy or several.

    python -m policy.sample --policies DIR --prompts prompts.jsonl --samples 4 --output responses.jsonl
    python -m policy.sample --policies DIR DIR --names new base --prompts prompts.jsonl --output RUN

The output is a run directory with a responses.jsonl; named `something.jsonl`, it is that file, with the run
directory `something.run` beside it. Lines are sorted by prompt, then policy, then sample.
"""

import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from lm import backbone
from lm.config import EX_CONFIG, ConfigError
from lm.generate import Drawn, generate
from lm.logprobs import score_all
from lm.records import Prompt, RecordError, Response, of_one_reward_model, read, write
from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, command
from lm.tokens import Chat
from policy.config import SampleConfig
from policy.readers import reader
from policy.rollouts import generator_of
from rewards import features
from rewards.reward_model import RewardModel

RESPONSES, FEATURES = "responses.jsonl", "features.safetensors"
PIECE = 1024  # responses drawn between two looks at the clock
SECONDS_BETWEEN_CHECKPOINTS = 30

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Found:
    """What has been drawn so far: policy after policy, each in the order of the prompts."""

    responses: list[Response] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    prompts: int = 0  # times a policy has answered a prompt
    drawn: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def save(self, folder: Path) -> None:
        """Write all of it."""
        write(folder / RESPONSES, self.responses)
        if self.features:
            save_file({"features": torch.cat(self.features)}, folder / FEATURES)
        counts = {name: getattr(self, name) for name in ("prompts", "drawn", "tokens", "seconds")}
        (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Found":
        """Take all of it up again."""
        counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
        there = (folder / FEATURES).is_file()
        return cls(
            responses=list(read(folder / RESPONSES, Response)),
            features=[load_file(folder / FEATURES)["features"]] if there else [],
            **counts,
        )


class Sampler:
    """One policy, and the models that have something to say of its responses."""

    def __init__(
        self,
        folder: Path,
        name: str,
        config: SampleConfig,
        *,
        device: str,
        reward_model: RewardModel | None,
        reference: PreTrainedModel | None,
        prompts: Sequence[Prompt],  # all that will be asked
    ) -> None:
        self.model, self.chat = backbone.load(folder, device=device), Chat.load(folder)
        self.name, self.config, self.device = name, config, device
        asked = (prompt.messages for prompt in prompts)
        self.reward_model = reader(reward_model, self.chat, asked) if reward_model else None
        self.reference = reference
        self.digest = backbone.digest(folder)

    def draw(self, prompts: Sequence[Prompt], *, first: int) -> tuple[list[Response], Tensor | None, int]:
        """Records, their features, and how many tokens were drawn; `first` counts all drawings before.

        What is drawn follows from the seed and `first` alone.
        """
        config = self.config
        draws = config.samples * max(1, config.best_of)
        asked = [self.chat.prompt(prompt.messages) for prompt in prompts]
        with backbone.computing(self.device, config.precision):
            drawn = generate(
                self.model,
                asked,
                samples=draws,
                temperature=config.temperature,
                top_p=config.top_p,
                max_new_tokens=config.max_new_tokens,
                stop_ids=self.chat.stop_ids,
                generator=generator_of(config.seed, first),
                batch_size=config.batch_size,
            )
            tokens = sum(len(each.tokens) for each in drawn)
            ids = [row for row in asked for _ in range(draws)]
            return *self.records(prompts, ids, drawn, first), tokens

    def records(
        self, prompts: Sequence[Prompt], asked: list[list[int]], drawn: list[Drawn], first: int
    ) -> tuple[list[Response], Tensor | None]:
        """The responses that are kept, with all that was asked of them."""
        config = self.config
        responses = [each.tokens for each in drawn]
        found, rewards = self.judged(asked, responses)
        kept = list(range(len(drawn)))
        if config.best_of > 1 and rewards is not None:
            best = rewards.view(-1, config.best_of).argmax(1).tolist()
            kept = [group * config.best_of + place for group, place in enumerate(best)]
        reference: list[float | None] = [None] * len(kept)
        if self.reference is not None:
            scored = score_all(
                self.reference,
                [asked[row] for row in kept],
                [responses[row] for row in kept],
                temperature=config.temperature or 1.0,
            )
            reference = list(scored.sums().tolist())
        each = len(drawn) // len(prompts)
        identity = self.reward_model.identity if self.reward_model else None
        records = [
            Response(
                prompt_id=prompts[row // each].prompt_id,
                messages=prompts[row // each].messages,
                response=self.chat.text(responses[row]),
                policy=self.name,
                seed=seed_of(config, first + row),
                logprob=float(drawn[row].logprobs.sum()),
                reference_logprob=under_reference,
                reward=None if rewards is None else float(rewards[row]),
                reward_model=identity,
                ended=drawn[row].ended,
                tokens=tuple(responses[row]),
                settings={"temperature": config.temperature, "top_p": config.top_p},
            )
            for row, under_reference in zip(kept, reference, strict=True)
        ]
        return records, None if found is None else found[kept]

    def judged(
        self, asked: list[list[int]], responses: list[list[int]]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Features and rewards, where they are asked for; one forward gives both if it can."""
        reward_model, found = self.reward_model, None
        shared = reward_model and reward_model.frozen_trunk and reward_model.trunk_digest == self.digest
        if self.config.features or shared:
            found = features.extract(self.model, asked, responses)
        if reward_model is None:
            return found, None
        if found is not None and shared:
            rewards = reward_model.score_features(found)
        else:
            rewards = reward_model.score(asked, responses)
        return (found if self.config.features else None), rewards.float().cpu()


def sample(config: SampleConfig, directory: RunDirectory) -> dict[str, Any]:
    """Draw everything, from the last checkpoint or from the start; write responses and features."""
    prompts = list(read(directory.find(config.prompts), Prompt))
    if not prompts:
        raise ConfigError(f"prompts is {str(config.prompts)!r}, which holds no prompt")
    checkpoint = directory.latest_checkpoint()
    found = Found.load(checkpoint.path) if checkpoint else Found()
    directory.resume(checkpoint.step if checkpoint else 0)
    stop, began, saved = StopSignal(), time.monotonic() - found.seconds, time.monotonic()
    total = len(prompts) * len(config.policies)
    draws = config.samples * max(1, config.best_of)
    for sampler, start, piece in pieces(config, directory, prompts, done=found.prompts):
        records, features_, tokens = sampler.draw(piece, first=start * draws)
        found.responses += records
        found.features += [] if features_ is None else [features_]
        found.prompts, found.drawn = start + len(piece), found.drawn + draws * len(piece)
        found.tokens += tokens
        found.seconds = time.monotonic() - began
        directory.report(
            step=found.prompts,
            total=total,
            phase=sampler.name,
            ended=share_ended(records),
            words=sum(len(record.response.split()) for record in records) / len(records),
            tokens_per_second=found.tokens / found.seconds,
        )
        if stop or (found.prompts < total and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS):
            with directory.checkpoint(found.prompts) as folder:
                found.save(folder)
            saved = time.monotonic()
        if stop:
            sys.exit(EX_TEMPFAIL)
    return publish(found, config, directory, prompts=len(prompts))


def pieces(
    config: SampleConfig, directory: RunDirectory, prompts: Sequence[Prompt], *, done: int
) -> Iterator[tuple[Sampler, int, Sequence[Prompt]]]:
    """A policy after the other, its prompts piece by piece; those that are done left out."""
    device = backbone.pick_device(config.device)
    reward_model = (
        RewardModel.load(directory.find(config.reward_model), device=device) if config.reward_model else None
    )
    reference = backbone.load(directory.find(config.reference), device=device) if config.reference else None
    size = max(1, PIECE // (config.samples * max(1, config.best_of)))
    for number, policy in enumerate(config.policies):
        offset, end = number * len(prompts), (number + 1) * len(prompts)
        if done >= end:
            continue
        folder = directory.find(policy)
        name = config.names[number] if config.names else policy.name
        sampler = Sampler(
            folder,
            name,
            config,
            device=device,
            reward_model=reward_model,
            reference=reference,
            prompts=prompts,
        )
        refuse_other_tokens(sampler.chat, config, directory)
        for start in range(max(done, offset), end, size):
            stop = min(start + size, end)
            yield sampler, start, prompts[start - offset : stop - offset]


def refuse_other_tokens(chat: Chat, config: SampleConfig, directory: RunDirectory) -> None:
    """Token ids go from policy to reference, so both must mean the same by them."""
    path = config.reference
    if path and Chat.load(directory.find(path)).tokenizer.get_vocab() != chat.tokenizer.get_vocab():
        raise ConfigError(f"reference is {str(path)!r}, whose tokens are not those of the policy")


def publish(found: Found, config: SampleConfig, directory: RunDirectory, *, prompts: int) -> dict[str, Any]:
    """Write the responses in the order of the prompts; the figures of the run."""
    each = config.samples
    order = [
        (policy * prompts + prompt) * each + number
        for prompt in range(prompts)
        for policy in range(len(config.policies))
        for number in range(each)
    ]
    responses = list(of_one_reward_model(found.responses[row] for row in order))
    if found.features:  # of one policy, so already in order
        partial = directory.path / f".tmp-{directory.token}-{FEATURES}"
        save_file({"features": torch.cat(found.features)}, partial)
        partial.replace(directory.path / FEATURES)
    write(directory.path / RESPONSES, responses)
    seconds = max(found.seconds, 1e-9)
    result: dict[str, Any] = {
        "responses": len(responses),
        "drawn": found.drawn,
        "ended": share_ended(responses),
        "tokens": found.tokens,
        "seconds": seconds,
        "examples_per_second": found.drawn / seconds,
        "tokens_per_second": found.tokens / seconds,
        "peak_memory_bytes": backbone.peak_memory_bytes(backbone.pick_device(config.device)),
    }
    if config.features:
        result["trunk"] = backbone.digest(directory.find(config.policies[0]))
    rewards = [record.reward for record in responses if record.reward is not None]
    if rewards:
        result["reward"] = sum(rewards) / len(rewards)
    gaps = [
        record.logprob - record.reference_logprob
        for record in responses
        if record.logprob is not None and record.reference_logprob is not None
    ]
    if gaps and not config.best_of and config.top_p == 1 and config.temperature > 0:
        result["kl"] = sum(gaps) / len(gaps)  # of chosen or truncated samples it would be no KL
    return result


def share_ended(responses: Sequence[Response]) -> float:
    """How many of the responses the policies ended themselves."""
    return sum(bool(response.ended) for response in responses) / len(responses)


def seed_of(config: SampleConfig, index: int) -> int:
    """A number for each drawing of each run; 64 bits hold it."""
    return config.seed * 2**32 + index


def as_file(argv: Sequence[str]) -> tuple[list[str], Path | None]:
    """The command line with a run directory for its output, and the file that was asked for instead."""
    words = list(argv)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name != "--output" or (not equals and place + 1 == len(words)):
            continue
        output = Path(value if equals else words[place + 1])
        if output.suffix == ".jsonl":
            words[place : place + (1 if equals else 2)] = ["--output", str(output.with_suffix(".run"))]
            return words, output
    return words, None


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and draw."""
    words, file = as_file(sys.argv[1:] if argv is None else argv)
    config, directory, _ = command(SampleConfig, words)
    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        result = sample(config, directory)
    except (ConfigError, RecordError) as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    if file:
        partial = file.with_name(f".{file.name}.partial")
        shutil.copyfile(directory.path / RESPONSES, partial)
        partial.replace(file)
    directory.write_result(result)


if __name__ == "__main__":
    main()
