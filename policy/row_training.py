"""Training on rows of conversations: what pretraining and the starter's fine-tuning share."""

import itertools
import json
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from lm import backbone
from lm.config import ConfigError
from lm.run_directory import EX_TEMPFAIL, RunDirectory, StopSignal, numeric_failure
from lm.tokens import Chat
from policy import optimizer_state, packing
from policy.auxiliary import Readouts
from policy.muon import Muon
from policy.packing import Batch

MODEL = "model"
RECENT = 100  # steps that the loss of the result is the mean of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSettings:
    """How to train on the rows of a corpus, each read once and in the file's order."""

    corpus: Path
    tokens: int
    max_length: int
    batch_size: int
    matrix_rate: float
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    constant_share: float
    final_rate_share: float
    auxiliary_weight: float
    checkpoint_every: int
    report_every: int
    compile: bool = False
    device: str = "cpu"

    @property
    def steps(self) -> int:
        """Steps until the tokens are processed."""
        return math.ceil(self.tokens / (self.batch_size * self.max_length))

    def rate(self, step: int) -> float:
        """The share of the peak rates at a step, counted from 0: up, constant, down a line."""
        warmed = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        done = step / self.steps
        if done < self.constant_share:
            return warmed
        return warmed * max(self.final_rate_share, (1 - done) / (1 - self.constant_share))

    def check_corpus(self) -> None:
        """Refuse a corpus that is too small, before anything is trained."""
        there, needed = packing.corpus_size(self.corpus), self.steps * self.batch_size
        if there < needed:
            raise ConfigError(
                f"corpus is {str(self.corpus)!r}, which holds {there} conversations; "
                f"{self.tokens} tokens in rows of {self.max_length} need {needed}"
            )


@dataclass(slots=True)
class Progress:
    """What a run has done so far, over all its attempts."""

    step: int = 0
    seconds: float = 0.0
    responses: int = 0
    response_tokens: int = 0
    real_tokens: int = 0
    loss: float = math.nan  # mean of the last steps
    auxiliary: float = math.nan


class RowTraining:
    """A model, its read-outs and their two optimizers on the way through a corpus."""

    def __init__(
        self,
        model: PreTrainedModel,
        chat: Chat,
        readouts: Readouts | None,
        settings: RowSettings,
    ) -> None:
        for part in (model, readouts):
            if part is not None:
                torch.nn.Module.to(part, settings.device)
        self.model, self.chat, self.readouts = model, chat, readouts
        self.settings = settings
        self.progress = Progress()
        matrices, others = split_parameters(model)
        others += list(readouts.parameters()) if readouts else []
        self.parameters = matrices + others
        self.muon = Muon(matrices, lr=settings.matrix_rate, weight_decay=settings.weight_decay)
        self.adamw = torch.optim.AdamW(
            others, lr=settings.learning_rate, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0
        )
        self._losses: Callable[..., tuple[Tensor, Tensor]] = self._plain_losses
        if settings.compile:
            self._losses = torch.compile(self._plain_losses, dynamic=False)

    def run(self, directory: RunDirectory) -> dict[str, Any]:
        """Train to the end of the budget and say what came of it; the model is left to be saved."""
        stop = StopSignal()
        settings, progress = self.settings, self.progress
        recent: deque[tuple[float, float]] = deque(maxlen=RECENT)
        self.model.train()
        since, counted, tokens_then = time.monotonic(), progress.seconds, progress.real_tokens
        reported = progress.step, time.monotonic(), tokens_then
        for batch in self._batches(start=progress.step):
            share = settings.rate(progress.step)
            loss, auxiliary = self.train_step(batch, share)
            progress.step += 1
            progress.seconds = counted + time.monotonic() - since
            progress.responses += batch.responses
            progress.response_tokens += batch.count
            progress.real_tokens += batch.real
            if not math.isfinite(loss + auxiliary):
                numeric_failure(f"the loss of step {progress.step} is {loss}, the auxiliary loss {auxiliary}")
            recent.append((loss, auxiliary))
            stopping = bool(stop)  # asked once, so that nobody leaves without a checkpoint
            last = progress.step == settings.steps
            if progress.step % settings.report_every == 0 or last:
                step, then, real = reported
                reported = progress.step, time.monotonic(), progress.real_tokens
                passed = reported[1] - then
                processed = (progress.step - step) * settings.batch_size * settings.max_length
                shown = list(recent)[step - progress.step :]
                directory.report(
                    step=progress.step,
                    total=settings.steps,
                    loss=sum(pair[0] for pair in shown) / len(shown),
                    auxiliary=sum(pair[1] for pair in shown) / len(shown),
                    learning_rate=settings.learning_rate * share,
                    tokens_per_second=(progress.real_tokens - real) / passed,
                    processed_per_second=processed / passed,
                )
            progress.loss = sum(pair[0] for pair in recent) / len(recent)
            progress.auxiliary = sum(pair[1] for pair in recent) / len(recent)
            if progress.step % settings.checkpoint_every == 0 or stopping or last:
                with directory.checkpoint(progress.step) as folder:
                    self.save(folder)
            if stopping and not last:
                sys.exit(EX_TEMPFAIL)
        self.model.eval()
        return self.result()

    def train_step(self, batch: Batch, share: float) -> tuple[float, float]:
        """One step of both optimizers at this share of their rates; gives the two losses."""
        loss, auxiliary = self._losses(
            batch.tokens, batch.positions, batch.targets, batch.ends, batch.properties, batch.known
        )
        loss = loss / max(1, batch.count)
        (loss + self.settings.auxiliary_weight * auxiliary).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer, peak in (
            (self.muon, self.settings.matrix_rate),
            (self.adamw, self.settings.learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = peak * share
            optimizer.step()
            optimizer.zero_grad()
        return float(loss.detach()), float(auxiliary.detach())

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss of the response tokens, and that of the read-outs."""
        loss, auxiliary = self._losses(
            batch.tokens, batch.positions, batch.targets, batch.ends, batch.properties, batch.known
        )
        return loss / max(1, batch.count), auxiliary

    def _plain_losses(
        self,
        tokens: Tensor,
        positions: Tensor,
        targets: Tensor,
        ends: Tensor,
        properties: Tensor,
        known: Tensor,
    ) -> tuple[Tensor, Tensor]:
        # Padding is on the right and attention looks left, so no mask is needed.
        states = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state.flatten(0, 1)
        logits = self.model.get_output_embeddings()(states.index_select(0, positions)).float()
        loss = functional.cross_entropy(logits, targets, ignore_index=packing.NOT_COUNTED, reduction="sum")
        if self.readouts is None:
            return loss, torch.zeros((), device=loss.device)
        return loss, self.readouts.loss(states.index_select(0, ends), properties, known)

    def _batches(self, *, start: int) -> Iterator[Batch]:
        """The batches from this step to the last."""
        settings = self.settings
        found = packing.conversations(settings.corpus, start=start * settings.batch_size)
        rows = packing.rows(found, self.chat, length=settings.max_length)
        for _ in range(start, settings.steps):
            yield packing.batch(
                list(itertools.islice(rows, settings.batch_size)),
                length=settings.max_length,
                pad=self.chat.pad_id,
                names=self.readouts.names if self.readouts else (),
                device=settings.device,
            )

    def save(self, folder: Path) -> None:
        """Write all that the run needs to go on; nothing random is drawn after the first weights."""
        save_model(self.model, self.chat, self.readouts, folder / MODEL)
        optimizer_state.save(self.muon, folder / "muon.safetensors")
        optimizer_state.save(self.adamw, folder / "adamw.safetensors")
        (folder / "progress.json").write_text(json.dumps(asdict(self.progress)), encoding="utf-8")

    def restore(self, folder: Path) -> None:
        """Take up optimizers and progress; the model was loaded from the same folder."""
        optimizer_state.load(self.muon, folder / "muon.safetensors")
        optimizer_state.load(self.adamw, folder / "adamw.safetensors")
        self.progress = Progress(**json.loads((folder / "progress.json").read_text(encoding="utf-8")))

    def result(self) -> dict[str, Any]:
        """The figures of the run."""
        progress, seconds = self.progress, max(self.progress.seconds, 1e-9)
        processed = self.settings.steps * self.settings.batch_size * self.settings.max_length
        return {
            "loss": progress.loss,
            "auxiliary": progress.auxiliary,
            "steps": progress.step,
            "rows": progress.step * self.settings.batch_size,
            "responses": progress.responses,
            "response_tokens": progress.response_tokens,
            "tokens_processed": processed,
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "seconds": seconds,
            "examples_per_second": progress.step * self.settings.batch_size / seconds,
            "tokens_per_second": progress.real_tokens / seconds,
            "processed_per_second": processed / seconds,
            "peak_memory_bytes": backbone.peak_memory_bytes(self.settings.device),
        }


def split_parameters(model: PreTrainedModel) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The matrices of the layers, for Muon; embeddings, head and norms, for AdamW."""
    outside = {
        id(parameter)
        for module in (model.get_input_embeddings(), model.get_output_embeddings())
        for parameter in module.parameters()
    }
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for parameter in model.parameters():
        (matrices if parameter.ndim == 2 and id(parameter) not in outside else others).append(parameter)
    return matrices, others


def save_model(
    model: PreTrainedModel,
    chat: Chat,
    readouts: Readouts | None,
    folder: Path,
) -> None:
    """Write a model folder, the read-outs in it."""
    backbone.save(model, chat, folder)
    if readouts:
        readouts.save(folder)


def load_model(folder: Path) -> tuple[PreTrainedModel, Chat, Readouts | None]:
    """A model with its tokenizer and read-outs, to train on."""
    folder = backbone.model_folder(folder)
    return backbone.load(folder), Chat.load(folder), Readouts.load(folder)
