"""Robots as raters: accounts, one-time links, and the run that lets them judge over HTTP."""

from django.conf import settings
from django.db import transaction

from annotate.models import Membership, Project, Role, SignInLink, User
from runs.models import Run

RATERS = 20


def robot_links(project: Project, count: int) -> list[dict[str, str]]:
    """The names of so many simulated raters of a project, each with a fresh one-time link."""
    links = []
    with transaction.atomic():
        for number in range(1, count + 1):
            name = f"robot-{project.slug}-{number:02}"
            robot, _ = User.objects.get_or_create(username=name, defaults={"simulated": True})
            Membership.objects.get_or_create(user=robot, project=project, defaults={"role": Role.RATER})
            links.append({"name": name, "link": f"{settings.PUBLIC_URL}/sign-in/{SignInLink.issue(robot)}/"})
    return links


def start_simulation(project: Project, *, started_by: str, raters: int = RATERS) -> Run:
    """Queue a run of simulated raters, or return the one that is under way."""
    slot = f"simulated-raters:{project.slug}"
    active = Run.objects.active().filter(slot=slot).first()
    if active is not None:
        return active
    config = {"project": project.slug, "raters": raters, "base_url": settings.PUBLIC_URL}
    return Run.objects.start(
        "simulated-raters", config=config, scope=project.scope, slot=slot, started_by=started_by
    )
