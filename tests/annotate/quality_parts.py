"""Judgments in a project's tables, and the job that measures them without a worker."""

import json
from datetime import timedelta
from uuid import uuid4

from django.utils import timezone

from annotate import measure, quality_job
from annotate.answers import Posted
from annotate.assignment import take_place
from annotate.jobs import QualityMeasurement
from annotate.judging import judge
from annotate.models import Assignment, Judgment, QualityFigures
from runs.models import Run, State


def vote(rater, comparison, best="good", *, rule="queue", since_break=0, minutes=0, **answer) -> Judgment:
    """A rater's judgment; best is the beginning of a response's text, "tie" or "all bad"."""
    assignment = Assignment.objects.filter(comparison=comparison, rater=rater, rule=rule).first()
    now = timezone.now()
    if assignment is None:
        assignment = Assignment.objects.create(
            comparison=comparison,
            rater=rater,
            shown=list(comparison.response_ids),
            rule=rule,
            since_break=since_break,
            sitting_at=now - timedelta(minutes=minutes),
            leased_until=now + timedelta(minutes=30),
            holds_place=rule == "queue" and take_place(comparison.pk),
        )
    texts = [comparison.responses.get(pk=pk).text for pk in assignment.shown]
    if best == "all bad":
        posted = Posted(client_key=uuid4(), all_bad=True, **answer)
    elif best == "tie":
        posted = Posted(client_key=uuid4(), order="1=2", **answer)
    else:
        posted = Posted(client_key=uuid4(), order="1>2" if texts[0].startswith(best) else "2>1", **answer)
    judgment, _ = judge(assignment, posted.read(comparison.project.rules, len(texts)))
    return judgment


def measured(project, *, batch="") -> QualityFigures:
    """The figures, computed as the job computes them: files out, the program, files in."""
    run = quality_job.start(project, batch=batch, started_by="a test")
    carry_out(run)
    return quality_job.latest(project, batch)


def carry_out(run: Run) -> None:
    path = run.directory.path
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(run.config), encoding="utf-8")
    kind = QualityMeasurement()
    kind.prepare(run, run.directory)
    measure.main(["--config", str(path / "config.json"), "--output", str(path)])
    kind.finish(run, run.directory)
    Run.objects.filter(pk=run.pk).update(state=State.SUCCEEDED, finished_at=timezone.now())


def lines(run: Run) -> list[dict]:
    """What the program read."""
    text = (run.directory.path / "input" / "judged.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]
