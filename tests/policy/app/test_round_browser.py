"""A round in a real Chromium, from the button to the promoted policy; its programs' work is staged."""

import pytest
from django.test import Client

from annotate.models import Membership, Role, User
from policy.app import rounds
from policy.app.models import Round, RoundState
from policy.app.settings import RoundSettings
from runs import transitions
from tests.policy.app import staged

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def project(settings, tmp_path, monkeypatch):
    settings.DATA_DIR = tmp_path
    settings.RUNS_DIR = tmp_path / "runs"
    readiness = rounds.readiness
    few = RoundSettings(fewest_judgments=1)
    monkeypatch.setattr(rounds, "readiness", lambda project, settings=None: readiness(project, few))
    return staged.demo(4)


@pytest.fixture
def sign_in(live_server, project):
    """Let a page be that of an admin of the project."""
    ada = User.objects.create_user("ada")
    Membership.objects.create(user=ada, project=project, role=Role.ADMIN)
    client = Client()
    client.force_login(ada)
    cookie = {"name": "session", "value": client.cookies["session"].value, "url": live_server.url}

    def sign_in(page):
        page.context.add_cookies([cookie])
        return page

    return sign_in


def test_a_round_goes_from_the_button_to_a_promoted_policy(page, sign_in, project):
    sign_in(page).goto("/projects/demo/")
    page.locator("summary", has_text="Settings").click()
    page.get_by_label("1 nat", exact=False).check()
    page.get_by_label("Fresh comparisons").fill("24")
    page.get_by_role("button", name="Start round 1").click()
    page.wait_for_url("**/rounds/1/")
    round = Round.objects.get()
    assert (round.plan.kl_budget, round.plan.comparisons) == (1, 24)

    run = staged.to_ppo(round)
    transitions.advance(run, step=6, total=14, phase="")
    page.get_by_text("Step 6 of 14").wait_for()  # by itself
    staged.finish(run, {"kl": 0.9, "reward": 1.1})
    samples = staged.claim()
    staged.finish(samples, {}, staged.drawn(samples))
    page.locator("#round[data-state=labeling]").wait_for()
    assert page.locator("#round").get_attribute("hx-get") is None

    staged.ask_only_evaluations(project)
    staged.judge_open(project, 10, raters=4, seed=2, new=round.policy, win=1)
    page.reload()
    page.get_by_role("img", name="wins").wait_for()
    page.get_by_role("button", name="Promote round 1").first.click()
    dialog = page.get_by_role("dialog", name="Promote round 1?")
    dialog.get_by_role("button", name="Not now").click()
    dialog.wait_for(state="hidden")
    round.refresh_from_db()
    assert round.state == RoundState.LABELING
    page.get_by_role("button", name="Promote round 1").first.click()
    dialog.get_by_label("Why, if it needs saying").fill("Reads well.")
    dialog.get_by_role("button", name="Promote round 1").click()
    page.locator("#round[data-state=promoted]").wait_for()
    page.get_by_text("Its policy was promoted by ada").wait_for()


def test_two_policies_answer_on_a_phone_without_javascript(open_page, sign_in, project):
    staged.other_policy(project)
    page = sign_in(open_page(viewport={"width": 390, "height": 844}, java_script_enabled=False))
    page.goto("/projects/demo/try/")
    page.get_by_role("textbox", name="Prompt").fill("How much is it?")
    page.get_by_role("button", name="Ask both").click()
    page.get_by_text("No worker for the queue train is up.").wait_for()

    run = staged.claim()
    staged.finish(run, {}, staged.said(run, "It costs **$20**."))
    page.reload()

    assert page.get_by_text("It costs $20.").count() == 2
    assert page.get_by_role("textbox", name="Prompt").input_value() == "How much is it?"
    assert page.evaluate("document.documentElement.scrollWidth") == 390
