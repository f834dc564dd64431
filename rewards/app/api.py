"""Reward models as JSON, for programs with a session: reading here, acting by the addresses of the pages.

A program posts what a form posts, with the CSRF token, and gets JSON back where it asks for it in `Accept`.
"""

from typing import Any

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotate.access import PersonRequest, project_for
from annotate.models import Project, Role
from rewards.app.models import RewardModel
from runs.models import Run

ADMINS_ONLY = ("raters",)  # figures about single people


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def models(request: PersonRequest, project: Project) -> JsonResponse:
    """All reward models of a project, the latest first, without their figures."""
    rows = project.reward_models.select_related("project", "run").order_by("-pk")
    return JsonResponse({"reward_models": [as_json(row) for row in rows]})


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def model(request: PersonRequest, project: Project, model: int) -> JsonResponse:
    """One reward model with all its figures; those of single raters for admins alone."""
    rows = RewardModel.objects.select_related("project", "run")
    found = get_object_or_404(rows, project=project, pk=model)
    hidden = () if request.role == Role.ADMIN else ADMINS_ONLY
    figures = {name: value for name, value in found.figures.items() if name not in hidden}
    return JsonResponse({**as_json(found), "figures": figures})


def as_json(model: RewardModel) -> dict[str, Any]:
    """A reward model as its row tells it."""
    return {
        "id": model.pk,
        "state": model.state,
        "decided_by": model.decided_by,
        "decided_at": model.decided_at,
        "run": model.run_id,
        "base": model.base,
        "base_run": model.base_run_id,
        "trunk": model.trunk,
        "train": model.train,
        "members": model.members,
        "judgments": model.judgments,
        "pairs": model.pairs,
        "pairs_sha256": model.pairs_sha256,
        "accuracy": model.accuracy,
        "accuracy_low": model.accuracy_low,
        "accuracy_high": model.accuracy_high,
        "calibration_slope": model.calibration,
        "gain": model.gain,
        "bias": model.bias,
        "created_at": model.created_at,
        "page": reverse("rewards:model", args=[model.project.slug, model.pk]),
    }


def run_as_json(run: Run) -> dict[str, Any]:
    """A run that was started, and where to follow it."""
    return {"run": run.pk, "state": run.state, "page": reverse("runs:run", args=[run.pk])}


def asked_for(request: HttpRequest) -> bool:
    """Whether a program asks, which reads JSON and no pages."""
    return "application/json" in request.headers.get("Accept", "")
