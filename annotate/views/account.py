"""A person's own account: name, password, and every place where they are signed in."""

from django.contrib.auth import update_session_auth_hash
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotate import people, sessions
from annotate.access import PersonRequest
from annotate.models import AuditEvent, Membership
from annotate.people_forms import NameForm, PasswordForm

DONE = "account_done"  # in the session: what was just done, said once


@never_cache
@require_GET
def account(request: PersonRequest) -> HttpResponse:
    """One's own name, roles, password and second factor."""
    return _page(request)


@require_POST
def change_name(request: PersonRequest) -> HttpResponse:
    """Be called otherwise from now on; files hold pseudonyms and don't change."""
    user = request.user
    form = NameForm(request.POST, user=user)
    if user.username.startswith(people.KEPT_NAMES):
        form.add_error("name", _("Rankloop gave this name itself; it stays."))
    if not form.is_valid():
        return _page(request, name_form=form, status=400)
    was, user.username = user.username, form.cleaned_data["name"]
    user.save(update_fields=["username"])
    AuditEvent.record("name-changed", user, was=was, now=user.username)
    return _done(request, _("Your name is changed."))


@require_POST
def change_password(request: PersonRequest) -> HttpResponse:
    """Set a password; everywhere else one is signed out."""
    user = request.user
    form = PasswordForm(request.POST, user=user, trusted=sessions.by_link(request))
    if not form.is_valid():
        return _page(request, password_form=form, status=400)
    user.set_password(form.cleaned_data["password"])
    user.save(update_fields=["password"])
    update_session_auth_hash(request, user)
    sessions.end_all(user, but=request.session.session_key)
    AuditEvent.record("password-changed", user)
    return _done(request, _("Your password is set. Everywhere else you are signed out."))


@require_POST
def sign_out_everywhere(request: PersonRequest) -> HttpResponse:
    """End all sessions of one's own but this one."""
    ended = sessions.end_all(request.user, but=request.session.session_key)
    AuditEvent.record("signed-out-everywhere", request.user, sessions=ended)
    if not ended:
        return _done(request, _("You were signed in nowhere else."))
    words = ngettext("Signed out in one other place.", "Signed out in %(places)s other places.", ended)
    return _done(request, words % {"places": ended})


def _done(request: PersonRequest, words: str) -> HttpResponse:
    request.session[DONE] = words
    return redirect("annotate:account")


def _page(
    request: PersonRequest,
    *,
    name_form: NameForm | None = None,
    password_form: PasswordForm | None = None,
    status: int = 200,
) -> HttpResponse:
    user = request.user
    context = {
        "name_form": name_form or NameForm(initial={"name": user.username}, user=user),
        "password_form": password_form or PasswordForm(user=user, trusted=sessions.by_link(request)),
        "second_factor": sessions.has_second_factor(user),
        "memberships": Membership.objects.filter(user=user)
        .select_related("project")
        .order_by("project__name"),
        "done": request.session.pop(DONE, "") if status == 200 else "",
    }
    return render(request, "annotate/account.html", context, status=status)
