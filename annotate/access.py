"""Who may do what: a person's role in a project decides; whoever has none finds nothing there."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django_htmx.middleware import HtmxDetails

from annotate.models import Membership, Project, Role, User

P = ParamSpec("P")
WHO = {Role.RATER: "raters", Role.RESEARCHER: "researchers", Role.ADMIN: "admins"}


class PersonRequest(HttpRequest):
    """A request of somebody signed in, as the middleware hands it on."""

    user: User
    htmx: HtmxDetails
    role: str  # in the project that the page is about


View = Callable[Concatenate[PersonRequest, Project, P], HttpResponseBase]


def project_for(*roles: Role) -> Callable[[View[P]], Callable[..., HttpResponseBase]]:
    """Hand the view its project: 404 to strangers, 403 to members with another role."""

    def decorate(view: View[P]) -> Callable[..., HttpResponseBase]:
        @wraps(view)
        def look_up(request: PersonRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            memberships = Membership.objects.select_related("project")
            membership = get_object_or_404(memberships, user=request.user.pk, project__slug=slug)
            project, role = membership.project, membership.role
            if role not in roles:
                allowed = " and ".join(WHO[one] for one in roles)
                raise PermissionDenied(f"This page is for {allowed} of {project}; you are here as {role}.")
            request.role = role
            return view(request, project, *args, **kwargs)

        return look_up

    return decorate


def scopes_administered_by(user: Any) -> set[str]:
    """The scopes of runs that a person may see and steer; an admin also sees those of no project."""
    projects = Project.objects.for_user(user, Role.ADMIN)
    scopes = {project.scope for project in projects}
    return scopes | {""} if scopes else set()
