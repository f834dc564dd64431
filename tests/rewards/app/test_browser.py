"""A reward model in a real Chromium: from the form over its run to the promoted one, and on a phone."""

import pytest
from django.test import Client

from annotate.models import Membership, Role, User
from rewards.app.models import RewardModel
from runs import transitions
from runs.models import Run
from tests.rewards.app import staged

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LIST = "/projects/demo/reward-models/"


@pytest.fixture
def sign_in(live_server, demo):
    """Let a page be that of an admin of the project."""
    ada = User.objects.create_user("ada")
    Membership.objects.create(user=ada, project=demo, role=Role.ADMIN)
    client = Client()
    client.force_login(ada)
    cookie = {"name": "session", "value": client.cookies["session"].value, "url": live_server.url}

    def sign_in(page):
        page.context.add_cookies([cookie])
        return page

    return sign_in


def test_a_reward_model_goes_from_the_form_to_being_promoted(page, sign_in, demo, problems):
    sign_in(page).goto("/projects/demo/")
    page.get_by_role("link", name="Reward models").click()
    page.get_by_role("link", name="Train a reward model").click()
    page.get_by_label("Members").fill("0")
    page.get_by_role("button", name="Start the run").click()
    page.get_by_text("members must be 1 to 100, not 0").first.wait_for()
    assert "400" in problems.pop()
    page.get_by_label("Members").fill("4")
    page.get_by_text("All other settings").click()
    page.get_by_label("Seed").fill("3")
    page.get_by_role("button", name="Start the run").dblclick()
    page.wait_for_url("**/runs/*/")
    run = Run.objects.get(kind="reward-model")
    assert (run.config["members"], run.config["seed"]) == (4, 3)

    staged.claimed(run)
    lines = (
        '{"step": 1, "total": 2, "at": 1, "loss": 0.6, "learning_rate": 1e-5, "tokens_per_second": 5000}\n',
    )
    (run.directory.path / "metrics.jsonl").write_text("".join(lines))
    run.refresh_from_db()
    transitions.advance(run, step=1, total=2, phase="training")
    page.get_by_role("img", name="Loss: now 0.6").wait_for()  # by itself
    page.get_by_role("img", name="Tokens per second: now 5,000").wait_for()
    staged.finish(run, staged.LATER, mistakes=staged.MISTAKES)
    page.get_by_role("link", name="Open the result").click()

    model = RewardModel.objects.get()
    page.wait_for_url(f"**{LIST}{model.pk}/")
    page.get_by_role("img", name="Is it as sure as it should be").wait_for()
    page.get_by_text("How much is the lamp Fern 1?").wait_for()
    page.get_by_role("button", name="Promote it").click()
    dialog = page.get_by_role("dialog", name=f"Promote reward model {model.pk}?")
    dialog.get_by_role("button", name="Not now").click()
    dialog.wait_for(state="hidden")
    page.get_by_role("button", name="Promote it").first.click()
    dialog.get_by_role("button", name="Promote it").click()
    page.get_by_text("Promoted by ada on").wait_for()
    model.refresh_from_db()
    assert model.state == "promoted"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_all_is_there_without_javascript(open_page, sign_in, demo, scheme):
    model = staged.reward_model(demo, staged.LATER, mistakes=staged.MISTAKES)
    page = sign_in(
        open_page(viewport={"width": 390, "height": 844}, color_scheme=scheme, java_script_enabled=False)
    )
    for address in (LIST, f"{LIST}new/", f"{LIST}{model.pk}/"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Promote it").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Promote it").click()
    page.get_by_text("Promoted by ada on").wait_for()
