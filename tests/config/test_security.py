import os
import re
import secrets
import subprocess
import sys
from urllib.parse import urlsplit

import pytest
from django.test import Client

from annotate.models import Membership, Project, Role, User
from config.security import HEADERS
from config.settings import BASE_DIR

PAGES = ("/sign-in/", "/", "/projects/shop/", "/runs/", "/nothing/", "/sign-in/dead-link/", "/health")


@pytest.fixture
def client(db) -> Client:
    project = Project.objects.create(slug="shop", name="Shop")
    admin = User.objects.create_user("admin")
    Membership.objects.create(user=admin, project=project, role=Role.ADMIN)
    client = Client()
    client.force_login(admin)
    return client


@pytest.mark.parametrize("path", PAGES)
def test_every_answer_carries_the_headers(client, path):
    for answer in (client.get(path), Client().get(path)):
        for name, value in HEADERS.items():
            assert answer[name] == value
        assert "no-store" in answer["Cache-Control"]


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere():
    policy = HEADERS["Content-Security-Policy"]

    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy


def test_a_page_that_broke_says_so_with_a_number_that_is_in_the_log(client, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("annotate.progress.of_project", broken)
    client.raise_request_exception = False

    answer = client.get("/projects/shop/")

    assert answer.status_code == 500
    number = re.search(r"<code>([0-9a-f]{4}-[0-9a-f]{4})</code>", answer.content.decode())[1]
    assert number in caplog.text
    assert "boom" not in answer.content.decode()
    assert answer["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("path", PAGES[:-1])
def test_pages_hold_no_inline_script_style_or_handler(client, path):
    html = client.get(path).content.decode()

    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<[^>]+\s(style|on\w+)=", html)
    for script in re.findall(r"<script[^>]*>", html):
        assert 'integrity="sha384-' in script
    for address in re.findall(r'(?:src|href|action)="([^"#]*)"', html):
        assert not urlsplit(address).netloc


def test_the_theme_is_kept_in_a_cookie_and_written_by_the_server(db):
    client = Client()

    client.post("/theme/", {"theme": "dark"}, headers={"Referer": "http://testserver/sign-in/"})

    assert 'data-theme="dark"' in client.get("/sign-in/").content.decode()
    assert client.post("/theme/", {"theme": "<b>"}).status_code == 302
    assert 'data-theme="dark"' in client.get("/sign-in/").content.decode()
    assert (
        client.post("/theme/", {"theme": "auto"}, headers={"Referer": "http://x//evil.example/"}).url == "/"
    )


def test_cookies_are_for_this_site_and_out_of_reach_of_scripts(db):
    client = Client()
    client.get("/sign-in/")
    cookie = client.cookies["session"]

    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert "csrftoken" not in client.cookies


def test_a_post_without_its_token_changes_nothing(db):
    project = Project.objects.create(slug="shop", name="Shop", demo=True)
    admin = User.objects.create_user("admin")
    Membership.objects.create(user=admin, project=project, role=Role.ADMIN)
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)

    answer = client.post("/projects/shop/simulate/")

    assert answer.status_code == 403
    assert "older than your session" in answer.content.decode()


def test_a_foreign_host_is_refused(db):
    assert Client().get("/sign-in/", headers={"Host": "evil.example"}).status_code == 400


def test_behind_a_tls_proxy_browsers_are_told_to_stay_with_https(client, settings):
    assert "Strict-Transport-Security" not in client.get("/")

    settings.SECURE_HSTS_SECONDS = 31536000

    assert client.get("/")["Strict-Transport-Security"] == "max-age=31536000"


def test_djangos_own_check_for_servers_finds_nothing(tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "RANKLOOP_DATA": str(tmp_path),
        "RANKLOOP_SECRET_KEY": secrets.token_urlsafe(64),
        "RANKLOOP_URL": "https://rankloop.example.org",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]

    done = subprocess.run(command, check=False, env=environment, cwd=BASE_DIR, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
