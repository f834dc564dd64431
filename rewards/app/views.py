"""The pages of reward models: all of a project, one with its figures, and the form of the next."""

from typing import Any

from django.http import FileResponse, Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import capfirst
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.access import PersonRequest, project_for
from annotate.models import AuditEvent, Project, Role
from rewards.app import api, bases, charts, comparing, decisions, figures, starting
from rewards.app.forms import StartForm
from rewards.app.models import RewardModel
from runs.models import RefusedError, Run, State
from runs.views import lasting

SHOWN = 50  # reward models of a list
EXAMPLES = 20  # pairs of each sort, to read
OPEN = 3  # of them unfolded
OTHERS = 10  # reward models to compare with


# All of a project


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def models(request: PersonRequest, project: Project) -> HttpResponse:
    """All reward models of a project, the runs that make the next ones, and how many judgments there are."""
    rows = list(project.reward_models.select_related("run").order_by("-pk")[:SHOWN])
    standing = starting.standing(project)
    context = {
        "project": project,
        "rows": [{"model": row, "strip": _small(row)} for row in rows],
        "promoted": RewardModel.objects.promoted_of(project),
        "unfinished": _unfinished(project),
        "standing": standing,
        "since": standing.judgments - rows[0].judgments if rows else 0,
        "reason": _reason_against(project, standing),
    }
    return render(request, "rewards/models.html", context)


def _unfinished(project: Project) -> list[Run]:
    """Runs that a reward model may still come of: those under way, and what failed since the last success."""
    runs = Run.objects.filter(kind="reward-model", scope=project.scope)
    last = runs.filter(state=State.SUCCEEDED).order_by("-pk").values_list("pk", flat=True).first() or 0
    failed = runs.filter(state=State.FAILED, pk__gt=last)
    return [*runs.active(), *failed]


def _reason_against(project: Project, standing: starting.Standing) -> str:
    """Why no run can start now; empty where one can."""
    if not bases.of_project(project):
        return "This project has no model to start from; add one with manage.py policy add."
    return standing.reason_against(simulated=True)


def _small(model: RewardModel) -> charts.Strip | None:
    """The accuracy of a row as a strip that needs no words."""
    if model.accuracy is None:
        return None
    figure = charts.Figure("Accuracy", model.accuracy, model.accuracy_low, model.accuracy_high)
    return charts.strip(figure, above=None, below=None)


# The next one


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def new(request: PersonRequest, project: Project) -> HttpResponse:
    """Start a run from the judgments that stand."""
    found, standing = bases.of_project(project), starting.standing(project)
    form = StartForm(request.POST or None, bases=found, standing=standing)
    status, refused = 200, ""
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                run = starting.start(
                    project,
                    form.chosen(),
                    form.config(),
                    key=str(form.cleaned_data["key"]),
                    by=request.user,
                )
            except RefusedError as error:
                status, refused = 409, str(error)
            else:
                if api.asked_for(request):
                    return JsonResponse(api.run_as_json(run), status=201)
                return redirect("runs:run", run.pk)
        if api.asked_for(request):
            return JsonResponse({"error": refused or form.errors.get_json_data()}, status=status)
    context = {
        "project": project,
        "form": form,
        "bases": found,
        "standing": standing,
        "needed": starting.FEWEST,
        "reason": _reason_against(project, standing),
        "refused": refused,
    }
    return render(request, "rewards/new.html", context, status=status)


# One


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def model(request: PersonRequest, project: Project, model: int) -> HttpResponse:
    """What a reward model was made from and what it was measured by."""
    found = _find(project, model)
    other = request.GET.get("beside", "")
    beside = _find(project, int(other)) if other.isdecimal() and len(other) < 19 else None
    return render(request, "rewards/model.html", _facts(request, found, beside))


def _facts(
    request: PersonRequest, found: RewardModel, beside: RewardModel | None = None, refused: str = ""
) -> dict[str, Any]:
    """All that the page of a reward model shows."""
    measured = found.evaluations.select_related("run").order_by("-pk").first()
    shown = figures.with_evaluation(found.figures, measured.figures if measured else {})
    checks = figures.gates(shown)
    columns, raters = figures.raters(found.figures) if request.role == Role.ADMIN else ([], [])
    directory = found.run.directory.path
    beside = beside or RewardModel.objects.before(found)
    return {
        "project": found.project,
        "model": found,
        "promoted": RewardModel.objects.promoted_of(found.project),
        "verdict": figures.verdict(found, checks),
        "headline": figures.headline(found),
        "accuracy": _accuracy(found),
        "ceiling": figures.ceiling_of(found),
        "longer": figures.read(found.figures, "longer_wins"),
        "measured_on": figures.measured_on(found.figures),
        "summary": figures.summary(found),
        "gates": checks,
        "measured": measured,
        "measuring_alone": comparing.under_way(found),
        "ceiling_reason": figures.words(found.figures, "ceiling_reason"),
        "pictures": figures.pictures(shown),
        "missing": figures.missing(shown),
        "failing": any(check.passed is False for check in checks),
        "columns": columns,
        "raters": raters,
        "mistakes": _examples(directory / "mistakes.jsonl"),
        "disputed": _examples(directory / "disputed.jsonl"),
        "members": found.members or 1,
        "rest": figures.rest(found.figures),
        "lasted": lasting(found.run.active_time()),
        "has_pairs": found.pairs_file.is_file(),
        "refused": refused,
        **(_beside(found, beside) if beside and beside != found else {}),
    }


def _accuracy(model: RewardModel) -> dict[str, str] | None:
    if model.accuracy is None:
        return None
    ends = (model.accuracy_low, model.accuracy_high)
    between = " to ".join(charts.percent(end) for end in ends if end is not None)
    return {"value": charts.percent(model.accuracy), "interval": between}


def _examples(file: Any) -> dict[str, Any]:
    found = figures.examples(file, EXAMPLES)
    return {"first": found[:OPEN], "others": found[OPEN:], "is_there": file.is_file()}


def _beside(found: RewardModel, other: RewardModel) -> dict[str, Any]:
    """The model and another one on the same pairs, the earlier of the two first."""
    first, second = sorted((found, other), key=lambda one: one.pk)
    same = comparing.latest(first, second)
    others = RewardModel.objects.filter(project=found.project).exclude(pk=found.pk).order_by("-pk")[:OTHERS]
    rows = figures.side_by_side(same.first.figures, same.second.figures) if same else []
    if not same and first.pairs_sha256 and first.pairs_sha256 == second.pairs_sha256:
        rows = figures.side_by_side(first.figures, second.figures)
    return {
        "beside": other,
        "others": others,
        "first": first,
        "second": second,
        "same": same,
        "compared": rows,
        "measuring": comparing.under_way(first, second),
    }


@require_POST
@project_for(Role.ADMIN)
def promote(request: PersonRequest, project: Project, model: int) -> HttpResponse:
    """Score waiting comparisons by this one."""
    found, replaces = _find(project, model), request.POST.get("replaces", "")
    seen = int(replaces) if replaces.isdecimal() and len(replaces) < 19 else None
    return _act(request, found, lambda: decisions.promote(found, request.user, replaces=seen))


@require_POST
@project_for(Role.ADMIN)
def retire(request: PersonRequest, project: Project, model: int) -> HttpResponse:
    """Use it no more."""
    found = _find(project, model)
    return _act(request, found, lambda: decisions.retire(found, request.user))


@require_POST
@project_for(Role.ADMIN)
def measure(request: PersonRequest, project: Project, model: int) -> HttpResponse:
    """Measure the model on judgments that are new to it, or, beside another one, new to both."""
    found, other = _find(project, model), request.POST.get("beside", "")
    beside = _find(project, int(other)) if other.isdecimal() and len(other) < 19 else None
    by = request.user.get_username()
    both = sorted(
        {found.pk: found, **({beside.pk: beside} if beside else {})}.values(), key=lambda one: one.pk
    )
    return _act(request, found, lambda: comparing.start(*both, by=by), beside=beside)


def _act(
    request: PersonRequest, found: RewardModel, act: Any, *, beside: RewardModel | None = None
) -> HttpResponse:
    try:
        act()
    except RefusedError as error:
        if api.asked_for(request):
            return JsonResponse({"error": capfirst(str(error))}, status=409)
        again = _find(found.project, found.pk)
        return render(request, "rewards/model.html", _facts(request, again, beside, str(error)), status=409)
    if api.asked_for(request):
        return JsonResponse(api.as_json(_find(found.project, found.pk)))
    address = redirect("rewards:model", found.project.slug, found.pk)
    if beside is not None:
        address["Location"] += f"?beside={beside.pk}#h-beside"
    return address


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def pairs(request: PersonRequest, project: Project, model: int) -> FileResponse:
    """The preferences that it learned from, as they were."""
    found = _find(project, model)
    try:
        file = found.pairs_file.open("rb")
    except OSError:
        raise Http404(f"{found.title} has no pairs.jsonl any more") from None
    name = f"{project.slug}-reward-model-{found.pk}-pairs.jsonl"
    AuditEvent.record("downloaded", request.user, project, file=name)
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/x-ndjson")


def _find(project: Project, model: int) -> RewardModel:
    rows = RewardModel.objects.select_related("project", "run", "base_run")
    return get_object_or_404(rows, project=project, pk=model)
