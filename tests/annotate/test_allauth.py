import re
import time
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from allauth.socialaccount.models import SocialAccount
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotate import people
from annotate.models import AuditEvent, Membership, Role, SignInFailure, SignInLink, User
from annotate.people import Terms
from tests.annotate.identity_provider import CLIENT, SECRET, Provider, new_key, serve

PHRASE = "a long enough phrase"


def code_of(secret: str, ahead: int = 0) -> str:
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + ahead))


def signed_in_as(client: Client) -> str:
    return client.session.get("_auth_user_id", "")


@pytest.fixture
def with_password(alice) -> User:
    alice.set_password(PHRASE)
    alice.save()
    return alice


def by_password(client: Client):
    return client.post("/sign-in/?next=/account/", {"username": "alice", "password": PHRASE})


@pytest.fixture
def secret(with_password) -> str:
    """Alice's second factor, set up by herself."""
    client = Client()
    by_password(client)
    asked = client.get("/account/second-factor/set-up/")
    page = client.post(asked.url, {"password": PHRASE}, follow=True).content.decode()
    found = re.search(r'id="secret" readonly value="(\w+)"', page)[1]
    done = client.post("/account/second-factor/set-up/", {"code": code_of(found, -1)})
    assert done.url == "/account/second-factor/recovery-codes/"
    assert all(code in client.get(done.url).content.decode() for code in recovery_codes())
    return found


def recovery_codes() -> list[str]:
    return Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()


# The second factor


def test_once_set_up_a_code_is_needed_after_the_password(secret, alice):
    client = Client()

    assert by_password(client).url == "/account/second-factor/code/"
    assert not signed_in_as(client)
    assert client.get("/account/").url.startswith("/sign-in/")
    answer = client.post("/account/second-factor/code/", {"code": code_of(secret)})

    assert answer.url == "/account/"
    assert signed_in_as(client) == str(alice.pk)
    assert AuditEvent.objects.filter(action="signed-in").latest("pk").detail == {"how": "password+code"}


def test_a_one_time_link_is_the_first_factor_alone(secret, alice):
    client = Client()

    assert client.post(f"/sign-in/{SignInLink.issue(alice)}/").url == "/account/second-factor/code/"
    assert not signed_in_as(client)
    client.post("/account/second-factor/code/", {"code": code_of(secret)})
    assert signed_in_as(client) == str(alice.pk)


def test_a_code_signs_in_once(secret):
    code = code_of(secret)
    first, second = Client(), Client()
    for client in (first, second):
        by_password(client)
        client.post("/account/second-factor/code/", {"code": code})

    assert signed_in_as(first)
    assert not signed_in_as(second)


def test_after_five_wrong_codes_the_right_one_waits(secret):
    client = Client()
    by_password(client)
    for _ in range(5):
        assert (
            "Incorrect code"
            in client.post("/account/second-factor/code/", {"code": "000000"}).content.decode()
        )

    refused = client.post("/account/second-factor/code/", {"code": code_of(secret)})
    assert "Too many tries" in refused.content.decode()
    assert not signed_in_as(client)

    SignInFailure.objects.all().delete()
    client.post("/account/second-factor/code/", {"code": code_of(secret)})
    assert signed_in_as(client)


def test_a_recovery_code_signs_in_once(secret):
    code = recovery_codes()[0]
    first, second = Client(), Client()
    for client in (first, second):
        by_password(client)
        client.post("/account/second-factor/code/", {"code": code})

    assert signed_in_as(first)
    assert not signed_in_as(second)


def test_the_database_holds_no_secret_that_works(secret):
    for row in Authenticator.objects.all():
        assert secret not in str(row.data)
        assert not any(code in str(row.data) for code in recovery_codes())


def test_an_admin_removes_a_lost_second_factor_and_it_is_noted(secret, alice, admin, signed_in):
    member = Membership.objects.get(user=alice).pk

    assert signed_in(admin).post(f"/projects/shop/people/{member}/second-factor/").status_code == 302

    client = Client()
    assert by_password(client).url == "/account/"
    event = AuditEvent.objects.get(action="second-factor-removed")
    assert (event.actor, event.detail) == (admin, {"person": "alice"})


def test_turning_it_off_needs_a_fresh_password_or_code(secret):
    client = Client()
    by_password(client)
    client.post("/account/second-factor/code/", {"code": code_of(secret)})

    asked = client.post("/account/second-factor/turn-off/")
    assert asked.url.startswith("/account/confirm/")
    assert Authenticator.objects.filter(type="totp").exists()

    client.post(asked.url, {"password": PHRASE}, follow=True)
    client.post("/account/second-factor/turn-off/")
    assert not Authenticator.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_where_admins_need_one_they_set_it_up_before_anything_else(admin, alice, settings):
    settings.REQUIRE_SECOND_FACTOR = "admins"
    hers, his = Client(), Client()
    hers.post(f"/sign-in/{SignInLink.issue(admin)}/")
    his.post(f"/sign-in/{SignInLink.issue(alice)}/")

    assert his.get("/projects/shop/compare/").status_code == 200
    for path in ("/", "/projects/shop/people/", "/account/"):
        assert hers.get(path).url == "/account/second-factor/set-up/"
    page = hers.get("/account/second-factor/set-up/").content.decode()
    secret = re.search(r'id="secret" readonly value="(\w+)"', page)[1]
    hers.post("/account/second-factor/set-up/", {"code": code_of(secret)})

    assert AuditEvent.objects.filter(action="second-factor-set", actor=admin).exists()
    assert hers.get("/projects/shop/people/").status_code == 200


def test_a_raters_page_asks_the_database_nothing_about_second_factors(secret, alice, signed_in, assignment):
    client = signed_in(alice)

    with CaptureQueriesContext(connection) as seen:
        assert client.get("/projects/shop/compare/").status_code == 200

    assert seen.captured_queries
    for query in seen.captured_queries:
        assert not re.search("mfa_|socialaccount|account_email", query["sql"])


def test_nobody_signs_up_by_allauths_own_addresses(db):
    for path in (
        "signup/",
        "login/",
        "password/reset/",
        "social/signup/",
        "email/",
        "3rdparty/",
        "social/login/token/",
    ):
        for prefix in ("/accounts/", "/account/", "/"):
            assert Client().get(prefix + path, follow=True).status_code in (200, 404)
            assert not User.objects.exists()


def test_a_password_that_is_asked_for_again_counts_like_any_other(secret, alice):
    client = Client()
    by_password(client)
    client.post("/account/second-factor/code/", {"code": code_of(secret)})
    for _ in range(5):
        client.post("/account/confirm/?next=/account/", {"password": "wrong"})

    refused = client.post("/account/confirm/?next=/account/", {"password": PHRASE})
    assert "Too many tries" in refused.content.decode()


# Single sign-on


@pytest.fixture
def provider(settings):
    provider = Provider(claims={"email": "alice@example.org", "email_verified": True})
    server = serve(provider)
    app = {
        "provider_id": "oidc",
        "name": "Bakery",
        "client_id": CLIENT,
        "secret": SECRET,
        "settings": {"server_url": provider.address},
    }
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}
    settings.SINGLE_SIGN_ON = "Bakery"
    yield provider
    server.shutdown()
    server.server_close()


@pytest.fixture
def known(alice) -> User:
    alice.email = "alice@example.org"
    alice.save()
    return alice


def through(client: Client, begin: str = "/oidc/login/"):
    """Go to the provider and come back, as a browser does."""
    leaving = client.get(begin)
    while leaving.url.startswith("/"):
        leaving = client.get(leaving.url)
    query = {name: values[0] for name, values in parse_qs(urlsplit(leaving.url).query).items()}
    assert query["code_challenge_method"] == "S256"
    return client.get("/oidc/callback/", {"code": "abc", "state": query["state"]})


def test_a_person_is_known_by_the_address_that_the_provider_verified(provider, known):
    client = Client()

    assert through(client, "/oidc/login/?next=/account/").url == "/account/"

    assert signed_in_as(client) == str(known.pk)
    assert provider.asked[0]["code_verifier"]
    assert AuditEvent.objects.get(action="signed-in").detail == {"how": "single-sign-on"}


def test_later_the_person_is_known_by_the_subject_whatever_the_address(provider, known):
    through(Client())
    provider.claims = {"email": "else@example.org", "email_verified": True}
    client = Client()

    through(client)

    assert signed_in_as(client) == str(known.pk)


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "alice@example.org"},
        {"email": "alice@example.org", "email_verified": False},
        {"email": "alice@example.org", "email_verified": "false"},
        {"email": "stranger@example.org", "email_verified": True},
        {},
    ],
)
def test_who_is_not_known_is_turned_away_and_gets_no_account(provider, known, claims):
    provider.claims = claims
    client, before = Client(), User.objects.count()

    answer = through(client)

    assert answer.status_code == 403
    assert not signed_in_as(client)
    assert User.objects.count() == before
    assert not SocialAccount.objects.exists()


@pytest.mark.parametrize(
    "lie",
    [
        {"signing": new_key()},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"aud": "another"}},
        {"claims": {"exp": int(time.time()) - 60}},
    ],
    ids=["another key", "another issuer", "another audience", "too old"],
)
def test_a_token_that_cannot_be_trusted_signs_nobody_in(provider, known, lie):
    for name, value in lie.items():
        setattr(provider, name, {**provider.claims, **value} if name == "claims" else value)
    client = Client()

    answer = through(client)

    assert "did not work" in answer.content.decode()
    assert not signed_in_as(client)


def test_an_unsigned_token_signs_nobody_in(provider, known, monkeypatch):
    unsigned = provider.unsigned()
    monkeypatch.setattr(provider, "token", lambda: unsigned)
    client = Client()

    through(client)

    assert not signed_in_as(client)


def test_a_callback_that_nobody_asked_for_signs_nobody_in(provider, known):
    client = Client()

    client.get("/oidc/callback/", {"code": "abc", "state": "made up"})

    assert not signed_in_as(client)
    assert not provider.asked


def test_a_closed_account_stays_closed(provider, known):
    through(Client())
    User.objects.filter(pk=known.pk).update(is_active=False)
    client = Client()

    assert through(client).url == "/account/closed/"
    assert not signed_in_as(client)


def test_single_sign_on_is_the_first_factor_alone(provider, secret, alice):
    User.objects.filter(pk=alice.pk).update(email="alice@example.org")
    client = Client()

    assert through(client).url == "/account/second-factor/code/"
    assert not signed_in_as(client)


def test_an_invitation_is_followed_by_way_of_the_provider(provider, project, admin):
    provider.claims = {"email": "nora@example.org", "email_verified": True, "preferred_username": "nora"}
    invitation, link = people.invite(project, admin, Terms(role=Role.WRITER))
    path = re.sub("^https?://[^/]+", "", link)
    client = Client()
    assert "Join with Bakery" in client.get(path).content.decode()

    assert through(client, f"/oidc{path}").url == "/projects/shop/compare/"

    nora = User.objects.get(username="nora")
    assert (signed_in_as(client), nora.email) == (str(nora.pk), "nora@example.org")
    assert Membership.objects.get(user=nora).role == Role.WRITER
    invitation.refresh_from_db()
    assert invitation.taken == 1


def test_a_dead_invitation_lets_nobody_in_by_the_provider_either(provider, project, admin):
    provider.claims = {"email": "nora@example.org", "email_verified": True}
    invitation, link = people.invite(project, admin, Terms())
    people.revoke(invitation, admin)

    answer = through(Client(), f"/oidc{re.sub('^https?://[^/]+', '', link)}")

    assert answer.status_code == 410
    assert not User.objects.filter(email="nora@example.org").exists()


def test_a_provider_that_is_away_is_named(provider, settings, db):
    settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"][0]["settings"]["server_url"] = (
        "http://127.0.0.1:9"
    )

    answer = Client().get("/oidc/login/")

    assert answer.status_code == 502
    assert "Bakery does not answer" in answer.content.decode()


def test_without_a_provider_there_is_no_such_door(db):
    for path in ("/oidc/login/", "/oidc/callback/", f"/oidc/join/{'x' * 43}/"):
        assert Client().get(path).status_code == 404
    assert "oidc" not in Client().get("/sign-in/").content.decode()
