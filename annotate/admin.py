"""Django's admin: the raw tables, for superusers, at an address of its own. It is not the product's face.

What is derived or only ever added can be looked at and not changed; nothing is deleted here, for the
product's own pages know what hangs together.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.contrib import admin
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils.http import urlencode

from annotate.models import (
    AuditEvent,
    BackgroundQuestion,
    Membership,
    Project,
    Prompt,
    SignInFailure,
    SignInLink,
    User,
)

HIDDEN = {"password", "secret", "token_hash"}  # columns that no page shows
LEFT_OUT = {SignInLink, SignInFailure}
CHANGEABLE: dict[type[models.Model], Sequence[str]] = {
    User: ("first_name", "last_name", "email", "is_active", "is_staff", "is_superuser"),
    Membership: ("role", "group", "tags"),
    Project: ("name", "demo"),
    Prompt: ("tags",),
    BackgroundQuestion: ("text", "options", "declared", "position"),
}


class RawTables(admin.AdminSite):
    """The site: superusers only, who sign in where everybody does, with the same limits on tries."""

    site_header = site_title = "Raw tables"
    index_title = "Tables"
    site_url = "/"

    def has_permission(self, request: HttpRequest) -> bool:
        """Superusers alone."""
        return bool(request.user.is_active and getattr(request.user, "is_superuser", False))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """To our own sign-in page; whoever is signed in and no superuser finds nothing here."""
        if request.user.is_authenticated:
            raise Http404
        page = urlencode({"next": request.get_full_path()})
        return redirect(f"{resolve_url('annotate:sign-in')}?{page}")


if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
else:
    AnyModelAdmin = admin.ModelAdmin  # which takes no type when it runs


class Table(AnyModelAdmin):
    """One table: all columns, few of them changeable, nothing to delete or to add."""

    list_per_page = 50
    list_select_related = True
    show_full_result_count = False
    ordering = ("-pk",)
    actions = None

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Every column but the secret ones."""
        return [field.name for field in self.model._meta.concrete_fields if field.name not in HIDDEN]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Every column that is not to be changed."""
        changeable = CHANGEABLE.get(self.model, ())
        return [name for name in self.get_fields(request, obj) if name not in changeable]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Rows come in by the product."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Rows go out by the product."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only what is changeable may be changed."""
        return self.model in CHANGEABLE and super().has_change_permission(request, obj)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever is let in may look."""
        return self.admin_site.has_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Check the row as its own pages would, store it, and write down who changed what."""
        super().save_model(request, obj, form, change)
        project = obj if isinstance(obj, Project) else getattr(obj, "project", None)
        actor = request.user if isinstance(request.user, User) else None
        AuditEvent.record(
            "changed a raw table",
            actor,
            project if isinstance(project, Project) else None,
            table=obj._meta.db_table,
            row=obj.pk,
            fields=form.changed_data,
        )

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write nothing into a log of Django's own: the audit log has it."""


site = RawTables(name="admin")
for label in ("annotate", "runs", "rewards", "policy"):
    for model in apps.get_app_config(label).get_models():
        if model not in LEFT_OUT:
            site.register(model, Table)
