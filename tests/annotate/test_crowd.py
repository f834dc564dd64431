import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotate import people
from annotate.assignment import next_for
from annotate.judging import Answer, judge
from annotate.models import Invitation, Membership, Role, SignInFailure, User
from annotate.people import Terms

ID = "5f8a1b2c3d4e5f6a7b8c9d0e"


@pytest.fixture
def link(project, admin) -> str:
    terms = Terms(places=20, id_parameter="PROLIFIC_PID", completion_code="C0DE77", judgments_for_code=2)
    return re.sub("^https?://[^/]+", "", people.invite(project, admin, terms)[1])


def enter(path: str) -> Client:
    client = Client()
    assert client.post(path).status_code == 302
    return client


def test_the_same_id_is_the_same_account(link):
    first, second = enter(link + ID), enter(link + ID)

    assert first.session["_auth_user_id"] == second.session["_auth_user_id"]
    assert Membership.objects.get(role=Role.RATER).external_id == ID
    assert Invitation.objects.get().taken == 1


def test_another_id_is_another_account(link):
    assert enter(link + ID).session["_auth_user_id"] != enter(link + "other").session["_auth_user_id"]


def test_opening_the_link_makes_no_account(link):
    assert "Welcome to Shop answers" in Client().get(link + ID).content.decode()

    assert not User.objects.filter(username__startswith="crowd-").exists()


@pytest.mark.parametrize("external_id", ["", "{{%PROLIFIC_PID%}}", "<script>", "a" * 101, "a b"])
def test_a_link_without_an_id_is_refused_by_the_name_of_the_parameter(link, external_id):
    answer = Client().post(link + external_id)

    assert answer.status_code == 400
    assert "PROLIFIC_PID is missing" in answer.content.decode()


def test_the_name_of_the_account_gives_no_id_away(link):
    enter(link + ID)

    name = Membership.objects.get(role=Role.RATER).user.username
    assert re.fullmatch(r"crowd-[0-9a-f]{16}", name)


def test_no_page_of_another_rater_holds_the_id(link, signed_in, alice, comparison):
    worker = enter(link + ID)
    for client in (worker, signed_in(alice)):
        for path in ("/", "/projects/shop/compare/", "/account/", "/projects/shop/recent/"):
            assert ID not in client.get(path, follow=True).content.decode()


def test_a_worker_gets_the_code_when_enough_is_judged_and_sees_before_what_is_missing(
    link, project, new_comparison
):
    for number in (1, 2, 3):
        new_comparison(number)
    client = enter(link + ID)
    rater = Membership.objects.get(role=Role.RATER).user

    for missing in (2, 1):
        page = client.get("/projects/shop/completion/").content.decode()
        assert f"{missing} to go" in page
        assert "C0DE77" not in page
        judge(
            next_for(rater, project),
            Answer(client_key=f"00000000-0000-0000-0000-00000000000{missing}", positions=[[1], [2]]),
        )

    assert "C0DE77" in client.get("/projects/shop/completion/").content.decode()


def test_who_came_otherwise_has_no_completion_page(alice, signed_in):
    assert signed_in(alice).get("/projects/shop/completion/").status_code == 404


def test_a_known_worker_comes_back_after_the_end_and_a_new_one_does_not(link):
    enter(link + ID)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(days=1))

    assert "Welcome back" in Client().get(link + ID).content.decode()
    enter(link + ID)
    assert Client().post(link + "other").status_code == 410


def test_nobody_comes_back_by_an_invitation_taken_back(link):
    enter(link + ID)
    Invitation.objects.update(revoked_at=timezone.now())

    assert Client().post(link + ID).status_code == 410


def test_a_closed_account_is_not_opened_by_its_id(link):
    enter(link + ID)
    User.objects.filter(username__startswith="crowd-").update(is_active=False)

    answer = Client().post(link + ID)
    assert answer.status_code == 410
    assert "This account is closed." in answer.content.decode()


def test_the_sixth_entry_with_an_id_within_minutes_waits(link):
    for _ in range(5):
        enter(link + ID)

    assert Client().post(link + ID).status_code == 429
    enter(link + "other")


def test_ids_are_not_tried_one_after_the_other_from_one_address(link, monkeypatch):
    monkeypatch.setattr(people, "ENTRIES_PER_ADDRESS", 3)
    for number in range(3):
        enter(f"{link}id{number}")

    assert Client().post(f"{link}id9").status_code == 429
    assert SignInFailure.admit("alice", "127.0.0.1"), "passwords are counted apart"


def test_a_worker_with_a_session_goes_straight_on(link):
    client = enter(link + ID)

    assert client.get(link + ID).url == "/projects/shop/compare/"


@pytest.mark.django_db(transaction=True)
def test_two_tabs_at_once_make_one_account(link):
    def come(_: int) -> int:
        try:
            return Client().post(link + ID).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(come, range(4)))

    assert statuses == [302] * 4
    assert User.objects.filter(username__startswith="crowd-").count() == 1
    assert Invitation.objects.get().taken == 1
