"""What people say about themselves: the questions, the answers, and the panel that follows."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import background
from annotate.access import PersonRequest, project_for
from annotate.models import LABELING, BackgroundAnswer, BackgroundQuestion, Project, Role
from annotate.people_forms import BackgroundForm, QuestionForm


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(*LABELING)
def answers(request: PersonRequest, project: Project) -> HttpResponse:
    """A rater's own answers, which they may give, change, leave out and delete."""
    questions = list(background.open_questions(project))
    given = background.answers_of(project, request.user)
    posted = request.POST if request.method == "POST" else None
    form = BackgroundForm(posted, questions=questions, given=given)
    if posted is not None and "forget" in posted:
        background.forget(project, request.user)
        return redirect("annotate:background", project.slug)
    if posted is not None and form.is_valid():
        background.answer(project, request.user, form.answers())
        return redirect("annotate:compare", project.slug)
    context = {"project": project, "form": form, "given": given, "enough": background.ENOUGH}
    return render(request, "annotate/background.html", context, status=400 if form.errors else 200)


@never_cache
@require_GET
@project_for(Role.ADMIN)
def questions(request: PersonRequest, project: Project) -> HttpResponse:
    """The project's questions, as its admins keep them."""
    rows = BackgroundQuestion.objects.filter(project=project)
    context = {"project": project, "questions": rows}
    return render(request, "annotate/questions.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def question(request: PersonRequest, project: Project, pk: int | None = None) -> HttpResponse:
    """Write a question, or change one."""
    asked = BackgroundQuestion(project=project)
    if pk is not None:
        asked = get_object_or_404(BackgroundQuestion, project=project, pk=pk)
    used: set[str] = set()
    if pk is not None:
        for options in BackgroundAnswer.objects.filter(question=asked).values_list("options", flat=True):
            used.update(options)
    posted: Any = request.POST if request.method == "POST" else None
    form = QuestionForm(posted, question=asked, used=used)
    if posted is not None and form.is_valid():
        background.save_question(form.changed(), request.user)
        return redirect("annotate:questions", project.slug)
    context = {"project": project, "form": form, "question": asked, "used": used}
    return render(request, "annotate/question.html", context, status=400 if form.errors else 200)


@require_POST
@project_for(Role.ADMIN)
def retire(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Ask a question no more, or again."""
    asked = get_object_or_404(BackgroundQuestion, project=project, pk=pk)
    background.retire(asked, request.user, back="back" in request.POST)
    return redirect("annotate:questions", project.slug)


@never_cache
@require_GET
@project_for(Role.ADMIN, Role.RESEARCHER)
def panel(request: PersonRequest, project: Project) -> HttpResponse:
    """Who labels, beside whom the product is for; no cell of fewer than ten people."""
    context = {"project": project, "answered": background.panel(project), "enough": background.ENOUGH}
    return render(request, "annotate/panel.html", context)
