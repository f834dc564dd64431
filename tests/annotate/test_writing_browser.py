"""A writer's and a reviewer's session in a real Chromium, by keyboard, up to the file."""

import pytest

from annotate import demonstrations
from annotate.models import Demonstration, DemonstrationVersion, Role, SignInLink
from tests.annotate.writing_parts import prompt_wanting, sampled

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def desk(open_page, person):
    """Open the desk of a new writer."""

    def open_(name: str, page: str, **options):
        opened = open_page(**options)
        opened.goto(f"/sign-in/{SignInLink.issue(person(name, Role.WRITER))}/")
        opened.get_by_role("button", name="Sign in").click()
        opened.wait_for_load_state()
        opened.goto(f"/projects/shop/{page}/")
        return opened

    return open_


def test_a_text_is_edited_kept_sent_back_sent_again_and_accepted_by_keys(desk, project):
    source = sampled(prompt_wanting(project, wanted=0), "It costs $20.")
    demonstrations.ask_for(project, 1, people=1, edited=True)
    writer = desk("wanda", "write")
    field = writer.get_by_role("textbox", name="Make it the best response you can")
    assert field.input_value() == "It costs $20."

    field.fill("It costs $25s.")  # the letter s is typed, not taken for a skip
    writer.get_by_text("Draft saved").wait_for()
    writer.keyboard.press("Escape")
    writer.keyboard.press("d")
    writer.locator("#changes ins", has_text="25s").wait_for()
    writer.reload()
    assert field.input_value() == "It costs $25s."
    field.press("Control+Enter")
    writer.get_by_role("heading", name="Nothing to write now").wait_for()

    reviewer = desk("will", "review")
    assert reviewer.locator("del", has_text="20").is_visible()
    reviewer.get_by_label("Note to the author").fill("A letter too many: ab")
    reviewer.reload()
    assert reviewer.get_by_label("Note to the author").input_value() == "A letter too many: ab"
    reviewer.keyboard.press("Tab")
    reviewer.locator("#main").focus()
    reviewer.keyboard.press("b")
    reviewer.get_by_role("heading", name="Nothing to review now").wait_for()

    writer.goto("/projects/shop/write/")
    assert writer.get_by_text("A letter too many: ab").first.is_visible()
    field.fill("It costs $25.")
    field.press("Control+Enter")
    writer.get_by_role("heading", name="Nothing to write now").wait_for()
    reviewer.goto("/projects/shop/review/")
    reviewer.keyboard.press("a")
    reviewer.get_by_role("heading", name="Nothing to review now").wait_for()

    (found,) = demonstrations.demonstrations(project)
    assert (found.source, found.response) == (source.text, "It costs $25.")
    assert [version.verdict for version in found.versions] == ["send_back", "accept"]
    assert DemonstrationVersion.objects.first().active_ms is not None


def test_two_tabs_do_not_overwrite_each_other(desk, project, problems):
    prompt_wanting(project)
    first = desk("wanda", "write")
    second = first.context.new_page()
    second.goto("/projects/shop/write/")

    first.locator("#text").fill("From the first")
    first.get_by_text("Draft saved").wait_for()
    second.locator("#text").fill("From the second")
    second.get_by_text("You changed this text in another tab").wait_for()

    assert Demonstration.objects.get().draft == "From the first"
    second.locator("#text").press("Control+Enter")
    second.get_by_text("What the other tab saved").wait_for()
    second.wait_for_load_state()
    second.locator("#text").press("Control+Enter")
    second.get_by_role("heading", name="Nothing to write now").wait_for()
    assert DemonstrationVersion.objects.get().text == "From the second"
    assert len(problems) == 2  # the draft and the text were refused once each
    problems.clear()


def test_without_connection_the_draft_waits_and_is_saved_later(desk, project, problems):
    prompt_wanting(project)
    page = desk("wanda", "write")
    page.context.set_offline(True)
    page.locator("#text").fill("Written on a train")
    page.get_by_text("No connection: not saved").wait_for()
    page.context.set_offline(False)
    problems.clear()

    page.get_by_text("Draft saved").wait_for()

    assert Demonstration.objects.get().draft == "Written on a train"


def test_all_of_it_works_without_scripts(desk, project):
    prompt_wanting(project)
    writer = desk("wanda", "write", java_script_enabled=False)
    writer.locator("#text").fill("Half")
    writer.get_by_role("button", name="Save draft").click()
    assert writer.locator("#text").input_value() == "Half"
    writer.locator("#text").fill("Whole")
    writer.get_by_role("button", name="Send").click()
    reviewer = desk("will", "review", java_script_enabled=False)
    reviewer.get_by_role("button", name="Accept").click()

    (found,) = demonstrations.demonstrations(project)
    assert found.response == "Whole"


def test_a_skip_asks_why_and_takes_the_answer(desk, project):
    prompt_wanting(project)
    page = desk("wanda", "write")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    page.get_by_label("Not my language").check()
    page.get_by_role("button", name="Skip this prompt").click()

    page.get_by_role("heading", name="Nothing to write now").wait_for()
    assert Demonstration.objects.get().skip_reason == "Not my language"


@pytest.mark.parametrize("width", [390, 820, 1440])
def test_nothing_is_wider_than_the_window_and_the_bar_covers_no_text(desk, project, width):
    sampled(prompt_wanting(project, wanted=0), "A response " * 200)
    demonstrations.ask_for(project, 1, people=1, edited=True)
    page = desk("wanda", "write", viewport={"width": width, "height": 844})

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    bar = page.locator(".deskbar").bounding_box()
    padding = page.evaluate("parseFloat(getComputedStyle(document.body).paddingBottom)")
    assert padding >= bar["height"] - 1
    page.get_by_role("button", name="Send").click()
    page.get_by_role("heading", name="Nothing to write now").wait_for()
