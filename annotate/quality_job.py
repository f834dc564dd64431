"""The job that measures quality: what its program reads, what becomes of the result, when it is due.

A line of judged.jsonl is the last word of a rater on a comparison. What nothing is learned from has a
reason; known answers and swapped repeats have one too, and the figures count them all the same, for care is
measured by them. An adjudicator's word is learned from and not measured: its comparison was chosen because
raters disagree. A batch is measured with the known answers that were given while it was judged, as those
belong to none.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import Count, F, Max, Min, Q
from django.db.models.functions import Length
from django.utils import timezone

from annotate import checks
from annotate.judged import EXCLUDED, Judged
from annotate.measure_config import MeasureConfig
from annotate.models import (
    Assignment,
    AssignmentState,
    Judgment,
    Membership,
    Project,
    QualityFigures,
    RaterAction,
    Response,
    Rule,
    Void,
)
from annotate.models.judging import AppendOnlyQuerySet
from lm.run_directory import RunDirectory
from runs import transitions
from runs.models import RefusedError, Run

KIND = "quality"
PATIENCE = timedelta(minutes=10)  # figures older than this are computed anew once there is news
KEPT = 20  # older figures of the same judgments are dropped
CHUNK = 2000  # judgments in memory at once
BEAT_EVERY = 10.0  # seconds
MEASURED = ("", "known answer", "swapped repeat")  # reasons that figures count

COLUMNS = {
    "rater": F("assignment__rater"),
    "comparison": F("assignment__comparison"),
    "prompt": F("assignment__comparison__prompt"),
    "prompt_withdrawn": F("assignment__comparison__prompt__withdrawn_at"),
    "purpose": F("assignment__comparison__purpose"),
    "known": F("assignment__comparison__gold"),
    "shown": F("assignment__shown"),
    "rule": F("assignment__rule"),
    "since_break": F("assignment__since_break"),
    "sitting_at": F("assignment__sitting_at"),
    "leased_at": F("assignment__leased_at"),
    "rationale_length": Length("rationale"),
}
OWN = (
    "pk",
    "order",
    "top",
    "all_bad",
    "strength",
    "received_at",
    "late",
    "normal",
    "simulated",
    "active_ms",
    "left_out",
)


# When


def latest(project: Project, batch: str = "") -> QualityFigures | None:
    """The newest figures of a project, or of one of its batches."""
    rows = QualityFigures.objects.filter(project=project, batch=batch)
    return rows.order_by("-computed_at", "-pk").first()


def since(figures: QualityFigures) -> int:
    """How many judgments came after those that the figures rest on."""
    rows = Judgment.objects.of_project(figures.project_id).filter(pk__gt=figures.values.get("last", 0))
    if figures.batch:
        rows = rows.filter(assignment__comparison__batch=figures.batch)
    return rows.count()


def running(project: Project, batch: str = "") -> Run | None:
    """The job that measures these judgments now, or will."""
    return Run.objects.active().filter(slot=_slot(project, batch)).first()


def start(project: Project, *, batch: str = "", started_by: str = "") -> Run:
    """Queue the job, or return the one that is under way."""
    try:
        return Run.objects.start(
            KIND,
            config=MeasureConfig(project=project.slug, batch=batch),
            scope=project.scope,
            slot=_slot(project, batch),
            started_by=started_by,
        )
    except RefusedError:
        active = running(project, batch)
        if active is None:  # it ended at this moment
            return start(project, batch=batch, started_by=started_by)
        return active


def start_if_due(project: Project, *, batch: str = "", started_by: str = "") -> Run | None:
    """Queue the job where the figures are old and there is news; also returns the one that is under way."""
    active = running(project, batch)
    if active is not None or project.archived_at is not None:
        return active
    figures, now = latest(project, batch), timezone.now()
    if figures is not None and (now - figures.computed_at < PATIENCE or not _news(figures)):
        return None
    if figures is None and not _received(project, batch).exists():
        return None
    tried = Run.objects.filter(slot=_slot(project, batch), created_at__gt=now - PATIENCE)
    if figures is None and tried.exists():  # it failed, and would again
        return None
    return start(project, batch=batch, started_by=started_by)


def _slot(project: Project, batch: str) -> str:
    return f"{KIND}:{project.slug}:{batch}"


def _news(figures: QualityFigures) -> bool:
    """Whether judgments came, or people left some out or took some in."""
    at, project = figures.computed_at, figures.project
    voids = Void.objects.filter(judgment__assignment__comparison__project=project)
    actions = RaterAction.objects.filter(membership__project=project, kind=RaterAction.Kind.EXCLUDE)
    later = Q(at__gt=at) | Q(undone_at__gt=at)
    return since(figures) > 0 or voids.filter(later).exists() or actions.filter(later).exists()


# What the program reads


def write_input(run: Run, directory: RunDirectory) -> None:
    """Write the judgments, the skips, and what is to be kept beside the result."""
    config = run.config
    project = Project.objects.get(slug=config["project"])
    folder = directory.path / "input"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    at, last = timezone.now(), 0
    with (folder / "judged.jsonl").open("wb") as file:
        for pk, row in _with_a_pulse(judged(project, config["batch"]), run):
            file.write(row.to_line() + b"\n")
            last = max(last, pk)
    (folder / "skips.json").write_text(json.dumps(_skips(project, config["batch"])), encoding="utf-8")
    found = [check.to_json() for check in _with_a_pulse(checks.of_project(project), run)]
    beside = {"at": at.isoformat(), "last": last, "checks": found}
    (folder / "beside.json").write_text(json.dumps(beside), encoding="utf-8")


def _with_a_pulse(rows: Iterable[Any], run: Run) -> Iterator[Any]:
    """The same rows; meanwhile the run's lease is renewed."""
    due = time.monotonic() + BEAT_EVERY
    for row in rows:
        yield row
        if time.monotonic() > due:
            transitions.beat(run)
            due = time.monotonic() + BEAT_EVERY


def judged(project: Project, batch: str = "") -> Iterator[tuple[int, Judged]]:
    """Every judgment received, with its key, in memory that doesn't grow with their number."""
    about = _About.of(project)
    rows = _received(project, batch).with_reason().order_by("pk").values(*OWN, **COLUMNS)
    found = rows.iterator(chunk_size=CHUNK)
    while chunk := list(islice(found, CHUNK)):
        texts = {response for row in chunk for response in row["shown"]}
        lengths = dict(
            Response.objects.filter(pk__in=texts).annotate(n=Length("text")).values_list("pk", "n")
        )
        for row in chunk:
            yield row["pk"], _line(row, about, lengths)


@dataclass(frozen=True, slots=True)
class _About:
    """What is looked up once for all judgments of a project."""

    name: Callable[[int], str]
    groups: dict[int, str]
    excluded: dict[int, datetime]  # raters, and since when
    voided: set[int]
    withdrawn: set[int]  # responses

    @classmethod
    def of(cls, project: Project) -> _About:
        names: dict[int, str] = {}

        def name(rater: int) -> str:
            if rater not in names:
                names[rater] = project.pseudonym(rater)
            return names[rater]

        exclusions = RaterAction.objects.filter(
            membership__project=project, kind=RaterAction.Kind.EXCLUDE, undone_at=None
        )
        voids = Void.objects.filter(judgment__assignment__comparison__project=project, undone_at=None)
        gone = Response.objects.filter(prompt__project=project, withdrawn_at__isnull=False)
        return cls(
            name,
            dict(Membership.objects.filter(project=project).values_list("user_id", "group")),
            dict(
                exclusions.values("membership__user")
                .annotate(first=Min("since"))
                .values_list("membership__user", "first")
            ),
            set(voids.values_list("judgment_id", flat=True)),
            set(gone.values_list("pk", flat=True)),
        )


def _line(row: dict[str, Any], about: _About, lengths: dict[int, int]) -> Judged:
    reason, counted = _what_becomes(row, about)
    order = row["order"][:-1] if row["top"] and len(row["order"]) > 1 else row["order"]
    return Judged(
        rater=about.name(row["rater"]),
        comparison=row["comparison"],
        prompt=row["prompt"],
        purpose=row["purpose"],
        shown=tuple(row["shown"]),
        order=tuple(map(tuple, order)),
        at=row["received_at"].isoformat(),
        all_bad=row["all_bad"],
        strength=row["strength"],
        counted=counted,
        reason=reason,
        late=row["late"],
        simulated=row["simulated"],
        active_ms=row["active_ms"],
        length=tuple(lengths.get(response, 0) for response in row["shown"]),
        since_break=row["since_break"],
        minutes_since_break=_minutes(row["sitting_at"], row["leased_at"]),
        gold=tuple(map(tuple, row["known"])) if row["rule"] == Rule.GOLD and row["known"] else None,
        repeats=row["comparison"] if row["rule"] == Rule.REPEAT else None,
        group=about.groups.get(row["rater"]) or None,
        rationale_length=row["rationale_length"],
        opened_all=row["normal"],
    )


def _what_becomes(row: dict[str, Any], about: _About) -> tuple[str, bool]:
    """Why nothing is learned from a judgment, and whether the figures count it."""
    reason, served = row["left_out"], row["left_out"] in ("known answer", "swapped repeat")
    from_then = about.excluded.get(row["rater"])
    if reason == "rater excluded" or (served and from_then is not None and from_then <= row["received_at"]):
        return EXCLUDED, False
    spoiled = served and (
        row["pk"] in about.voided
        or row["prompt_withdrawn"] is not None
        or not about.withdrawn.isdisjoint(row["shown"])
        or not row["normal"]
    )
    return reason, reason in MEASURED and not spoiled and row["rule"] != Rule.ADJUDICATION


def _minutes(sitting_at: datetime | None, leased_at: datetime) -> float | None:
    if sitting_at is None:
        return None
    return round(max(0.0, (leased_at - sitting_at).total_seconds() / 60), 3)


def _received(project: Project, batch: str) -> AppendOnlyQuerySet:
    rows = Judgment.objects.of_project(project)
    if not batch:
        return rows
    of_batch = Q(assignment__comparison__batch=batch)
    span = rows.filter(of_batch).aggregate(first=Min("received_at"), last=Max("received_at"))
    if span["first"] is None:
        return rows.filter(of_batch)
    between = Q(assignment__rule=Rule.GOLD, received_at__range=(span["first"], span["last"]))
    return rows.filter(of_batch | between)


def _skips(project: Project, batch: str) -> dict[str, int]:
    rows = Assignment.objects.filter(comparison__project=project, state=AssignmentState.SKIPPED)
    if batch:
        rows = rows.filter(comparison__batch=batch)
    counts = rows.values("rater").annotate(n=Count("pk")).values_list("rater", "n").order_by()
    return {project.pseudonym(rater): n for rater, n in counts}


# What becomes of the result


def store(run: Run, directory: RunDirectory) -> None:
    """Keep the figures; those of the whole project also give each rater their weight."""
    project, result = Project.objects.get(slug=run.config["project"]), directory.result()
    beside = json.loads((directory.path / "input" / "beside.json").read_text(encoding="utf-8"))
    batch = run.config["batch"]
    QualityFigures.objects.create(
        project=project,
        batch=batch,
        computed_at=datetime.fromisoformat(beside["at"]),
        judgments=result["counts"]["received"],
        values={**result, "last": beside["last"], "checks": beside["checks"]},
        run=run,
    )
    if not batch:
        _give_weights(project, {one["rater"]: one["weight"] for one in result["raters"]})
    mine = QualityFigures.objects.filter(project=project, batch=batch).order_by("-computed_at", "-pk")
    QualityFigures.objects.filter(pk__in=list(mine.values_list("pk", flat=True)[KEPT:])).delete()


def _give_weights(project: Project, weights: dict[str, float | None]) -> None:
    changed = []
    for member in Membership.objects.filter(project=project).only("user_id", "weight"):
        weight = weights.get(project.pseudonym(member.user_id))
        if weight is not None and weight != member.weight:
            member.weight = weight
            changed.append(member)
    Membership.objects.bulk_update(changed, ["weight"], batch_size=500)
