"""Who may open what: a reviewed table over every address; an address that is not in it fails."""

from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from annotate.assignment import next_for
from annotate.comparisons import add_comparison
from annotate.models import Membership, Project, Prompt, Response, Role, SignInLink, User
from lm.records import Message
from policy.app import trying
from policy.app.models import Policy, Round, RoundStep
from runs.models import Run

PEOPLE = ("anonymous", "stranger", "rater", "researcher", "admin")
SIGN_IN = "to sign in"
# address: method, then what each of the people gets, in the order above
TABLE: dict[str, tuple[str, tuple[object, ...]]] = {
    "": ("get", (SIGN_IN, 200, 302, 200, 200)),
    "health": ("get", (200,) * 5),
    "sign-in/": ("get", (200,) * 5),
    "sign-in/<str:token>/": ("get", (200,) * 5),
    "sign-out/": ("post", (SIGN_IN, 302, 302, 302, 302)),
    "theme/": ("post", (302,) * 5),
    "projects/<slug:slug>/": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "projects/<slug:slug>/compare/": ("get", (SIGN_IN, 404, 200, 403, 403)),
    "projects/<slug:slug>/pairs.jsonl": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "projects/<slug:slug>/simulate/": ("post", (SIGN_IN, 404, 403, 403, 302)),
    "projects/<slug:slug>/rounds/": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "projects/<slug:slug>/rounds/<int:number>/": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "projects/<slug:slug>/rounds/<int:number>/promote/": ("post", (SIGN_IN, 404, 403, 403, 409)),
    "projects/<slug:slug>/rounds/<int:number>/reject/": ("post", (SIGN_IN, 404, 403, 403, 409)),
    "projects/<slug:slug>/rounds/<int:number>/retry/": ("post", (SIGN_IN, 404, 403, 403, 409)),
    "projects/<slug:slug>/rounds/<int:number>/stop/": ("post", (SIGN_IN, 404, 403, 403, 302)),
    "projects/<slug:slug>/try/": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "projects/<slug:slug>/try/<int:run>/": ("get", (SIGN_IN, 404, 403, 200, 200)),
    "assignments/<uuid:key>/judge/": ("post", (SIGN_IN, 404, 400, 404, 404)),
    "assignments/<uuid:key>/undo/": ("post", (SIGN_IN, 404, 409, 404, 404)),
    "assignments/<uuid:key>/skip/": ("post", (SIGN_IN, 404, 302, 404, 404)),
    "runs/": ("get", (SIGN_IN, 403, 403, 403, 200)),
    "runs/<int:pk>/": ("get", (SIGN_IN, 404, 404, 404, 200)),
    "runs/<int:pk>/cancel/": ("post", (SIGN_IN, 404, 404, 404, 302)),
    "runs/<int:pk>/pause/": ("post", (SIGN_IN, 404, 404, 404, 409)),
    "runs/<int:pk>/resume/": ("post", (SIGN_IN, 404, 404, 404, 409)),
    "runs/<int:pk>/metrics.jsonl": ("get", (SIGN_IN, 404, 404, 404, 200)),
    "runs/<int:pk>/log.txt": ("get", (SIGN_IN, 404, 404, 404, 200)),
}


def addresses(resolver: URLResolver | None = None, prefix: str = "") -> list[str]:
    found = []
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            found += addresses(pattern, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            found.append(prefix + str(pattern.pattern))
    return found


def test_every_address_is_in_the_table():
    assert sorted(addresses()) == sorted(TABLE)


@pytest.fixture
def world(db, settings, tmp_path):
    settings.RUNS_DIR = tmp_path
    project = Project.objects.create(slug="shop", name="Shop", demo=True, settings={"overlap": 2})
    prompt = Prompt.objects.create(
        project=project,
        name="p",
        messages=[{"role": "user", "content": "Why?"}],
        cluster="c",
        split="train",
        content_hash="h",
    )
    responses = [Response.objects.create(prompt=prompt, text=text, content_hash=text) for text in "ab"]
    add_comparison(project, prompt, responses, probability=1, place=0)
    people = {"anonymous": None, "stranger": User.objects.create_user("stranger")}
    for role in Role:
        people[role.value] = User.objects.create_user(role.value)
        Membership.objects.create(user=people[role.value], project=project, role=role)
    assignment = next_for(people["rater"], project)
    run = Run.objects.start("simulated-raters", config={"project": "shop"}, scope=project.scope)
    run.directory.path.mkdir()
    for name in ("metrics.jsonl", "log.txt"):
        (run.directory.path / name).touch()
    policies = [
        Policy.objects.create(project=project, name=name, kind=kind, model=f"models/{name}")
        for name, kind in (("starter", "base"), ("other", "imported"))
    ]
    round = Round.objects.create(project=project, number=1, base=policies[0])
    RoundStep.objects.create(round=round, name="samples", run=run)
    asked = trying.start(project, policies, [Message(role="user", content="Why?")], by="admin")
    return people, {
        "<slug:slug>": "shop",
        "<uuid:key>": str(assignment.key),
        "<int:pk>": str(run.pk),
        "<int:number>": "1",
        "<int:run>": str(asked.pk),
    }


@pytest.mark.parametrize("address", sorted(TABLE))
@pytest.mark.parametrize("who", PEOPLE)
def test_each_person_gets_what_the_table_says(world, address, who):
    people, values = world
    method, expected = TABLE[address]
    client = Client()
    if people[who] is not None:
        client.force_login(people[who])
    path = "/" + address.replace("<str:token>", SignInLink.issue(User.objects.get(username="stranger")))
    for name, value in values.items():
        path = path.replace(name, value)

    answer = getattr(client, method)(path)

    got = (
        SIGN_IN
        if answer.status_code == 302 and answer.url.startswith("/sign-in/?next=")
        else answer.status_code
    )
    assert got == expected[PEOPLE.index(who)], answer


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("address", sorted(TABLE))
def test_no_method_of_any_address_breaks(world, address, method):
    path = "/" + address.replace("<str:token>", "x" * 43).replace("<slug:slug>", "no").replace(
        "<int:pk>", "0"
    )
    path = path.replace("<int:number>", "0").replace("<int:run>", "0")
    client = Client(raise_request_exception=False)
    client.force_login(world[0]["admin"])

    assert getattr(client, method)(path.replace("<uuid:key>", str(uuid4()))).status_code < 500
