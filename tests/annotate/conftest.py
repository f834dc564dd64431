"""A project with two raters, and comparisons of responses that say which is which."""

from collections.abc import Callable

import pytest
from django.test import Client

from annotate.assignment import next_for
from annotate.comparisons import add_comparison
from annotate.exchange import add_prompt
from annotate.models import (
    Assignment,
    Comparison,
    Guideline,
    Membership,
    Project,
    Response,
    Role,
    User,
    content_hash,
)
from lm import records


@pytest.fixture
def project(db) -> Project:
    project = Project.objects.create(slug="shop", name="Shop answers")
    Guideline.objects.create(project=project, version=1, text="Pick what is **right**.")
    return project


@pytest.fixture
def person(project) -> Callable[[str, Role], User]:
    def make(name: str, role: Role) -> User:
        user = User.objects.create_user(name)
        Membership.objects.create(user=user, project=project, role=role)
        return user

    return make


@pytest.fixture
def alice(person) -> User:
    return person("alice", Role.RATER)


@pytest.fixture
def bob(person) -> User:
    return person("bob", Role.RATER)


@pytest.fixture
def admin(person) -> User:
    return person("ada", Role.ADMIN)


@pytest.fixture
def researcher(person) -> User:
    return person("rosa", Role.RESEARCHER)


@pytest.fixture
def signed_in() -> Callable[[User], Client]:
    def make(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def new_comparison(project) -> Callable[..., Comparison]:
    """Make a comparison of responses `good 3` and `poor 3` to prompt 3, and so on."""

    def make(number: int = 1, texts: tuple[str, ...] = ("good", "poor"), **settings) -> Comparison:
        message = records.Message(role="user", content=f"Question {number}?")
        prompt, _ = add_prompt(project, records.Prompt(prompt_id=f"p{number}", messages=(message,)))
        responses = [
            Response.objects.create(
                prompt=prompt, text=f"{text} {number}", content_hash=content_hash(f"{text} {number}")
            )
            for text in texts
        ]
        return add_comparison(
            project, prompt, responses, **{"probability": 1, "place": number / 1000, **settings}
        )

    return make


@pytest.fixture
def comparison(new_comparison) -> Comparison:
    return new_comparison()


@pytest.fixture
def assignment(alice, project, comparison) -> Assignment:
    assignment = next_for(alice, project)
    assert assignment is not None
    return assignment
