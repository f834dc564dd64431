"""A run's page in a real Chromium: it follows the run by itself, and its buttons work."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from runs import access, transitions
from runs.models import State, Want

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(open_page, live_server, monkeypatch):
    """Signed in as somebody who administers everything in these tests."""
    monkeypatch.setattr(access, "_providers", [lambda _: {""}])
    client = Client()
    client.force_login(get_user_model().objects.create_user("ada"))
    page = open_page(viewport={"width": 1440, "height": 900})
    cookie = {"name": "session", "value": client.cookies["session"].value, "url": live_server.url}
    page.context.add_cookies([cookie])
    return page


def test_the_page_follows_the_run_to_its_end_without_a_reload(page, claimed):
    run = claimed()
    path = run.directory.path
    path.mkdir(parents=True)
    page.goto(f"/runs/{run.pk}/")
    page.get_by_text("Running", exact=True).wait_for()
    page.evaluate("window.marked = true")

    (path / "metrics.jsonl").write_text('{"step": 1, "total": 2, "at": 1, "loss": 0.5}\n')
    transitions.advance(run, step=1, total=2, phase="")
    page.get_by_text("Step 1 of 2").wait_for()
    page.get_by_role("img", name="Loss: now 0.5").wait_for()

    transitions.succeed(run, lambda: None)
    page.locator("#run[data-state=succeeded]").wait_for()
    page.get_by_text("Done", exact=True).first.wait_for()
    assert page.evaluate("window.marked")
    assert page.locator("#run").get_attribute("hx-get") is None


def test_a_run_is_paused_and_resumed_by_its_buttons(page, claimed):
    run = claimed()
    page.goto(f"/runs/{run.pk}/")
    page.get_by_role("button", name="Pause").click()
    page.get_by_text("Pauses after this step").wait_for()
    run.refresh_from_db()
    assert run.want == Want.PAUSE
    transitions.pause(run)
    page.get_by_role("button", name="Resume").click()
    page.get_by_text("Resumed by ada").wait_for()
    run.refresh_from_db()
    assert run.state == State.QUEUED


def test_everything_is_there_without_javascript(open_page, page, live_server, claimed):
    run = claimed()
    plain = open_page(java_script_enabled=False)
    plain.context.add_cookies(page.context.cookies())
    plain.goto(f"/runs/{run.pk}/")
    plain.get_by_role("button", name="Cancel").click()
    plain.get_by_text("Stops after this step").wait_for()
    run.refresh_from_db()
    assert run.want == Want.CANCEL
