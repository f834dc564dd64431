"""Who may open what: a reviewed table over every address; an address that is not in it fails."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from annotate.assignment import next_for
from annotate.comparisons import add_comparison
from annotate.judging import Answer, judge
from annotate.models import (
    BackgroundQuestion,
    Demonstration,
    Flag,
    FlagKind,
    Guideline,
    Invitation,
    Membership,
    Project,
    Prompt,
    RaterAction,
    Response,
    Role,
    SignInLink,
    Upload,
    User,
)
from lm.records import Message
from policy.app import trying
from policy.app.models import Policy, Round, RoundStep
from rewards.app.models import RewardModel
from runs.models import Run

PEOPLE = ("anonymous", "stranger", "rater", "writer", "adjudicator", "researcher", "admin")
SIGN_IN = "to sign in"
Row = tuple[str, tuple[object, ...]]


def everybody(method: str, status: int) -> Row:
    return method, (status,) * 7


def members(method: str, stranger: object, labeling: object, researcher: object, admin: object) -> Row:
    """What strangers, those who label, researchers and admins get."""
    return method, (SIGN_IN, stranger, labeling, labeling, labeling, researcher, admin)


def admins(method: str, status: int) -> Row:
    """For admins alone."""
    return members(method, 404, 403, 403, status)


def keepers(method: str, status: int) -> Row:
    """For researchers and admins."""
    return members(method, 404, 403, status, status)


def labeling(method: str, status: int) -> Row:
    """For those who label."""
    return members(method, 404, status, 403, 403)


def writers(method: str, status: int) -> Row:
    """For those who write and review."""
    return method, (SIGN_IN, 404, 403, status, status, 403, 403)


def signed_in(method: str, status: int) -> Row:
    """For everybody with an account."""
    return method, (SIGN_IN, *(status,) * 6)


def only(who: str, method: str, status: int) -> Row:
    """For the one whose it is; for all others it is not there."""
    return method, (SIGN_IN, *(status if one == who else 404 for one in PEOPLE[1:]))


P = "projects/<slug:slug>/"
TABLE: dict[str, Row] = {
    # Doors
    "": ("get", (SIGN_IN, 200, 302, 302, 302, 200, 200)),
    "health": everybody("get", 200),
    "sign-in/": everybody("get", 200),
    "sign-in/<str:token>/": everybody("get", 200),
    "join/<str:token>/": everybody("get", 200),
    "sign-out/": signed_in("post", 302),
    "theme/": everybody("post", 302),
    "language/": signed_in("post", 302),
    "account/": signed_in("get", 200),
    "account/name/": signed_in("post", 400),
    "account/password/": signed_in("post", 400),
    "account/sessions/": signed_in("post", 302),
    "account/sign-in/": everybody("get", 302),
    "account/closed/": everybody("get", 403),
    "account/confirm/": signed_in("get", 403),  # no password and no code: nothing to confirm by
    "account/second-factor/": signed_in("get", 302),
    "account/second-factor/code/": everybody("get", 302),
    "account/second-factor/confirm/": signed_in("get", 403),
    "account/second-factor/set-up/": signed_in("get", 200),
    "account/second-factor/turn-off/": signed_in("get", 404),
    "account/second-factor/recovery-codes/": signed_in("get", 404),
    "account/second-factor/recovery-codes/new/": signed_in("get", 200),
    "account/second-factor/recovery-codes/file/": signed_in("get", 404),
    "oidc/login/": everybody("get", 404),  # no provider is set
    "oidc/callback/": everybody("get", 404),
    "oidc/cancelled/": everybody("get", 404),
    "oidc/join/<str:token>/": everybody("get", 404),
    # A project
    "projects/": signed_in("get", 200),
    "projects/new/": ("get", (SIGN_IN, 403, 403, 403, 403, 403, 200)),
    P: keepers("get", 200),
    f"{P}pace.csv": keepers("get", 200),
    f"{P}pairs.jsonl": keepers("get", 200),
    f"{P}simulate/": admins("post", 302),
    f"{P}settings/": admins("get", 200),
    f"{P}copy/": admins("get", 200),
    f"{P}archive/": admins("post", 409),
    f"{P}bring-back/": admins("post", 409),
    f"{P}delete/": admins("get", 200),
    f"{P}guidelines/": keepers("get", 200),
    f"{P}guidelines/new/": admins("get", 200),
    f"{P}guidelines/<int:number>/": keepers("get", 200),
    # Its people
    f"{P}people/": admins("get", 200),
    f"{P}people/invite/": admins("get", 200),
    f"{P}people/<int:pk>/": admins("get", 200),
    f"{P}people/<int:pk>/link/": admins("post", 302),
    f"{P}people/<int:pk>/email/": admins("post", 302),
    f"{P}people/<int:pk>/close/": admins("post", 302),
    f"{P}people/<int:pk>/reopen/": admins("post", 302),
    f"{P}people/<int:pk>/second-factor/": admins("post", 302),
    f"{P}invitations/<int:pk>/revoke/": admins("post", 302),
    f"{P}pay/": admins("get", 200),
    f"{P}pay.csv": admins("get", 200),
    f"{P}audit/": admins("get", 200),
    f"{P}audit.csv": admins("get", 200),
    f"{P}background/": labeling("get", 200),
    f"{P}questions/": admins("get", 200),
    f"{P}questions/new/": admins("get", 200),
    f"{P}questions/<int:pk>/": admins("get", 200),
    f"{P}questions/<int:pk>/retire/": admins("post", 302),
    f"{P}panel/": keepers("get", 200),
    f"{P}completion/": labeling("get", 404),  # nobody here came from a crowd
    # Its queue and data
    f"{P}queue/": keepers("get", 200),
    f"{P}queue/<uuid:key>/release/": admins("post", 302),
    f"{P}flags/<int:flag>/settle/": admins("post", 400),
    f"{P}imports/": admins("get", 200),
    f"{P}imports/<int:pk>/": admins("get", 200),
    f"{P}imports/<int:pk>/look/": admins("post", 400),
    f"{P}imports/<int:pk>/start/": admins("post", 400),
    f"{P}imports/<int:pk>/errors.csv": admins("get", 200),
    f"{P}prompt-twins/": admins("post", 302),
    f"{P}comparisons/<int:comparison>/withdraw/": admins("post", 400),
    f"{P}comparisons/<int:comparison>/bring-back/": admins("post", 302),
    f"{P}prompts/": keepers("get", 200),
    f"{P}prompts/<int:prompt>/": keepers("get", 200),
    f"{P}prompts/<int:prompt>/withdraw/": admins("post", 400),
    f"{P}prompts/<int:prompt>/bring-back/": admins("post", 302),
    f"{P}responses/": keepers("get", 200),
    f"{P}responses/<int:response>/withdraw/": admins("post", 400),
    f"{P}responses/<int:response>/bring-back/": admins("post", 302),
    f"{P}judgments/": keepers("get", 200),
    f"{P}judgments/<int:judgment>/": keepers("get", 200),
    f"{P}judgments/<int:judgment>/leave-out/": admins("post", 400),
    f"{P}judgments/<int:judgment>/take-in/": admins("post", 302),
    # Its quality
    f"{P}quality/": keepers("get", 200),
    f"{P}quality/refresh/": keepers("post", 302),
    f"{P}raters/<int:pk>/": admins("get", 200),
    f"{P}raters/<int:pk>/act/": admins("post", 400),
    f"{P}raters/<int:pk>/let-go-on/": admins("post", 409),
    f"{P}raters/<int:pk>/actions/<int:action>/undo/": admins("post", 302),
    f"{P}disagreements/": keepers("get", 200),
    f"{P}adjudicate/": ("get", (SIGN_IN, 404, 403, 403, 200, 403, 403)),
    "assignments/<uuid:key>/adjudicated/": only("nobody", "get", 404),  # none is adjudicated here
    # Rating
    f"{P}compare/": labeling("get", 200),
    f"{P}next/": labeling("get", 204),  # what is open is held already
    f"{P}recent/": labeling("get", 200),
    f"{P}record/": labeling("get", 200),
    "keys/": signed_in("get", 200),
    "messages/<int:pk>/seen/": only("rater", "post", 302),
    "assignments/<uuid:key>/judge/": only("rater", "post", 400),
    "assignments/<uuid:key>/undo/": only("rater", "post", 409),
    "assignments/<uuid:key>/skip/": only("rater", "post", 302),
    "assignments/<uuid:key>/flag/": only("rater", "post", 400),
    "assignments/<uuid:key>/change/": only("rater", "get", 409),
    "assignments/<uuid:key>/heartbeat/": only("rater", "post", 204),
    "assignments/<uuid:key>/release/": only("rater", "post", 204),
    "assignments/<uuid:key>/explained/": only("rater", "get", 404),
    # Writing
    f"{P}write/": writers("get", 200),
    f"{P}review/": writers("get", 200),
    f"{P}demonstrations.jsonl": keepers("get", 200),
    f"{P}demonstrations/": keepers("get", 200),
    f"{P}demonstrations/ask/": admins("post", 400),
    f"{P}demonstrations/call-off/": admins("post", 302),
    f"{P}demonstrations/<uuid:key>/": keepers("get", 200),
    f"{P}demonstrations/<uuid:key>/withdraw/": admins("post", 400),
    "demonstrations/<uuid:key>/draft/": only("writer", "post", 302),
    "demonstrations/<uuid:key>/send/": only("writer", "post", 400),
    "demonstrations/<uuid:key>/skip/": only("writer", "post", 400),
    "demonstrations/<uuid:key>/take-back/": only("writer", "post", 409),
    "demonstrations/<uuid:key>/hold/": ("post", (SIGN_IN, 404, 404, 204, 409, 404, 404)),
    "demonstrations/<uuid:key>/review/": only("adjudicator", "post", 404),
    "demonstrations/<uuid:key>/leave/": only("adjudicator", "post", 404),
    # Reward models, rounds and runs
    f"{P}reward-models/": keepers("get", 200),
    f"{P}reward-models/new/": admins("get", 200),
    f"{P}reward-models/<int:model>/": keepers("get", 200),
    f"{P}reward-models/<int:model>/promote/": admins("post", 302),
    f"{P}reward-models/<int:model>/retire/": admins("post", 302),
    f"{P}reward-models/<int:model>/measure/": admins("post", 409),
    f"{P}reward-models/<int:model>/pairs.jsonl": keepers("get", 404),
    f"{P}reward-models.json": keepers("get", 200),
    f"{P}reward-models/<int:model>.json": keepers("get", 200),
    f"{P}rounds/": keepers("get", 200),
    f"{P}rounds/<int:number>/": keepers("get", 200),
    f"{P}rounds/<int:number>/promote/": admins("post", 409),
    f"{P}rounds/<int:number>/reject/": admins("post", 409),
    f"{P}rounds/<int:number>/retry/": admins("post", 409),
    f"{P}rounds/<int:number>/stop/": admins("post", 302),
    f"{P}try/": keepers("get", 200),
    f"{P}try/<int:run>/": keepers("get", 200),
    "runs/": ("get", (SIGN_IN, 403, 403, 403, 403, 403, 200)),
    "runs/<int:pk>/": only("admin", "get", 200),
    "runs/<int:pk>/cancel/": only("admin", "post", 302),
    "runs/<int:pk>/pause/": only("admin", "post", 409),
    "runs/<int:pk>/resume/": only("admin", "post", 409),
    "runs/<int:pk>/metrics.jsonl": only("admin", "get", 200),
    "runs/<int:pk>/log.txt": only("admin", "get", 200),
}


def addresses(resolver: URLResolver | None = None, prefix: str = "") -> list[str]:
    found = []
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            found += addresses(pattern, prefix + str(pattern.pattern))
        elif isinstance(pattern, URLPattern):
            found.append(prefix + str(pattern.pattern))
    return [address for address in found if not address.startswith("django-admin/")]


def test_every_address_is_in_the_table():
    assert sorted(addresses()) == sorted(TABLE)


@pytest.fixture
def world(db, settings, tmp_path):
    """One project with somebody in each role and something at each address."""
    settings.RUNS_DIR = tmp_path
    project = Project.objects.create(slug="shop", name="Shop", demo=True, settings={"overlap": 2})
    Guideline.objects.create(project=project, version=1, text="Be kind.")
    people = {"anonymous": None, "stranger": User.objects.create_user("stranger")}
    for role in Role:
        people[role.value] = User.objects.create_user(role.value)
        Membership.objects.create(user=people[role.value], project=project, role=role)
    member = Membership.objects.create(
        user=User.objects.create_user("else"), project=project, role=Role.RATER
    )
    token = "t" * 43
    invitation = Invitation.objects.create(
        project=project,
        token_hash=SignInLink.hashed(token),
        places=9,
        expires_at=timezone.now() + timedelta(days=1),
    )
    question = BackgroundQuestion.objects.create(project=project, name="q", text="?", options=["a", "b"])

    def compare(name: str, place: float) -> Prompt:
        prompt = Prompt.objects.create(
            project=project,
            name=name,
            messages=[{"role": "user", "content": "Why?"}],
            cluster=name,
            split="train",
            content_hash=name,
        )
        texts = (f"one {name}", f"another {name}")
        responses = [Response.objects.create(prompt=prompt, text=text, content_hash=text) for text in texts]
        add_comparison(project, prompt, responses, probability=1, place=place)
        return prompt

    prompt = compare("first", 0)
    assignment = next_for(people["rater"], project)
    compare("second", 0.5)
    judged, _ = judge(next_for(member.user, project), Answer(client_key=uuid4(), positions=[[1], [2]]))
    flag = Flag.objects.create(assignment=assignment, client_key=uuid4(), kind=FlagKind.UNSAFE)
    message = RaterAction.objects.create(
        membership=people["rater"].memberships.get(), kind=RaterAction.Kind.MESSAGE, text="Hello"
    )
    demonstration = Demonstration.objects.create(
        project=project,
        prompt=prompt,
        author=people["writer"],
        leased_until=timezone.now() + timedelta(minutes=9),
    )
    upload = Upload.objects.create(
        project=project, kind=Upload.Kind.PROMPTS, name="p.jsonl", path="none", size=1, sha256="0" * 64
    )
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
    training = Run.objects.start("reward-model", config={"model": "m", "pairs": "p"}, scope=project.scope)
    reward_model = RewardModel.objects.create(project=project, run=training, judgments=1, pairs=1)
    link = SignInLink.issue(people["stranger"])
    places = [  # the first that an address begins with says what its number, key or token is
        ("sign-in/", {"<str:token>": link}),
        ("join/", {"<str:token>": token}),
        ("runs/", {"<int:pk>": run.pk}),
        ("messages/", {"<int:pk>": message.pk}),
        (f"{P}invitations/", {"<int:pk>": invitation.pk}),
        (f"{P}questions/", {"<int:pk>": question.pk}),
        (f"{P}people/", {"<int:pk>": member.pk}),
        (f"{P}raters/", {"<int:pk>": people["rater"].memberships.get().pk}),
        (f"{P}imports/", {"<int:pk>": upload.pk}),
        (f"{P}demonstrations/", {"<uuid:key>": demonstration.key}),
        ("demonstrations/", {"<uuid:key>": demonstration.key}),
        ("", {"<uuid:key>": assignment.key, "<str:token>": token}),
    ]
    shared = {
        "<slug:slug>": "shop",
        "<int:number>": 1,
        "<int:run>": asked.pk,
        "<int:flag>": flag.pk,
        "<int:comparison>": assignment.comparison_id,
        "<int:prompt>": prompt.pk,
        "<int:response>": assignment.shown[0],
        "<int:judgment>": judged.pk,
        "<int:action>": message.pk,
        "<int:model>": reward_model.pk,
    }

    def path_of(address: str) -> str:
        values = next(values for beginning, values in places if address.startswith(beginning))
        path = f"/{address}"
        for name, value in {**shared, **values}.items():
            path = path.replace(name, str(value))
        return path

    return people, path_of


@pytest.mark.parametrize("address", sorted(TABLE))
def test_each_person_gets_what_the_table_says(world, address):
    people, path_of = world
    method, expected = TABLE[address]
    got = []
    for who in PEOPLE:
        client = Client()
        if people[who] is not None:
            client.force_login(people[who])
        answer = getattr(client, method)(path_of(address))
        to_sign_in = answer.status_code == 302 and answer.url.startswith("/sign-in/?next=")
        got.append(SIGN_IN if to_sign_in else answer.status_code)

    assert dict(zip(PEOPLE, got, strict=True)) == dict(zip(PEOPLE, expected, strict=True))


NOWHERE = {"<str:token>": "x" * 43, "<slug:slug>": "no", "<uuid:key>": str(uuid4())}


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "options", "trace"])
@pytest.mark.parametrize("address", sorted(TABLE))
def test_no_method_of_any_address_breaks(world, address, method):
    client = Client(raise_request_exception=False)
    client.force_login(world[0]["admin"])
    path = f"/{address}"
    for name, value in NOWHERE.items():
        path = path.replace(name, value)
    for name in (
        "pk",
        "number",
        "run",
        "flag",
        "comparison",
        "prompt",
        "response",
        "judgment",
        "action",
        "model",
        "other",
    ):
        path = path.replace(f"<int:{name}>", "0")

    assert getattr(client, method)(path).status_code < 500
