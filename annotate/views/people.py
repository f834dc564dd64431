"""The people of a project, as its admins see and change them."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import people, sessions
from annotate.access import PersonRequest, project_for
from annotate.models import Invitation, Membership, Project, Role
from annotate.people_forms import WHAT_THEY_DO, EmailForm, InvitationForm, member_form

PAGE = 100
FRESH = "fresh_link"  # in the session: a link that was just made, shown by the next page and never again


@never_cache
@require_GET
@project_for(Role.ADMIN)
def people_page(request: PersonRequest, project: Project) -> HttpResponse:
    """Members with what they do and did, and the invitations."""
    search, after = request.GET.get("q", "")[:100], request.GET.get("after", "")[:150]
    found = people.of_project(project, search=search, after=after, limit=PAGE + 1)
    invitations = Invitation.objects.filter(project=project).select_related("made_by").order_by("-pk")
    context = {
        "project": project,
        "people": found[:PAGE],
        "next": found[PAGE - 1].user.username if len(found) > PAGE else "",
        "search": search,
        "after": after,
        "members": Membership.objects.filter(project=project).count(),
        "invitations": [(one, people.state_of(one)) for one in invitations[:PAGE]],
        "fresh": request.session.pop(FRESH, None),
    }
    return render(request, "annotate/people.html", context)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def invite(request: PersonRequest, project: Project) -> HttpResponse:
    """Make an invitation; its link is shown once, on the page that follows."""
    form = InvitationForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        invitation, link = people.invite(project, request.user, form.terms())
        what = f"The invitation for {invitation.label}" if invitation.label else "The invitation"
        request.session[FRESH] = {
            "link": link,
            "title": f"{what} is ready",
            "words": f"Copy its link now; it is not kept. {_how_it_works(invitation)}",
        }
        return redirect("annotate:people", project.slug)
    context = {"project": project, "form": form, "roles": WHAT_THEY_DO.items()}
    return render(request, "annotate/invitation.html", context, status=400 if form.errors else 200)


def _how_it_works(invitation: Invitation) -> str:
    many = "one person" if invitation.places == 1 else f"{invitation.places:,} people"
    until = f"It lets {many} in until {invitation.expires_at:%-d %B %Y}."
    if not invitation.id_parameter:
        return until
    return f"{until} Let your platform add each person’s id at the end."


@require_POST
@project_for(Role.ADMIN)
def revoke(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Take an invitation back."""
    people.revoke(get_object_or_404(Invitation, project=project, pk=pk), request.user)
    return redirect("annotate:people", project.slug)


@never_cache
@require_http_methods(["GET", "POST"])
@project_for(Role.ADMIN)
def person(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """One member: role, group and tags to change, and what to do about a lost way in."""
    membership = _member(project, pk)
    if request.method == "GET":
        return _person_page(request, membership)
    form = member_form(membership, request.POST)
    if not form.is_valid():
        return _person_page(request, membership, form=form, status=400)
    try:
        people.change(membership, request.user, **form.cleaned_data)
    except people.PeopleError as error:
        return _person_page(request, membership, form=form, problem=str(error), status=409)
    return redirect("annotate:person", project.slug, pk)


@require_POST
@project_for(Role.ADMIN, archived=True)
def new_link(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """A one-time link for who lost theirs, or their password."""
    membership = _member(project, pk)
    password = "password" in request.POST
    try:
        link = people.link_for(membership, request.user, password=password)
    except people.PeopleError as error:
        return _person_page(request, membership, problem=str(error), status=409)
    then = " and lets them set a new password" if password else ""
    request.session[FRESH] = {
        "link": link,
        "title": f"The link for {membership.user} is ready",
        "words": f"Copy it now; it is not kept. It signs them in once, within 15 minutes{then}.",
    }
    return redirect("annotate:person", project.slug, pk)


@require_POST
@project_for(Role.ADMIN)
def set_email(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """The address by which single sign-on knows them."""
    membership = _member(project, pk)
    form = EmailForm(request.POST)
    if not form.is_valid():
        problem = f"“{request.POST.get('email', '')}” is no e-mail address."
        return _person_page(request, membership, problem=problem, status=400)
    try:
        people.set_email(membership, request.user, form.cleaned_data["email"])
    except people.PeopleError as error:
        return _person_page(request, membership, problem=str(error), status=409)
    return redirect("annotate:person", project.slug, pk)


@require_POST
@project_for(Role.ADMIN, archived=True)
def close(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Shut a person out."""
    return _account(request, project, pk, people.close_account)


@require_POST
@project_for(Role.ADMIN, archived=True)
def reopen(request: PersonRequest, project: Project, pk: int) -> HttpResponse:
    """Let a person in again."""
    return _account(request, project, pk, people.reopen_account)


def _account(request: PersonRequest, project: Project, pk: int, act: Any) -> HttpResponse:
    membership = _member(project, pk)
    try:
        act(membership, request.user)
    except people.PeopleError as error:
        return _person_page(request, membership, problem=str(error), status=409)
    return redirect("annotate:person", project.slug, pk)


def _member(project: Project, pk: int) -> Membership:
    rows = Membership.objects.select_related("user", "project", "invitation__made_by")
    return get_object_or_404(rows, project=project, pk=pk)


def _person_page(
    request: PersonRequest, membership: Membership, *, form: Any = None, problem: str = "", status: int = 200
) -> HttpResponse:
    project = membership.project
    context = {
        "project": project,
        "person": people.with_work(project, [membership])[0],
        "form": form or member_form(membership),
        "in_charge": people.in_charge_of(request.user, membership.user),
        "second_factor": sessions.has_second_factor(membership.user),
        "problem": problem,
        "fresh": request.session.pop(FRESH, None) if not problem else None,
    }
    return render(request, "annotate/person.html", context, status=status)
