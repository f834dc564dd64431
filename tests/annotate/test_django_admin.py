import pytest
from django.test import Client

from annotate import judging
from annotate.answers import Posted
from annotate.models import AuditEvent, Judgment, User


@pytest.fixture
def root(db) -> User:
    return User.objects.create_user("root", is_superuser=True)


@pytest.fixture
def as_root(root, signed_in) -> Client:
    return signed_in(root)


@pytest.fixture
def judgment(assignment) -> Judgment:
    from uuid import uuid4

    posted = Posted(client_key=uuid4(), order="1>2")
    return judging.judge(assignment, posted.read(assignment.comparison.project.rules, 2))[0]


def test_only_superusers_find_the_raw_tables(root, admin, signed_in, client):
    User.objects.filter(pk=admin.pk).update(is_staff=True)

    assert client.get("/django-admin/").url == "/django-admin/login/?next=/django-admin/"
    assert client.get("/django-admin/login/").url.startswith("/sign-in/?next=")
    assert signed_in(admin).get("/django-admin/", follow=True).status_code == 404
    assert signed_in(root).get("/django-admin/").status_code == 200


def test_every_table_can_be_looked_at(as_root, judgment, root):
    from annotate.admin import site

    for model in site._registry:
        base = f"/django-admin/{model._meta.app_label}/{model._meta.model_name}/"
        assert as_root.get(base).status_code == 200, base
        row = model._base_manager.first()
        if row is not None:
            page = as_root.get(f"{base}{row.pk}/change/")
            assert page.status_code == 200, base
            assert as_root.get(f"{base}{row.pk}/delete/").status_code == 403, base
        assert as_root.get(f"{base}add/").status_code == 403, base


def test_a_judgment_can_be_read_and_not_changed(as_root, judgment):
    address = f"/django-admin/annotate/judgment/{judgment.pk}/change/"

    assert b'name="_save"' not in as_root.get(address).content
    assert as_root.post(address, {"all_bad": "on"}).status_code == 403
    assert not Judgment.objects.get().all_bad


def test_no_secret_is_shown(as_root, project, root):
    root.set_password("a long password of root")
    root.save()
    as_root.force_login(root)

    shop = as_root.get(f"/django-admin/annotate/project/{project.pk}/change/").content.decode()
    person = as_root.get(f"/django-admin/annotate/user/{root.pk}/change/").content.decode()

    assert project.secret not in shop
    assert root.password not in person
    assert "argon2" not in person
    assert as_root.get("/django-admin/annotate/signinlink/").status_code == 404


def test_a_change_is_written_down(as_root, root, alice):
    values = {"first_name": "Alice", "last_name": "", "email": "", "is_active": "on"}
    answer = as_root.post(f"/django-admin/annotate/user/{alice.pk}/change/", values)

    assert answer.status_code == 302
    alice.refresh_from_db()
    assert alice.first_name == "Alice"
    event = AuditEvent.objects.get(action="changed a raw table")
    assert (event.actor, event.detail["row"], event.detail["fields"]) == (root, alice.pk, ["first_name"])


def test_the_browser_has_nothing_to_complain_about(page, live_server, root, judgment):
    client = Client()
    client.force_login(root)
    cookie = client.cookies["session"].value
    page.context.add_cookies([{"name": "session", "value": cookie, "url": live_server.url}])

    page.goto("/django-admin/")
    page.get_by_role("link", name="Judgments").first.click()
    page.get_by_role("link", name=f"judgment {judgment.pk}").click()

    page.get_by_role("heading", name="View judgment").wait_for()
