import re

import pytest
from django.test import Client

from annotate import people
from annotate.assignment import next_for
from annotate.models import (
    Assignment,
    AuditEvent,
    Comparison,
    Membership,
    Project,
    Role,
    SignInLink,
    User,
)

PHRASE = "a long enough phrase"


@pytest.fixture
def member(project):
    return lambda user: Membership.objects.get(user=user, project=project)


@pytest.fixture
def page_of(project, member):
    return lambda user, act="": f"/projects/shop/people/{member(user).pk}/{act}"


@pytest.fixture
def client(admin, signed_in) -> Client:
    return signed_in(admin)


def test_the_page_shows_each_member_with_role_and_work(client, alice, bob, assignment):
    Membership.objects.filter(user=bob).update(group="nurses", tags=["lang:de"])
    User.objects.create_user("robot-1", simulated=True)
    Membership.objects.create(
        user=User.objects.get(username="robot-1"), project=Project.objects.get(), role="rater"
    )

    html = client.get("/projects/shop/people/").content.decode()

    for words in ("alice", "bob", "nurses", "lang:de", "simulated", "4 members"):
        assert words in html


def test_members_are_found_by_name_or_group_and_come_by_the_page(client, project, person, monkeypatch):
    monkeypatch.setattr("annotate.views.people.PAGE", 2)
    for name in ("carl", "dora", "emil"):
        person(name, Role.RATER)

    first = client.get("/projects/shop/people/").content.decode()
    second = client.get("/projects/shop/people/?after=carl").content.decode()

    assert "carl" in first
    assert "dora" not in first
    assert "after=carl" in first
    assert "dora" in second
    assert "emil" in client.get("/projects/shop/people/?q=mil").content.decode()


def test_the_page_takes_the_same_statements_for_three_members_and_thirty(
    client, person, django_assert_num_queries, django_assert_max_num_queries
):
    client.get("/projects/shop/people/")
    with django_assert_max_num_queries(14) as few:
        client.get("/projects/shop/people/")
    for number in range(30):
        person(f"rater{number}", Role.RATER)
    with django_assert_num_queries(len(few)):
        client.get("/projects/shop/people/")


def test_an_admin_changes_role_group_and_tags(client, alice, page_of, member):
    form = {"role": "adjudicator", "group": "nurses", "tags": "lang:de maths"}

    assert client.post(page_of(alice), form).status_code == 302

    changed = member(alice)
    assert (changed.role, changed.group, changed.tags) == ("adjudicator", "nurses", ["lang:de", "maths"])
    detail = AuditEvent.objects.get(action="role-changed").detail
    assert (detail["person"], detail["was"], detail["role"]) == ("alice", "rater", "adjudicator")


@pytest.mark.parametrize("role", ["rater", "writer", "adjudicator"])
def test_who_may_know_the_models_does_not_rate(client, researcher, page_of, member, role):
    answer = client.post(page_of(researcher), {"role": role})

    assert answer.status_code == 409
    assert "who rates must not" in answer.content.decode()
    assert member(researcher).role == Role.RESEARCHER


def test_a_rater_made_researcher_gives_back_what_they_have_in_hand(client, alice, assignment, page_of):
    client.post(page_of(alice), {"role": "researcher"})

    assert Assignment.objects.get().state == "expired"
    assert Comparison.objects.get().places_left == 1


def test_a_changed_role_ends_the_sessions_of_the_person_alone(client, alice, bob, signed_in, page_of):
    hers, his = signed_in(alice), signed_in(bob)

    client.post(page_of(alice), {"role": "writer"})

    assert hers.get("/account/").url.startswith("/sign-in/")
    assert his.get("/account/").status_code == 200


def test_the_last_admin_stays(client, admin, page_of, member):
    answer = client.post(page_of(admin), {"role": "researcher"})

    assert answer.status_code == 409
    assert "the last admin" in answer.content.decode()
    assert member(admin).role == Role.ADMIN


def test_a_lost_link_is_replaced_in_one_click_and_shown_once(client, alice, page_of):
    assert client.post(page_of(alice, "link/")).url == page_of(alice)
    first, second = (client.get(page_of(alice)).content.decode() for _ in range(2))

    path = re.search(r"/sign-in/[\w-]{43}/", first)[0]
    assert path not in second
    theirs = Client()
    assert theirs.post(path).status_code == 302
    assert theirs.session["_auth_user_id"] == str(alice.pk)
    assert AuditEvent.objects.get(action="link-made").detail["person"] == "alice"


def test_a_lost_password_is_replaced_by_a_link_that_leads_to_setting_one(client, alice, page_of):
    alice.set_password("the forgotten phrase")
    alice.save()
    client.post(page_of(alice, "link/"), {"password": "1"})
    path = re.search(r"/sign-in/[\w-]{43}/\?next=/account/", client.get(page_of(alice)).content.decode())[0]
    theirs = Client()

    assert theirs.post(path).url == "/account/"
    assert theirs.post("/account/password/", {"password": PHRASE}).url == "/account/"

    assert Client().post("/sign-in/", {"username": "alice", "password": PHRASE}).status_code == 302


def test_who_leaves_is_shut_out_at_once_and_nothing_of_theirs_is_deleted(
    client, alice, assignment, signed_in, page_of
):
    link = f"/sign-in/{SignInLink.issue(alice)}/"
    hers = signed_in(alice)

    client.post(page_of(alice, "close/"))

    assert hers.get("/").url.startswith("/sign-in/")
    assert Client().post(link).status_code == 410
    assert Membership.objects.filter(user=alice, role=Role.RATER).exists()
    assert Comparison.objects.get().places_left == 1
    assert "Closed" in client.get("/projects/shop/people/").content.decode()
    assert client.post(page_of(alice, "link/")).status_code == 409

    client.post(page_of(alice, "reopen/"))
    assert signed_in(alice).get("/account/").status_code == 200
    assert [event.action for event in AuditEvent.objects.exclude(action="signed-in").order_by("pk")] == [
        "account-closed",
        "account-reopened",
    ]


def test_nobody_closes_their_own_account(client, admin, page_of):
    assert client.post(page_of(admin, "close/")).status_code == 409
    assert User.objects.get(pk=admin.pk).is_active


@pytest.mark.parametrize("act", ["link/", "close/", "email/", "second-factor/"])
def test_an_admin_takes_over_nobody_who_can_do_more_elsewhere(client, alice, page_of, act):
    other = Project.objects.create(slug="other", name="Other")
    Membership.objects.create(user=alice, project=other, role=Role.ADMIN)

    answer = client.post(page_of(alice, act), {"email": "a@b.example"})

    assert answer.status_code in (403, 409)
    assert "project that you don’t administer" in answer.content.decode()
    assert not SignInLink.objects.exists()
    assert User.objects.get(pk=alice.pk).is_active
    assert not User.objects.get(pk=alice.pk).email


def test_a_member_of_another_project_is_not_found(client, project):
    other = Project.objects.create(slug="other", name="Other")
    stranger = Membership.objects.create(user=User.objects.create_user("x"), project=other, role=Role.RATER)

    for act in ("", "link/", "close/", "reopen/", "email/", "second-factor/"):
        assert client.post(f"/projects/shop/people/{stranger.pk}/{act}").status_code == 404


def test_an_address_for_single_sign_on_belongs_to_one_account(client, alice, bob, page_of):
    assert client.post(page_of(alice, "email/"), {"email": "Alice@Example.org"}).status_code == 302
    assert User.objects.get(pk=alice.pk).email == "alice@example.org"

    assert client.post(page_of(bob, "email/"), {"email": "alice@example.org"}).status_code == 409
    assert client.post(page_of(bob, "email/"), {"email": "no address"}).status_code == 400


# One's own account


@pytest.mark.django_db
def test_a_new_installation_has_no_account_and_so_no_password():
    assert not User.objects.exists()


def test_a_link_stands_for_the_old_password_for_as_long_as_links_live(alice):
    alice.set_password("the former phrase")
    alice.save()
    client = Client()
    client.post(f"/sign-in/{SignInLink.issue(alice)}/")
    session = client.session
    session["started"] -= 16 * 60
    session.save()

    assert client.post("/account/password/", {"password": PHRASE}).status_code == 400
    assert User.objects.get(pk=alice.pk).check_password("the former phrase")


def test_a_password_is_changed_by_the_old_one_alone(alice):
    alice.set_password("the former phrase")
    alice.save()
    client = Client()
    client.post("/sign-in/", {"username": "alice", "password": "the former phrase"})

    for current in ("", "wrong"):
        answer = client.post("/account/password/", {"current": current, "password": PHRASE})
        assert answer.status_code == 400
    form = {"current": "the former phrase", "password": PHRASE}
    assert client.post("/account/password/", form).status_code == 302

    assert User.objects.get(pk=alice.pk).check_password(PHRASE)


@pytest.mark.parametrize("password", ["", "short", "password1234", "alice-alice-alice"])
def test_a_weak_password_is_refused_here_too(alice, signed_in, password):
    User.objects.filter(pk=alice.pk).update(username="alice-alice")

    assert signed_in(alice).post("/account/password/", {"password": password}).status_code == 400


def test_a_new_password_ends_the_other_sessions(alice, signed_in):
    here, there = signed_in(alice), signed_in(alice)

    here.post("/account/password/", {"password": PHRASE})

    assert here.get("/account/").status_code == 200
    assert there.get("/account/").url.startswith("/sign-in/")


def test_signing_out_everywhere_leaves_this_place(alice, bob, signed_in):
    here, there, his = signed_in(alice), signed_in(alice), signed_in(bob)

    here.post("/account/sessions/")

    assert here.get("/account/").status_code == 200
    assert there.get("/account/").url.startswith("/sign-in/")
    assert his.get("/account/").status_code == 200


def test_a_person_changes_their_name_to_one_that_is_free(alice, bob, signed_in):
    client = signed_in(alice)

    assert client.post("/account/name/", {"name": "BOB"}).status_code == 400
    assert client.post("/account/name/", {"name": "alicia"}).status_code == 302
    assert User.objects.get(pk=alice.pk).username == "alicia"


def test_work_is_counted_in_two_statements(project, alice, bob, assignment, django_assert_num_queries):
    with django_assert_num_queries(2):
        found = people.of_project(project)

    assert [(one.user.username, one.judged) for one in found] == [("alice", 0), ("bob", 0)]
    assert found[0].last_seen is not None
    assert next_for(bob, project) is None
