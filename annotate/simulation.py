"""Robots as raters: accounts, one-time links, and the run that lets them judge over HTTP."""

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Sum

from annotate.models import Membership, Project, Role, SignInLink, User
from runs.models import Run

RATERS = 20


class NothingLeftError(Exception):
    """There is nothing for robots to judge; the message says so."""


def robot_links(project: Project, count: int) -> list[dict[str, str]]:
    """The names of so many simulated raters of a project, each with a fresh one-time link."""
    links = []
    with transaction.atomic():
        for number in range(1, count + 1):
            name = f"robot-{project.slug}-{number:02}"
            robot, _ = User.objects.get_or_create(
                username=name, defaults={"simulated": True, "password": make_password(None)}
            )
            Membership.objects.get_or_create(user=robot, project=project, defaults={"role": Role.RATER})
            links.append({"name": name, "link": f"{settings.PUBLIC_URL}/sign-in/{SignInLink.issue(robot)}/"})
    return links


def start_simulation(project: Project, *, started_by: str, raters: int = RATERS) -> Run:
    """Queue a run in which robots judge what is open now, or return the one that is under way."""
    slot = f"simulated-raters:{project.slug}"
    active = Run.objects.active().filter(slot=slot).first()
    if active is not None:
        return active
    left = project.comparisons.filter(closed_at=None).aggregate(left=Sum("places_left"))["left"]
    if not left:
        raise NothingLeftError(f"Every comparison of {project} is judged or being judged.")
    config = {
        "project": project.slug,
        "raters": raters,
        "judgments": left,
        "base_url": settings.PUBLIC_URL,
    }
    return Run.objects.start(
        "simulated-raters", config=config, scope=project.scope, slot=slot, started_by=started_by
    )
