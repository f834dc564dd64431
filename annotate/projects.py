"""The life of a project: made from a preset, copied, put aside, and deleted with everything in it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connections, models, router, transaction
from django.db.models import SET_NULL, Q
from django.utils import timezone

from annotate import assignment as leases
from annotate.models import (
    Assignment,
    AssignmentState,
    AuditEvent,
    BackgroundQuestion,
    Guideline,
    Membership,
    Project,
    Prompt,
    Role,
    User,
)
from annotate.presets import Preset
from annotate.settings import ProjectSettings
from lm.config import settings_of, to_json
from runs.models import Run, RunEvent

RESERVED = {"new"}  # addresses of our own beside those of projects
BATCH = 1000  # rows of one statement
COPIED_AT_ONCE = 20_000  # prompts; more take longer than a page may
DELETED_AT_ONCE = 20_000  # rows; more are deleted by a job


class ProjectRefusedError(Exception):
    """What was asked for can't be done to this project now; the message says why."""


def may_make(user: Any) -> bool:
    """Whether a person may make projects: admins of one, staff, and superusers."""
    return bool(
        user.is_superuser
        or user.is_staff
        or Membership.objects.filter(user=user.pk, role=Role.ADMIN).exists()
    )


@transaction.atomic
def make(slug: str, name: str, preset: Preset | None, by: User) -> Project:
    """A new project with the preset's settings and guidelines; who makes it becomes its admin."""
    project = Project(slug=slug, name=name, preset=preset.name if preset else "")
    project.settings = dict(preset.values) if preset else {}
    _save_new(project, by)
    if preset:
        Guideline.objects.create(project=project, version=1, text=preset.guidelines)
    AuditEvent.record("made the project", by, project, preset=project.preset)
    return project


@transaction.atomic
def copy(source: Project, slug: str, name: str, by: User, *, prompts: bool = False) -> Project:
    """A project with the same settings, guidelines and questions, and the same prompts where asked for.

    Responses, comparisons, people and judgments stay behind. Splits are drawn anew, for each project
    has a secret of its own.
    """
    count = source.prompts.filter(withdrawn_at=None).count() if prompts else 0
    if count > COPIED_AT_ONCE:
        raise ProjectRefusedError(
            f"{source} has {count:,} prompts; up to {COPIED_AT_ONCE:,} are copied. "
            "Copy it without prompts and import them."
        )
    project = Project(slug=slug, name=name, preset=source.preset, settings=dict(source.settings))
    _save_new(project, by)
    if source.guideline is not None:
        Guideline.objects.create(project=project, version=1, text=source.guideline.text)
    BackgroundQuestion.objects.bulk_create(
        BackgroundQuestion(
            project=project,
            name=question.name,
            text=question.text,
            options=question.options,
            several=question.several,
            declared=question.declared,
            position=question.position,
        )
        for question in source.background_questions.filter(retired_at=None)
    )
    if prompts:
        Prompt.objects.bulk_create(_copied_prompts(source, project), batch_size=BATCH)
    AuditEvent.record("made the project", by, project, copy_of=source.slug, prompts=count)
    return project


def _copied_prompts(source: Project, project: Project) -> Iterator[Prompt]:
    for prompt in source.prompts.filter(withdrawn_at=None).order_by("pk").iterator(chunk_size=BATCH):
        yield Prompt(
            project=project,
            name=prompt.name,
            messages=prompt.messages,
            tags=prompt.tags,
            cluster=prompt.cluster,
            split=project.split_of(prompt.cluster),
            content_hash=prompt.content_hash,
        )


def _save_new(project: Project, by: User) -> None:
    if project.slug in RESERVED:
        raise ValidationError({"slug": f"“{project.slug}” is an address of ours; choose another."})
    project.full_clean()
    project.save()
    Membership.objects.create(user=by, project=project, role=Role.ADMIN)


def change(project: Project, name: str, settings: dict[str, Any], by: User) -> dict[str, list[Any]]:
    """Store a name and settings; returns what changed: field, before and after."""
    before = to_json(project.rules)
    project.settings = settings
    project.clean()
    after = to_json(project.rules)
    changed = {field: [before[field], after[field]] for field in after if before[field] != after[field]}
    if name != project.name:
        changed["name"] = [project.name, name]
        project.name = name
    if changed:
        with transaction.atomic():
            project.save(update_fields=["name", "settings"])
            AuditEvent.record("changed settings", by, project, changed=changed)
    return changed


def defaults() -> dict[str, Any]:
    """Every setting with its default, as JSON holds it."""
    plain = to_json(ProjectSettings())
    return {setting.name: plain[setting.name] for setting in settings_of(ProjectSettings)}


def archive(project: Project, by: User) -> None:
    """Put a project aside: read only, out of sight; open leases go back."""
    _refuse_while_running(project)
    with transaction.atomic():
        if not Project.objects.filter(pk=project.pk, archived_at=None).update(archived_at=timezone.now()):
            raise ProjectRefusedError(f"{project} is archived already.")
        for assignment in Assignment.objects.filter(
            comparison__project=project, state=AssignmentState.OPEN
        ).order_by("comparison_id"):
            leases.release(assignment, AssignmentState.EXPIRED)
        AuditEvent.record("archived the project", by, project)


def bring_back(project: Project, by: User) -> None:
    """Take a project out of the archive."""
    with transaction.atomic():
        if not Project.objects.filter(pk=project.pk, archived_at__isnull=False).update(archived_at=None):
            raise ProjectRefusedError(f"{project} is not archived.")
        AuditEvent.record("brought the project back", by, project)


def _refuse_while_running(project: Project) -> None:
    active = Run.objects.active().filter(scope=project.scope).first()
    if active is not None:
        raise ProjectRefusedError(f"{active} is not finished. Cancel it or wait for its end.")


# Deleting


def contents(project: Project) -> list[tuple[str, int]]:
    """What a deletion takes away: names and counts, the largest first."""
    counts = [
        (str(model._meta.verbose_name_plural), model._base_manager.filter(path).count())
        for model, path in _paths(project).items()
    ]
    return sorted(((name, count) for name, count in counts if count), key=lambda pair: -pair[1])


def delete(project: Project, by: User) -> Run | None:
    """Delete a project and everything in it: at once, or, if it is large, by a job, which is returned."""
    _refuse_while_running(project)
    size = sum(count for _, count in contents(project))
    AuditEvent.record("deleted the project", by, None, slug=project.slug, name=project.name, rows=size)
    if size <= DELETED_AT_ONCE:
        delete_rows(project)
        return None
    Project.objects.filter(pk=project.pk).update(archived_at=timezone.now())  # nobody adds to it meanwhile
    return Run.objects.start(
        "project-deletion",
        config={"project": project.slug},
        scope=scope_of_deletions(by),
        slot=f"delete:{project.slug}",
        started_by=by.get_username(),
    )


def scope_of_deletions(user: Any) -> str:
    """What the jobs belong to that delete a person's projects: they outlive the projects."""
    return f"deleted by:{user.pk}"


def scopes_of_deletions(user: Any) -> set[str]:
    """The scopes of runs that a person may see because they deleted a project."""
    scope = scope_of_deletions(user)
    return {scope} if Run.objects.filter(scope=scope).exists() else set()


@transaction.atomic
def delete_rows(project: Project) -> None:
    """Delete every row that belongs to a project, of whichever app, and the files of its runs.

    Tables are found by their foreign keys, so that an app of models that `annotate` does not know
    is cleared too. Judgments refuse to be deleted one by one; here they go with all that they are about.
    """
    connection = connections[router.db_for_write(Project)]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = 0")  # of this transaction alone
    paths = _paths(project)
    runs = Run.objects.filter(scope=project.scope)
    directories = [run.directory.path for run in runs]
    files = [settings.DATA_DIR / path for path in project.uploads.values_list("path", flat=True) if path]
    _forget(paths)
    for model in _leaves_first(list(paths)):
        _delete(model, paths[model])
    _delete(RunEvent, Q(run__scope=project.scope))
    _delete(Run, Q(scope=project.scope))
    if connection.vendor == "postgresql":
        connection.check_constraints()  # here, for the commit would be held to the time of one statement
    transaction.on_commit(lambda: _remove(directories, files))


def _remove(directories: list[Path], files: list[Path]) -> None:
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    for file in files:
        file.unlink(missing_ok=True)


def _delete(model: type[models.Model], condition: Q) -> None:
    """Delete rows by one statement, without asking their class; keys are checked at the commit."""
    found = model._base_manager.filter(pk__in=model._base_manager.filter(condition).values("pk"))
    found._raw_delete(router.db_for_write(model))


def _links(model: type[models.Model]) -> Iterator[tuple[models.ForeignKey[Any, Any], type[models.Model]]]:
    """The foreign keys of a table and what they point at."""
    for field in model._meta.concrete_fields:
        if isinstance(field, models.ForeignKey):
            yield field, field.related_model


def _paths(project: Project) -> dict[type[models.Model], Q]:
    """Every table that holds rows of the project, with the condition that finds them."""
    found: dict[type[models.Model], str] = {Project: ""}
    fresh = True
    while fresh:
        fresh = False
        for model in apps.get_models():
            for field, target in _links(model):
                if model in found or target not in found or field.remote_field.on_delete is SET_NULL:
                    continue
                found[model] = f"{field.name}__{found[target]}".removesuffix("__")
                fresh = True
    return {model: Q(**{path or "pk": project.pk}) for model, path in found.items()}


def _forget(paths: dict[type[models.Model], Q]) -> None:
    """Empty the keys that may be empty and lead from other tables to rows that go."""
    for model in apps.get_models():
        for field, target in _links(model):
            if target in paths and model not in paths and field.null:
                gone = target._base_manager.filter(paths[target]).values("pk")
                model._base_manager.filter(**{f"{field.name}__in": gone}).update(**{field.name: None})


def _leaves_first(found: list[type[models.Model]]) -> list[type[models.Model]]:
    """The tables in an order in which nothing points at what is already gone."""
    order: list[type[models.Model]] = []
    left = list(found)
    while left:
        pointed_at = {target for model in left for _, target in _links(model) if target is not model}
        free = [model for model in left if model not in pointed_at]
        if not free:
            raise RuntimeError(f"these tables point at each other: {left}")
        order += free
        left = [model for model in left if model not in free]
    return order
