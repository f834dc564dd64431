"""Who may do what: a person's role in a project decides; whoever has none finds nothing there."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django_htmx.middleware import HtmxDetails

from annotate.language import speak
from annotate.models import LABELING, Membership, Project, Role, User

P = ParamSpec("P")
WHO = {
    Role.RATER: gettext_noop("raters"),
    Role.WRITER: gettext_noop("writers"),
    Role.ADJUDICATOR: gettext_noop("adjudicators"),
    Role.RESEARCHER: gettext_noop("researchers"),
    Role.ADMIN: gettext_noop("admins"),
}


class PersonRequest(HttpRequest):
    """A request of somebody signed in, as the middleware hands it on."""

    user: User
    htmx: HtmxDetails
    membership: Membership  # in the project that the page is about
    role: str


View = Callable[Concatenate[PersonRequest, Project, P], HttpResponseBase]


def project_for(*roles: Role, archived: bool = False) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Hand the view its project: 404 to strangers, 403 to members with another role.

    An archived project is read only, but for views that say `archived`.
    """

    def decorate(view: View[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def look_up(request: PersonRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            memberships = Membership.objects.select_related("project")
            membership = get_object_or_404(memberships, user=request.user.pk, project__slug=slug)
            project, role = membership.project, membership.role
            speak(request, own=role in LABELING)
            if role not in roles:
                words = _("This page is for %(allowed)s of %(project)s; you are here as %(role)s.")
                allowed = _listed([_(WHO[one]) for one in roles])
                raise PermissionDenied(words % {"allowed": allowed, "project": project, "role": _(role)})
            if project.archived_at and not archived and request.method not in ("GET", "HEAD"):
                words = _("%(project)s is archived: it can be read, and nothing is added to it.")
                raise PermissionDenied(words % {"project": project})
            membership.user = request.user
            request.membership, request.role = membership, role
            return view(request, project, *args, **kwargs)

        return look_up

    return decorate


def _listed(words: list[str]) -> str:
    """Words as a sentence has them: a, b and c."""
    if not words[1:]:
        return "".join(words)
    return _("%(first)s and %(last)s") % {"first": ", ".join(words[:-1]), "last": words[-1]}


def came_from(request: HttpRequest) -> str:
    """The page of ours that a form stood on."""
    path = urlsplit(request.headers.get("Referer", "")).path or "/"
    return path if path.startswith("/") and not path.startswith("//") else "/"


def scopes_administered_by(user: Any) -> set[str]:
    """The scopes of runs that a person may see and steer; an admin also sees those of no project."""
    projects = Project.objects.for_user(user, Role.ADMIN)
    scopes = {project.scope for project in projects}
    return scopes | {""} if scopes else set()
