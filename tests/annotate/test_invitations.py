import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotate import people
from annotate.models import AuditEvent, Invitation, Membership, Role, User
from annotate.people import Terms

PHRASE = "a long enough phrase"


@pytest.fixture
def invite(project, admin):
    """Make an invitation and return the path of its link."""

    def make(**terms: object) -> str:
        _, link = people.invite(project, admin, Terms(**terms))
        return re.sub("^https?://[^/]+", "", link)

    return make


def join(path: str, client: Client | None = None, **form: str):
    return (client or Client()).post(path, form)


def test_an_admin_makes_an_invitation_and_sees_its_link_once(project, admin, signed_in):
    client = signed_in(admin)
    form = {
        "role": "writer",
        "places": 2,
        "days": 7,
        "label": "Mara",
        "group": "nurses",
        "tags": "lang:de, maths",
    }

    assert client.post("/projects/shop/people/invite/", form).url == "/projects/shop/people/"
    first, second = (client.get("/projects/shop/people/").content.decode() for _ in range(2))

    token = re.search(r"/join/([\w-]{43})/", first)[1]
    assert "/join/" not in second
    invitation = people.find_invitation(token)
    assert (invitation.role, invitation.places, invitation.tags) == ("writer", 2, ["lang:de", "maths"])
    assert AuditEvent.objects.get(action="invited").actor == admin


def test_the_database_holds_no_token_that_works(invite):
    token = invite().split("/")[2]

    assert not Invitation.objects.filter(token_hash__contains=token).exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"role": "owner"}, "owner is not one of the available choices"),
        ({"role": "admin", "places": 2}, "A link for a admin lets one person in"),
        ({"role": "researcher", "id_parameter": "PROLIFIC_PID"}, "can’t be researcher"),
        ({"places": 0}, "greater than or equal to 1"),
        ({"days": 1000}, "1000 is not one of the available choices"),
        ({"tags": "lang:<b>"}, "is no tag"),
        ({"id_parameter": "a=b"}, "is no parameter"),
        ({"completion_code": "C1"}, "needs the parameter"),
        ({"completion_code": "C1", "id_parameter": "PID"}, "after how many judgments"),
    ],
)
def test_terms_that_cannot_be_are_refused_by_field(project, admin, signed_in, wrong, words):
    form = {"role": "rater", "places": 1, "days": 7, **wrong}

    answer = signed_in(admin).post("/projects/shop/people/invite/", form)

    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Invitation.objects.exists()


def test_who_joins_has_an_account_a_role_and_a_session(invite, project):
    client = Client()

    answer = join(
        invite(role=Role.WRITER, group="nurses", tags=("lang:de",)), client, name="mara", password=PHRASE
    )

    assert answer.url == "/projects/shop/compare/"
    mara = Membership.objects.get(user__username="mara")
    assert (mara.role, mara.group, mara.tags) == (Role.WRITER, "nurses", ["lang:de"])
    assert client.session["_auth_user_id"] == str(mara.user_id)
    assert mara.user.check_password(PHRASE)


def test_a_password_may_be_left_out(invite):
    join(invite(), name="mara")

    assert not User.objects.get(username="mara").has_usable_password()


@pytest.mark.parametrize("password", ["short", "password1234", "mara-mara-mara"])
def test_a_weak_password_makes_no_account(invite, password):
    answer = join(invite(), name="mara-mara", password=password)

    assert answer.status_code == 400
    assert not User.objects.filter(username="mara-mara").exists()
    assert Invitation.objects.get().taken == 0


@pytest.mark.parametrize("name", ["ALICE", "alice", "a b", "", "crowd-1", "<b>", "robot-x"])
def test_a_name_that_is_taken_kept_or_unreadable_is_refused(invite, alice, name):
    answer = join(invite(), name=name)

    assert answer.status_code == 400
    assert User.objects.filter(memberships__invitation__isnull=False).count() == 0


def test_opening_a_link_takes_no_place(invite):
    path = invite()
    for _ in range(3):
        assert "You are invited as rater" in Client().get(path).content.decode()

    assert Invitation.objects.get().taken == 0


def test_a_link_for_one_lets_one_in(invite):
    path = invite()
    assert join(path, name="mara").status_code == 302

    refused = join(path, name="nora")

    assert refused.status_code == 410
    assert "This invitation is used up." in refused.content.decode()
    assert not User.objects.filter(username="nora").exists()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"expires_at": timezone.now() - timedelta(days=1)}, "This invitation ended on"),
        ({"revoked_at": timezone.now()}, "This invitation was taken back."),
        ({"taken": 1}, "This invitation is used up."),
    ],
)
def test_a_dead_link_says_why_in_one_sentence(invite, fields, words):
    path = invite()
    Invitation.objects.update(**fields)

    for answer in (Client().get(path), join(path, name="mara")):
        assert answer.status_code == 410
        assert words in answer.content.decode()
    assert not User.objects.filter(username="mara").exists()


def test_an_invitation_to_an_archived_project_lets_nobody_in(invite, project):
    path = invite()
    project.archived_at = timezone.now()
    project.save()

    assert join(path, name="mara").status_code == 410


def test_an_unknown_link_is_not_found(db):
    assert Client().get(f"/join/{'x' * 43}/").status_code == 404


def test_who_is_signed_in_joins_with_the_account_they_have(invite, signed_in):
    nora = User.objects.create_user("nora")
    client = signed_in(nora)
    path = invite(role=Role.RESEARCHER)
    assert "Join as nora" in client.get(path).content.decode()

    assert join(path, client).url == "/projects/shop/"

    assert Membership.objects.get(user=nora).role == Role.RESEARCHER


def test_who_has_a_role_keeps_it_and_takes_no_place(invite, alice, signed_in):
    answer = join(invite(role=Role.ADMIN), signed_in(alice))

    assert answer.status_code == 409
    assert "You are rater of Shop answers already." in answer.content.decode()
    assert Membership.objects.get(user=alice).role == Role.RATER
    assert Invitation.objects.get().taken == 0


def test_an_invitation_taken_back_lets_nobody_in(invite, admin, signed_in):
    path = invite()
    client = signed_in(admin)

    client.post(f"/projects/shop/invitations/{Invitation.objects.get().pk}/revoke/")

    assert join(path, name="mara").status_code == 410
    assert AuditEvent.objects.filter(action="invitation-revoked", actor=admin).count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_twenty_at_once_as_many_join_as_there_are_places(invite):
    path = invite(places=5)

    def join_one(number: int) -> int:
        try:
            return join(path, name=f"person{number}").status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(join_one, range(20)))

    assert sorted(set(statuses)) == [302, 410]
    assert statuses.count(302) == 5
    assert Invitation.objects.get().taken == 5
    assert Membership.objects.filter(role=Role.RATER).count() == 5
    assert User.objects.filter(username__startswith="person").count() == 5
