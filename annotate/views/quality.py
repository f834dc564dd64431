"""What is known of quality, each rater's own page with what can be done about them, and disagreements."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import browsing, disagreements, intervals, measured, quality_job, rater_actions
from annotate.access import PersonRequest, project_for
from annotate.models import (
    LABELING,
    Assignment,
    AssignmentState,
    Comparison,
    Judgment,
    Membership,
    Project,
    QualityFigures,
    RaterAction,
    Role,
    Rule,
)
from annotate.quality_forms import ActionForm
from annotate.views import rating
from annotate.views.browse import in_words

SHOWN = 50  # disagreements on the page
NO_BATCH = "No batch of this project is called “%s”."


# Quality


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def quality(request: PersonRequest, project: Project) -> HttpResponse:
    """What is known of a project's judgments, or of one batch; starts the job where there is news."""
    batches = _batches(project)
    batch = request.GET.get("batch", "")
    if batch and batch not in batches:
        raise Http404(NO_BATCH % batch[:100])
    run = quality_job.start_if_due(project, batch=batch, started_by="the page of quality")
    figures = quality_job.latest(project, batch)
    context = {
        "project": project,
        "batch": batch,
        "batches": batches,
        "figures": figures,
        "run": run,
        "may_refresh": project.archived_at is None,
        **(_shown(request, project, figures) if figures else {}),
    }
    return render(request, "annotate/quality.html", context)


def _shown(request: PersonRequest, project: Project, figures: QualityFigures) -> dict[str, Any]:
    values = figures.values
    hourly = [(name, values["fatigue"][kind]["per_hour"]) for kind, name in measured.KINDS]
    finding = measured.tired(values)
    named = request.role == Role.ADMIN
    return {
        "since": quality_job.since(figures),
        "headlines": measured.headlines(values),
        "sections": measured.sections(values),
        "counts": measured.counts(values),
        "charts": intervals.changes(hourly, finding),
        "fatigue": measured.fatigue(values),
        "finding": finding,
        "checks": values.get("checks", []),
        "raters": _raters(project, values) if named else [],
        "rater_count": len(values["raters"]),
    }


def _raters(project: Project, values: measured.Values) -> list[dict[str, Any]]:
    """A line for each rater, those first about whom something is suggested."""
    members = Membership.objects.filter(project=project).select_related("user")
    by_pseudonym = {project.pseudonym(member.user_id): member for member in members}
    rows = [
        {"member": by_pseudonym[one["rater"]], **_reading(one), "cells": measured.rater_cells(one)}
        for one in values["raters"]
        if one["rater"] in by_pseudonym
    ]
    return sorted(rows, key=lambda row: (not row["suggestion"], -row["judgments"], row["member"].user_id))


def _reading(one: measured.Values) -> dict[str, Any]:
    word, meaning = measured.READINGS[one["reading"]]
    return {
        "judgments": one["judgments"],
        "excluded": one["excluded"],
        "weight": measured.share("Weight", one["care"], "observation"),
        "reading": word,
        "meaning": meaning,
        "suggestion": measured.SUGGESTIONS[one["action"]],
    }


def _batches(project: Project) -> list[str]:
    return [batch for batch in browsing.batches(project) if batch]


@require_POST
@project_for(Role.ADMIN, Role.RESEARCHER)
def refresh(request: PersonRequest, project: Project) -> HttpResponse:
    """Compute the figures now."""
    batch = request.POST.get("batch", "")
    if batch and batch not in _batches(project):
        raise Http404(NO_BATCH % batch[:100])
    quality_job.start(project, batch=batch, started_by=request.user.get_username())
    address = reverse("annotate:quality", args=[project.slug])
    return redirect(f"{address}?{urlencode({'batch': batch})}" if batch else address)


# A rater


@never_cache
@require_GET
@project_for(Role.ADMIN)
def rater(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """One rater: figures, what was done about them, and what can be done."""
    return _rater_page(request, _labeling_member(project, pk))


def _rater_page(
    request: PersonRequest, membership: Membership, *, problem: str = "", status: int = 200
) -> HttpResponse:
    project = membership.project
    figures = quality_job.latest(project)
    pseudonym = project.pseudonym(membership.user_id)
    rows = figures.values["raters"] if figures else []
    mine = next((one for one in rows if one["rater"] == pseudonym), None)
    received = Judgment.objects.of_project(project).filter(assignment__rater=membership.user_id)
    context = {
        "project": project,
        "member": membership,
        "pseudonym": pseudonym,
        "figures": figures,
        "reading": _reading(mine) if mine else None,
        "sections": measured.of_rater(mine) if mine else [],
        "received": received.count(),
        "used": rater_actions.used_of(membership),
        "left_out_since": rater_actions.left_out_since(membership),
        "history": [
            {"action": action, "final": action.kind == "message" and action.seen_at is not None}
            for action in rater_actions.history(membership)
        ],
        "may_act": project.archived_at is None,
        "posted": request.POST if problem else {},
        "problem": problem,
    }
    return render(request, "annotate/rater_quality.html", context, status=status)


@never_cache
@require_POST
@project_for(Role.ADMIN)
def act(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Write to a rater, pause them, send them through the examples again, or leave judgments out."""
    membership = _labeling_member(project, pk)
    form = ActionForm(request.POST)
    if not form.is_valid():
        return _rater_page(request, membership, problem=form.problem, status=400)
    kind, text, since = form.values
    try:
        if kind == RaterAction.Kind.EXCLUDE:
            rater_actions.exclude(membership, request.user, text, since)
        else:
            {
                RaterAction.Kind.MESSAGE: rater_actions.message,
                RaterAction.Kind.PAUSE: rater_actions.pause,
                RaterAction.Kind.RETRAIN: rater_actions.retrain,
            }[RaterAction.Kind(kind)](membership, request.user, text)
    except rater_actions.ActionError as error:
        return _rater_page(request, membership, problem=str(error), status=409)
    return _done(request, membership, measure=kind == RaterAction.Kind.EXCLUDE)


@never_cache
@require_POST
@project_for(Role.ADMIN)
def let_go_on(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """End a rater's pause."""
    membership = _labeling_member(project, pk)
    try:
        rater_actions.let_go_on(membership, request.user)
    except rater_actions.ActionError as error:
        return _rater_page(request, membership, problem=str(error), status=409)
    return _done(request, membership)


@never_cache
@require_POST
@project_for(Role.ADMIN)
def undo_action(request: PersonRequest, project: Project, pk: int, action: int) -> HttpResponse:
    """Take back what was done about a rater."""
    membership = _labeling_member(project, pk)
    found = get_object_or_404(RaterAction, pk=action, membership=membership)
    try:
        rater_actions.undo(found, request.user)
    except rater_actions.ActionError as error:
        return _rater_page(request, membership, problem=str(error), status=409)
    return _done(request, membership, measure=found.kind == RaterAction.Kind.EXCLUDE)


def _done(request: PersonRequest, membership: Membership, *, measure: bool = False) -> HttpResponse:
    """Back to the rater; what changes the figures has them computed anew."""
    if measure:
        quality_job.start(membership.project, started_by=request.user.get_username())
    return redirect("annotate:rater", membership.project.slug, membership.pk)


def _labeling_member(project: Project, pk: int) -> Membership:
    rows = Membership.objects.select_related("user", "project").filter(role__in=LABELING)
    return get_object_or_404(rows, project=project, pk=pk)


# Disagreements


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def all_disagreements(request: PersonRequest, project: Project) -> HttpResponse:
    """Where raters differ, and what adjudicators decided; to read."""
    found = list(disagreements.waiting(project))
    first = Comparison.objects.select_related("prompt").in_bulk([one.comparison for one in found[:SHOWN]])
    decided = disagreements.decided(project)
    held = Q(state=AssignmentState.OPEN, leased_until__gt=timezone.now())
    context = {
        "project": project,
        "waiting": [
            {"comparison": first[one.comparison], "votes": _votes(first[one.comparison], one)}
            for one in found[:SHOWN]
        ],
        "waiting_count": len(found),
        "held": Assignment.objects.filter(held, comparison__project=project, rule=Rule.ADJUDICATION).count(),
        "decided": [_decision(request, project, judgment) for judgment in decided[:SHOWN]],
        "decided_count": decided.count(),
        "adjudicators": Membership.objects.filter(project=project, role=Role.ADJUDICATOR).count(),
    }
    return render(request, "annotate/disagreements.html", context)


def _votes(comparison: Comparison, found: disagreements.Disagreement) -> list[tuple[str, int]]:
    """The answers by the numbers that the prompt's page gives responses, most votes first."""
    keys = comparison.prompt.responses.order_by("pk").values_list("pk", flat=True)
    number = {key: place for place, key in enumerate(keys, 1)}

    def words(best: disagreements.Best) -> str:
        return (
            "a tie"
            if len(best) == len(comparison.response_ids)
            else " = ".join(str(number[one]) for one in best)
        )

    return [(words(best), count) for best, count in found.votes.most_common()]


def _decision(request: PersonRequest, project: Project, judgment: Judgment) -> dict[str, Any]:
    assignment = judgment.assignment
    named = request.role == Role.ADMIN
    return {
        "judgment": judgment,
        "by": assignment.rater.get_username() if named else project.pseudonym(assignment.rater_id),
        "words": in_words(judgment),
        "known": disagreements.known_answer_of(assignment.comparison) is not None,
    }


@never_cache
@require_GET
@project_for(Role.ADJUDICATOR)
def adjudicate(request: PersonRequest, project: Project) -> HttpResponse:
    """Show the adjudicator the next disagreement, as any comparison, or say that none is left."""
    if request.membership.paused_at is not None:
        return redirect("annotate:compare", project.slug)
    assignment = None if project.archived_at else disagreements.next_for(request.user, project)
    if assignment is None:
        return render(request, "annotate/nothing_to_decide.html", {"project": project})
    return rating.screen(request, assignment, project)


@never_cache
@require_http_methods(["GET", "POST"])
def adjudicated(request: PersonRequest, key: UUID) -> HttpResponse:
    """After the adjudicator's vote: what the others said; it can become a known answer."""
    assignment = _own_adjudication(request, key)
    judgment = assignment.judgment
    if judgment is None:
        raise Http404
    comparison, problem = assignment.comparison, ""
    if request.method == "POST":
        try:
            disagreements.make_known_answer(judgment, request.user)
        except disagreements.NoKnownAnswerError as error:
            problem = str(error)
        else:
            return redirect("annotate:adjudicated", key)
    context = {
        **rating.shown(request, assignment, comparison.project),
        "assignment": None,  # the bar shows no sitting
        "key": key,
        "answered": rating.in_words(judgment),
        "votes": [_vote(assignment, judgment, one) for one in disagreements.votes_on(comparison)],
        "known": disagreements.known_answer_of(comparison) is not None,
        "has_best": not judgment.all_bad and len(judgment.order[0]) == 1,
        "problem": problem,
    }
    return render(request, "annotate/adjudicated.html", context, status=409 if problem else 200)


def _vote(assignment: Assignment, own: Judgment, other: Judgment) -> dict[str, Any]:
    """Another rater's judgment, by the letters that the adjudicator saw."""
    seen = Judgment(assignment=assignment, order=other.order, all_bad=other.all_bad, strength=other.strength)
    return {
        "rater": assignment.comparison.project.pseudonym(other.assignment.rater_id),
        "words": rating.in_words(seen),
        "same": set(other.order[0]) == set(own.order[0]),
        "rationale": other.rationale,
    }


def _own_adjudication(request: PersonRequest, key: UUID) -> Assignment:
    """An adjudication that the person made and may still see; anything else is not found."""
    rows = Assignment.objects.select_related(
        "comparison__project", "comparison__prompt", "guideline", "rater"
    )
    return get_object_or_404(
        rows,
        key=key,
        rater=request.user.pk,
        rule=Rule.ADJUDICATION,
        state=AssignmentState.JUDGED,
        comparison__project__in=Project.objects.for_user(request.user, Role.ADJUDICATOR),
    )
