"""A project with a base and judgments by robots, and the people who look at its reward models."""

from collections.abc import Callable

import pytest
from django.test import Client

from annotate.models import Membership, Project, Role, User
from tests.policy.app import staged as policies


@pytest.fixture
def demo(db, settings, tmp_path, request) -> Project:
    """Twenty-four prompts and so many judgments, all by simulated raters."""
    settings.DATA_DIR = tmp_path
    settings.RUNS_DIR = tmp_path / "runs"
    return policies.demo(getattr(request, "param", 40))


@pytest.fixture
def person(demo) -> Callable[[Role], Client]:
    """Somebody with this role, signed in."""

    def make(role: Role) -> Client:
        user = User.objects.create_user(role.value)
        Membership.objects.create(user=user, project=demo, role=role)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def ada(person) -> Client:
    """An admin."""
    return person(Role.ADMIN)
