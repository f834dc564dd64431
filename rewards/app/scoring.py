"""Scores of the comparisons that wait, by the reward model in use: what decides which is asked first."""

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from annotate.comparisons import rescore, scores_decide, waiting_for_scores
from annotate.exchange import pairs
from annotate.models import AuditEvent, Preference, Project, Response
from lm import records
from lm.config import ConfigError
from lm.run_directory import RunDirectory
from rewards.app.jobs import project_of
from rewards.app.models import PAIRS, RewardModel
from rewards.config import ScoreComparisonsConfig
from runs.kinds import Kind
from runs.models import RefusedError, Run

KIND = "score-comparisons"
REWARD_MODEL = Path("input") / "reward-model"
WAITING = Path("input") / "comparisons.jsonl"
SCORED = "scored.jsonl"
MOST = 10_000  # comparisons of one run, those to be asked first
BATCH = 500


class ScoreComparisons(Kind):
    """Score what waits in the stratum "active", and let the most telling be asked first."""

    name = KIND
    title = "Scores of what waits"
    config = ScoreComparisonsConfig
    module = "rewards.score_comparisons"
    queue = "train"
    max_runtime = timedelta(hours=6)

    def prepare(self, run: Run, directory: RunDirectory) -> None:
        """Bring the reward model in use, what waits, and what was judged so far."""
        project = project_of(run)
        model = RewardModel.objects.in_use(project)
        if model is None:
            raise ConfigError(f"project {project.slug!r} has no reward model with files")
        directory.bring(model.folder, REWARD_MODEL.name)
        for file, lines in ((PAIRS, pairs(project)), (WAITING, _waiting(project))):
            if not (directory.path / file).exists():
                records.write(directory.path / file, lines)

    def finish(self, run: Run, directory: RunDirectory) -> None:
        """Store the scores of those that still wait."""
        project = project_of(run)
        found = records.read(directory.path / SCORED, records.WaitingComparison)
        scores = {int(one.comparison_id): one.score for one in found if one.score is not None}
        moved = rescore(project, scores)
        AuditEvent.record("scored what waits", None, project, run=run.pk, comparisons=moved)


def start(project: Project, *, by: str) -> Run:
    """Queue a run that scores what waits; RefusedError says why there can't be one."""
    if reason := reason_against(project):
        raise RefusedError(reason)
    judged = Preference.objects.used().filter(
        judgment__assignment__comparison__project=project, tie=False, weight__gt=0
    )
    config = ScoreComparisonsConfig(
        reward_model=REWARD_MODEL, comparisons=WAITING, labels=PAIRS if judged.exists() else None
    )
    return Run.objects.start(
        KIND, config=config, scope=project.scope, slot=f"{KIND}:{project.slug}", started_by=by
    )


def reason_against(project: Project) -> str:
    """Why what waits can't be scored; empty where it can."""
    if RewardModel.objects.in_use(project) is None:
        return "This project has no reward model yet, or none that is not retired."
    if not waiting_for_scores(project).exists():
        return "No comparison of the stratum “active” waits; those drawn at random keep their order."
    return ""


def start_after(run: Run, reward_model: RewardModel) -> None:
    """Score what waits by a new reward model that is in use at once, where the project asks by score."""
    if (
        scores_decide(reward_model.project)
        and RewardModel.objects.in_use(reward_model.project) == reward_model
    ):
        with contextlib.suppress(RefusedError):  # nothing waits, or a run is under way
            start(reward_model.project, by=run.started_by)


def _waiting(project: Project) -> Iterator[records.WaitingComparison]:
    rows = list(waiting_for_scores(project).select_related("prompt").order_by("place")[:MOST])
    ids = sorted({pk for row in rows for pk in row.response_ids})
    texts: dict[int, str] = {}
    for begin in range(0, len(ids), BATCH):
        some = Response.objects.filter(pk__in=ids[begin : begin + BATCH])
        texts.update(some.values_list("pk", "text"))
    for row in rows:
        yield records.WaitingComparison(
            comparison_id=str(row.pk),
            prompt_id=row.prompt.name,
            messages=tuple(records.Message(**message) for message in row.prompt.messages),
            responses=tuple(texts[pk] for pk in row.response_ids),
        )
