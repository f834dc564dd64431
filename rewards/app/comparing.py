"""Reward models on fresh pairs, one alone or two on the same: judgments of prompts new to both."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from django.db import transaction

from annotate.exchange import pairs
from lm import records
from lm.config import ConfigError, to_json
from lm.run_directory import RunDirectory
from rewards.app.jobs import digest
from rewards.app.models import PAIRS, RewardModel, RewardModelEvaluation
from rewards.config import EvaluateConfig
from runs.kinds import Kind
from runs.models import RefusedError, Run, State

FEWEST = 20  # judgments; fewer tell nothing apart
FOLDER = "reward-model-"


class RewardModelMeasurement(Kind):
    """Measure a reward model on pairs that were written when the run was made."""

    name = "evaluate-reward-model"
    title = "Reward model on new judgments"
    config = EvaluateConfig
    module = "rewards.evaluate"

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the reward model."""
        model = model_of(run)
        if not model.folder.is_dir():
            raise ConfigError(f"reward_model is {model.title!r}, whose files are gone from {model.folder}")
        directory.bring(model.folder, f"{FOLDER}{model.pk}")

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the figures."""
        RewardModelEvaluation.objects.create(
            reward_model=model_of(run),
            run=run,
            pairs_sha256=digest(directory.path / PAIRS),
            figures=directory.result(),
        )


@dataclass(frozen=True, slots=True)
class SamePairs:
    """What two reward models reached on one file."""

    first: RewardModelEvaluation
    second: RewardModelEvaluation


def latest(first: RewardModel, second: RewardModel) -> SamePairs | None:
    """The latest evaluations of the two on the same file."""
    theirs = {one.pairs_sha256: one for one in first.evaluations.all()}
    for one in second.evaluations.order_by("-pk"):
        if one.pairs_sha256 in theirs:
            return SamePairs(theirs[one.pairs_sha256], one)
    return None


def under_way(*models: RewardModel) -> list[Run]:
    """Runs that measure one of these and have not ended well."""
    folders = [str(PAIRS.parent / f"{FOLDER}{model.pk}") for model in models]
    rows = Run.objects.filter(kind=RewardModelMeasurement.name, scope=models[0].project.scope)
    return [run for run in rows.exclude(state=State.SUCCEEDED) if run.config["reward_model"] in folders]


def start(*models: RewardModel, by: str) -> list[Run]:
    """Queue what measures them; pairs that one was measured on already are not measured again."""
    file = _unseen(*models)
    try:
        sha256 = digest(file)
        with transaction.atomic():
            return [_start(model, file, sha256, by=by) for model in models]
    finally:
        file.unlink(missing_ok=True)


def _start(model: RewardModel, file: Path, sha256: str, *, by: str) -> Run:
    run = Run.objects.start(
        RewardModelMeasurement.name,
        config=to_json(EvaluateConfig(reward_model=PAIRS.parent / f"{FOLDER}{model.pk}", pairs=PAIRS)),
        scope=model.project.scope,
        started_by=by,
        idempotency_key=f"evaluate-reward-model:{model.pk}:{sha256}",
    )
    target = run.directory.path / PAIRS
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return run


def _unseen(*models: RewardModel) -> Path:
    """A file of all pairs on prompts that none of the models has learned from; refused where it is small."""
    learned = {prompt for model in models for prompt in _prompts(model)}
    file = models[0].run.directory.path / f".unseen-{uuid4().hex}.jsonl"
    judgments = set()

    def unseen() -> Iterator[records.Pair]:
        for pair in pairs(models[0].project):
            if pair.prompt_id not in learned:
                judgments.add(pair.judgment_id)
                yield pair

    records.write(file, unseen())
    if len(judgments) < FEWEST:
        file.unlink()
        many = f"{len(judgments)} judgment{'' if len(judgments) == 1 else 's'}"
        whom = "neither" if models[1:] else "it"
        verb = "has" if models[1:] else "hasn’t"
        raise RefusedError(
            f"There are {many} on prompts that {whom} {verb} learned from; it takes {FEWEST} or more."
        )
    return file


def _prompts(model: RewardModel) -> set[str]:
    """The prompts that a model has learned from."""
    if not model.pairs_file.is_file():
        raise RefusedError(f"What {model.title.lower()} has learned from is gone: {model.pairs_file}")
    return {pair.prompt_id for pair in records.read(model.pairs_file, records.Pair)}


def model_of(run: Run) -> RewardModel:
    """The reward model that the run measures."""
    pk = Path(run.config["reward_model"]).name.removeprefix(FOLDER)
    return RewardModel.objects.select_related("run", "project").get(pk=pk)
