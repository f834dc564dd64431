import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotate.models import AuditEvent, Membership, Role, SignInFailure, SignInLink, User


@pytest.fixture
def link(alice) -> str:
    return f"/sign-in/{SignInLink.issue(alice)}/"


def test_a_link_signs_in_once(link, alice):
    first, second = Client(), Client()

    assert first.post(link).status_code == 302
    assert second.post(link).status_code == 410

    assert first.session["_auth_user_id"] == str(alice.pk)
    assert "_auth_user_id" not in second.session
    assert AuditEvent.objects.get(action="signed-in").actor == alice


def test_opening_a_link_uses_nothing_up(link):
    for _ in range(3):
        assert Client().get(link).status_code == 200

    assert Client().post(link).status_code == 302


def test_a_link_dies_after_fifteen_minutes(link):
    SignInLink.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert Client().get(link).status_code == 410


def test_a_link_of_a_closed_account_is_dead(link, alice):
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert Client().post(link).status_code == 410


def test_the_database_holds_no_link_that_works(link):
    token = link.split("/")[2]

    assert len(token) >= 43
    assert not SignInLink.objects.filter(token_hash__contains=token).exists()


def test_signing_in_changes_the_session_key(link):
    client = Client()
    client.get("/sign-in/")
    session = client.session
    session["before"] = True
    session.save()
    before = session.session_key

    client.post(link)

    assert client.session.session_key != before


def test_signing_out_is_a_post_and_ends_the_session(signed_in, alice):
    client = signed_in(alice)
    key = client.session.session_key

    assert client.get("/sign-out/").status_code == 405
    client.post("/sign-out/")

    stranger = Client()
    stranger.cookies["session"] = key
    assert stranger.get("/").url == "/sign-in/?next=/"


def test_a_session_ends_a_week_after_its_start_however_busy(signed_in, alice):
    client = signed_in(alice)
    client.get("/")
    session = client.session
    session["started"] -= 8 * 24 * 3600
    session.save()

    assert client.get("/").url == "/sign-in/?next=/"


def test_the_right_password_signs_in_and_goes_where_one_wanted_to(alice):
    alice.set_password("a long enough phrase")
    alice.save()
    form = {"username": "alice", "password": "a long enough phrase"}

    assert Client().post("/sign-in/?next=/projects/shop/compare/", form).url == "/projects/shop/compare/"
    assert Client().post("/sign-in/?next=https://evil.example/", form).url == "/"


@pytest.mark.parametrize("name", ["alice", "nobody"])
def test_a_wrong_password_and_an_unknown_name_get_the_same_answer(alice, name):
    answer = Client().post("/sign-in/", {"username": name, "password": "wrong"})

    assert answer.status_code == 400
    assert "Name and password don’t match." in answer.content.decode()


@pytest.mark.django_db
def test_a_form_with_a_field_left_out_says_what_is_missing():
    answer = Client().post("/sign-in/", {"username": "alice"})

    assert answer.status_code == 400
    assert "Give both your name and your password." in answer.content.decode()


def test_after_five_wrong_passwords_even_the_right_one_waits(alice):
    alice.set_password("a long enough phrase")
    alice.save()
    for _ in range(5):
        assert Client().post("/sign-in/", {"username": "alice", "password": "wrong"}).status_code == 400

    refused = Client().post("/sign-in/", {"username": "alice", "password": "a long enough phrase"})
    assert refused.status_code == 429

    SignInFailure.objects.update(at=timezone.now() - timedelta(minutes=16))
    assert (
        Client().post("/sign-in/", {"username": "alice", "password": "a long enough phrase"}).status_code
        == 302
    )
    assert not SignInFailure.objects.exists()


@pytest.mark.parametrize(("behind_proxy", "addresses"), [(True, {"192.0.2.7"}), (False, {"127.0.0.1"})])
def test_failures_count_for_the_address_that_a_proxy_of_ours_has_seen(db, settings, behind_proxy, addresses):
    settings.BEHIND_PROXY = behind_proxy
    headers = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}

    Client().post("/sign-in/", {"username": "alice", "password": "wrong"}, headers=headers)

    assert set(SignInFailure.objects.values_list("address", flat=True)) == addresses


@pytest.mark.django_db(transaction=True)
def test_of_twenty_wrong_passwords_at_once_at_most_five_are_evaluated():
    def try_one(_: int) -> int:
        try:
            return Client().post("/sign-in/", {"username": "alice", "password": "wrong"}).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(try_one, range(20)))

    assert statuses.count(400) <= 5
    assert set(statuses) <= {400, 429}


def test_the_command_makes_the_person_and_a_link_that_works(project, capsys):
    call_command("signin_link", "carol", project="shop", role="rater")

    name, address = capsys.readouterr().out.split()
    assert name == "carol"
    assert Client().post(re.sub("^http://[^/]+", "", address)).status_code == 302
    assert Membership.objects.get(user__username="carol").role == Role.RATER


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({}, "say whose link"),
        ({"name": "nobody"}, "there is nobody called 'nobody'"),
        ({"name": "carol", "project": "shop"}, "--project and --role go together"),
        ({"name": "carol", "project": "none", "role": "rater"}, "there is no project 'none'"),
        ({"name": "alice", "project": "shop", "role": "admin"}, "alice is rater of shop"),
    ],
)
def test_the_command_refuses_what_cannot_be(alice, args, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        call_command("signin_link", *([args.pop("name")] if "name" in args else []), **args)
