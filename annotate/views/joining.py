"""The way in by invitation, for one person or for a crowd, and what a crowd worker shows for pay."""

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from annotate import people, sessions
from annotate.access import PersonRequest, project_for
from annotate.models import LABELING, Invitation, Membership, Project, Role, User
from annotate.people_forms import WHAT_THEY_DO, JoinForm


@login_not_required
@never_cache
@require_http_methods(["GET", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Join a project by its link; opening it changes nothing, so a mail scanner uses nothing up."""
    invitation = people.find_invitation(token)
    if invitation is None:
        return _dead(request, _("This link leads to no invitation. Check that it is whole."), status=404)
    if invitation.id_parameter:
        return _join_from_crowd(request, invitation)
    closed = people.why_closed(invitation)
    if closed:
        return _dead(request, closed)
    user = request.user if isinstance(request.user, User) else None
    form = JoinForm(request.POST if request.method == "POST" and user is None else None)
    context = {
        "invitation": invitation,
        "token": token,
        "form": form,
        "single_sign_on": settings.SINGLE_SIGN_ON,
        "does": WHAT_THEY_DO[Role(invitation.role)],
    }
    if request.method == "GET":
        return render(request, "annotate/join.html", context)
    try:
        if user is not None:
            people.join(invitation, user)
            return redirect(people.first_page(invitation))
        if not form.is_valid():
            return render(request, "annotate/join.html", context, status=400)
        values = form.cleaned_data
        user = people.join_anew(invitation, values["name"], values["password"] or None)
    except people.ClosedError as error:
        return _dead(request, str(error))
    except people.PeopleError as error:
        return render(request, "annotate/join.html", {**context, "problem": str(error)}, status=409)
    return sessions.begin(request, user, "invitation", people.first_page(invitation))


def _join_from_crowd(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    external_id = request.GET.get(invitation.id_parameter, "")
    if not people.EXTERNAL_ID.fullmatch(external_id):
        reason = _("%(parameter)s is missing from the link. Open it from your platform’s page.")
        return _dead(request, reason % {"parameter": invitation.id_parameter}, status=400)
    member = people.crowd_member(invitation, external_id)
    if member is not None and request.user == member.user:
        return redirect("annotate:compare", invitation.project.slug)
    closed = people.why_closed(invitation)
    if closed and (member is None or invitation.revoked_at is not None):
        return _dead(request, closed)
    if request.method == "GET":
        context = {"invitation": invitation, "member": member, "does": WHAT_THEY_DO[Role(invitation.role)]}
        return render(request, "annotate/join_crowd.html", context)
    try:
        people.admit_from_crowd(external_id, sessions.address_of(request))
        user = people.join_from_crowd(invitation, external_id)
    except people.TooManyError as error:
        return _dead(request, str(error), status=429)
    except people.PeopleError as error:
        return _dead(request, str(error))
    return sessions.begin(request, user, "crowd", people.first_page(invitation))


def _dead(request: HttpRequest, reason: str, *, status: int = 410) -> HttpResponse:
    return render(request, "annotate/join_dead.html", {"reason": reason}, status=status)


@never_cache
@require_GET
@project_for(*LABELING)
def completion(request: PersonRequest, project: Project) -> HttpResponse:
    """The code that a crowd worker shows for their pay, or how much is missing."""
    rows = Membership.objects.select_related("invitation")
    found = people.completion_of(rows.get(user=request.user.pk, project=project))
    if found is None:
        raise Http404
    return render(request, "annotate/completion.html", {"project": project, "completion": found})
