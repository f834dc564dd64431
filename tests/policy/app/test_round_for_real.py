"""The demo as an admin meets it: a real Chromium, real workers, the shipped model, no setting changed."""

import re
import signal

import pytest

from tests.up import Up

pytestmark = [pytest.mark.workers, pytest.mark.browser, pytest.mark.verify]
STEP_LIMIT = 600_000  # milliseconds; machines are shared


@pytest.fixture
def up(tmp_path):
    running = Up(tmp_path / "data").wait_for_banner()
    yield running
    running.process.send_signal(signal.SIGTERM)
    running.ended()


def robots_judge(up, count):
    up.manage(
        *("simulate_raters", "--project", "demo", "--raters", "6", "--population", "clean"),
        *("--judgments", str(count), "--seed", "1", "--url", up.url),
    )


def test_a_round_goes_from_the_button_to_a_promoted_policy_that_answers(browser, up):
    robots_judge(up, 150)
    said = up.manage("signin_link", "admin", "--project", "demo", "--role", "admin")
    link = re.search(rf"{re.escape(up.url)}/sign-in/\S+", said)[0]
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(link)
    page.locator("main button").first.click()
    page.goto(f"{up.url}/projects/demo/")
    page.get_by_role("button", name="Start round 1").click()
    page.wait_for_url("**/rounds/1/")
    page.locator("#round[data-state=labeling]").wait_for(timeout=5 * STEP_LIMIT)  # it asks by itself
    page.get_by_text("160 comparisons queued").wait_for()
    assert page.locator("article.sample").count() == 20
    nats = re.search(r"the policy is (\d\.\d) nats from the base", page.inner_text("#round"))
    assert 0.3 < float(nats[1]) < 2.4

    robots_judge(up, 0)
    page.reload()
    page.get_by_role("heading", name="Against starter").or_(
        page.get_by_text("Against starter")
    ).first.wait_for()
    page.get_by_role("img", name="wins").wait_for()
    page.get_by_role("button", name="Promote round 1").first.click()
    page.get_by_role("dialog", name="Promote round 1?").get_by_role("button", name="Promote round 1").click()
    page.locator("#round[data-state=promoted]").wait_for()

    page.get_by_role("link", name="Try a policy").first.click()
    page.get_by_role("textbox", name="Prompt").fill("How much is it?")
    page.get_by_label("Notes, if the answer needs facts").fill("Notes: lamp Oriel; price: $20; colour: teal")
    page.get_by_role("button", name="Ask both").click()
    page.locator("#answers[data-state=succeeded]").wait_for(timeout=STEP_LIMIT)
    assert page.locator("#answers section").count() == 2
    for name in ("round 1", "starter"):
        assert page.get_by_role("region", name=name).inner_text().strip() not in ("", name)
