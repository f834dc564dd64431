"""Browsing and searching a project's data, and taking pieces of it out."""

from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotate import browsing, withdrawing
from annotate.access import PersonRequest, project_for
from annotate.models import Comparison, Judgment, Project, Prompt, Response, Role, User
from annotate.project_forms import ReasonForm

COMPARISONS = 100  # of one prompt's page
LETTERS = "ABCDEFGHI"
STEPS = ("equal", "slightly", "better", "much better")  # as `Judgment.strength` counts


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def prompts(request: PersonRequest, project: Project) -> HttpResponse:
    """The prompts, by filters and words."""
    return _list(request, project, "prompts", browsing.Prompts(request.GET, project=project))


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def responses(request: PersonRequest, project: Project) -> HttpResponse:
    """The responses, by filters and words."""
    return _list(request, project, "responses", browsing.Responses(request.GET, project=project))


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def judgments(request: PersonRequest, project: Project) -> HttpResponse:
    """The judgments, by filters and words."""
    form = browsing.Judgments(request.GET, project=project, named=request.role == Role.ADMIN)
    return _list(request, project, "judgments", form)


def _list(request: PersonRequest, project: Project, what: str, form: Any) -> HttpResponse:
    valid = form.is_valid()
    page = form.page() if valid else None
    rest = {name: value for name, value in request.GET.items() if name != "before"}
    context = {
        "project": project,
        "what": what,
        "form": form,
        "page": page,
        "rows": [_row(request, project, row) for row in page.rows] if page else [],
        "later": urlencode(rest),
        "next": urlencode({**rest, "before": page.before}) if page and page.before else "",
        "narrowed": valid and form.chosen(),
    }
    return render(request, f"annotate/browse_{what}.html", context, status=200 if valid else 400)


def _row(request: PersonRequest, project: Project, row: Any) -> Any:
    if not isinstance(row, Judgment):
        return row
    return {"judgment": row, **_about(request, project, row)}


def _about(request: PersonRequest, project: Project, judgment: Judgment) -> dict[str, Any]:
    """What a list says of a judgment: who, what, and whether it is used."""
    assignment = judgment.assignment
    named = request.role == Role.ADMIN
    return {
        "rater": assignment.rater.get_username() if named else project.pseudonym(assignment.rater_id),
        "words": in_words(judgment),
    }


def in_words(judgment: Judgment) -> str:
    """A judgment by the letters that the rater saw: `B > A`, `A = B`, `all bad`."""
    if judgment.all_bad:
        return "all bad"
    shown = judgment.assignment.shown
    letter = {response: LETTERS[place] for place, response in enumerate(shown)}
    groups = [" = ".join(sorted(letter[one] for one in group)) for group in judgment.order]
    words = " > ".join(groups)
    return words if judgment.strength is None else f"{words} ({STEPS[judgment.strength]})"


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def prompt(request: PersonRequest, project: Project, prompt: int) -> HttpResponse:
    """One prompt with its responses, comparisons and judgments."""
    found = get_object_or_404(Prompt, pk=prompt, project=project)
    responses = list(found.responses.order_by("pk"))
    number = {response.pk: place for place, response in enumerate(responses, 1)}
    comparisons = found.comparisons.order_by("pk").prefetch_related("assignments")[:COMPARISONS]
    answers: dict[int, list[dict[str, Any]]] = {}
    judged = Judgment.objects.of_project(project).with_reason().select_related("assignment__rater")
    for judgment in judged.filter(assignment__comparison__prompt=found).order_by("pk"):
        entry = {"judgment": judgment, **_about(request, project, judgment)}
        entry["words"] = _by_number(judgment, number)
        answers.setdefault(judgment.assignment.comparison_id, []).append(entry)
    context = {
        "project": project,
        "prompt": found,
        "earlier": found.messages[:-1],
        "asked": found.messages[-1],
        "responses": [{"number": number[one.pk], "response": one} for one in responses],
        "comparisons": [
            {
                "comparison": comparison,
                "key": f"comparison-{comparison.pk}",
                "numbers": ", ".join(str(number[key]) for key in _responses_of(comparison) if key in number),
                "judgments": answers.get(comparison.pk, []),
                "by_person": comparison.closed_reason.startswith(withdrawing.BY_PERSON),
            }
            for comparison in comparisons
        ],
        "more": max(0, found.comparisons.count() - COMPARISONS),
        "may_act": _may_act(request, project),
    }
    return render(request, "annotate/prompt.html", context)


def _responses_of(comparison: Comparison) -> list[int]:
    """The responses of a comparison in canonical order."""
    if comparison.response_ids:
        return list(comparison.response_ids)
    return list(comparison.responses.order_by("comparedresponse__position").values_list("pk", flat=True))


def _by_number(judgment: Judgment, number: dict[int, int]) -> str:
    """A judgment by the numbers that the responses have on the prompt's page."""
    if judgment.all_bad:
        return "all bad"
    groups = [" = ".join(str(number.get(one, "?")) for one in group) for group in judgment.order]
    return " > ".join(groups)


def _may_act(request: PersonRequest, project: Project) -> bool:
    return request.role == Role.ADMIN and project.archived_at is None


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def judgment(request: PersonRequest, project: Project, judgment: int) -> HttpResponse:
    """One judgment: what was shown, what was answered, when, and what came before it."""
    found = _judgment(project, judgment)
    assignment = found.assignment
    texts = Response.objects.in_bulk(assignment.shown)
    scores, labels = found.scores or [], found.labels or []
    context = {
        "project": project,
        "judgment": found,
        "seconds": round((found.active_ms or 0) / 1000, 1),
        "prompt": assignment.comparison.prompt,
        "asked": assignment.comparison.prompt.messages[-1],
        "sides": [
            {
                "letter": LETTERS[place],
                "response": texts[key],
                "score": scores[place] if place < len(scores) else None,
                "labels": labels[place] if place < len(labels) else [],
            }
            for place, key in enumerate(assignment.shown)
        ],
        "history": [
            {"judgment": one, "words": in_words(one)}
            for one in assignment.judgments.select_related("assignment").order_by("-pk")
        ],
        "voids": found.voids.select_related("by").order_by("-at"),
        "out": found.voids.filter(undone_at=None).first(),
        "flags": assignment.flags.select_related("response").order_by("at"),
        "may_act": _may_act(request, project),
        **_about(request, project, found),
    }
    return render(request, "annotate/judgment.html", context)


def _judgment(project: Project, key: int) -> Judgment:
    rows = Judgment.objects.with_reason().filter(assignment__comparison__project=project)
    related = ("assignment__rater", "assignment__guideline", "assignment__comparison__prompt")
    return get_object_or_404(rows.select_related(*related, "assignment__comparison__project"), pk=key)


# Out and in again


@require_POST
@project_for(Role.ADMIN)
def withdraw_prompt(request: PersonRequest, project: Project, prompt: int) -> HttpResponse:
    """Take a prompt out."""
    found = get_object_or_404(Prompt, pk=prompt, project=project)
    take_out = partial(withdrawing.withdraw_prompt, found)
    return _with_reason(request, project, take_out) or redirect("annotate:prompt", project.slug, found.pk)


@require_POST
@project_for(Role.ADMIN)
def bring_back_prompt(request: PersonRequest, project: Project, prompt: int) -> HttpResponse:
    """Take a prompt in again."""
    found = get_object_or_404(Prompt, pk=prompt, project=project)
    withdrawing.bring_back_prompt(found, request.user)
    return redirect("annotate:prompt", project.slug, found.pk)


@require_POST
@project_for(Role.ADMIN)
def withdraw_response(request: PersonRequest, project: Project, response: int) -> HttpResponse:
    """Take a response out."""
    found = _response(project, response)
    take_out = partial(withdrawing.withdraw_response, found)
    return _with_reason(request, project, take_out) or redirect(
        "annotate:prompt", project.slug, found.prompt_id
    )


@require_POST
@project_for(Role.ADMIN)
def bring_back_response(request: PersonRequest, project: Project, response: int) -> HttpResponse:
    """Take a response in again."""
    found = _response(project, response)
    withdrawing.bring_back_response(found, request.user)
    return redirect("annotate:prompt", project.slug, found.prompt_id)


def _response(project: Project, key: int) -> Response:
    rows = Response.objects.select_related("prompt__project")
    return get_object_or_404(rows, pk=key, prompt__project=project)


@require_POST
@project_for(Role.ADMIN)
def leave_out(request: PersonRequest, project: Project, judgment: int) -> HttpResponse:
    """Leave a judgment out."""
    found = _judgment(project, judgment)
    take_out = partial(withdrawing.leave_out, found)
    return _with_reason(request, project, take_out) or redirect("annotate:judgment", project.slug, found.pk)


@require_POST
@project_for(Role.ADMIN)
def take_in(request: PersonRequest, project: Project, judgment: int) -> HttpResponse:
    """Use a judgment again."""
    found = _judgment(project, judgment)
    withdrawing.take_in(found, request.user)
    return redirect("annotate:judgment", project.slug, found.pk)


def _with_reason(
    request: PersonRequest, project: Project, act: Callable[[str, User], bool]
) -> HttpResponse | None:
    """Do what needs a reason; a page that says so where none was given."""
    form = ReasonForm(request.POST)
    if form.is_valid():
        act(form.cleaned_data["reason"], request.user)
        return None
    context = {"project": project, "title": "Not done", "reason": "Give a reason of at most 200 characters."}
    return render(request, "annotate/not_done.html", context, status=400)
