"""A rater's session in a real Chromium, by keyboard, against what the researcher then downloads."""

import json

import pytest

from annotate.models import Judgment, Response, SignInLink

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

KEYS = {"A": "ArrowLeft", "B": "ArrowRight", "tie": "ArrowDown", "bad": "0"}


@pytest.fixture
def page(open_page, alice):
    page = open_page()
    page.goto(f"/sign-in/{SignInLink.issue(alice)}/")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/projects/shop/compare/")
    return page


@pytest.fixture
def queue(new_comparison):
    return [new_comparison(number) for number in range(1, 9)]


def responses_on(page) -> dict[str, str]:
    return {letter: page.locator(f".side.{letter.lower()} .prose").inner_text() for letter in "AB"}


def answer(page, give) -> None:
    """Give an answer and wait for the next comparison, or for the end."""
    before = page.locator("#comparison").get_attribute("action")
    give()
    page.wait_for_function(
        "before => document.querySelector('#comparison')?.getAttribute('action') !== before", arg=before
    )


def press(page, key: str) -> None:
    answer(page, lambda: page.keyboard.press(key))


def downloaded(signed_in, researcher) -> list[dict]:
    answer = signed_in(researcher).get("/projects/shop/pairs.jsonl")
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def test_the_winner_on_screen_is_the_winner_in_the_file_whichever_side_it_was_on(
    queue, page, signed_in, researcher
):
    seen = []
    for vote in ("A", "B", "A", "B", "tie", "bad", "B", "A"):
        texts = responses_on(page)
        seen.append((texts, vote))
        press(page, KEYS[vote])
    assert page.get_by_role("heading", name="Nothing left now").is_visible()

    pairs = {
        frozenset((pair["chosen"], pair["rejected"])): pair for pair in downloaded(signed_in, researcher)
    }
    assert len(pairs) == len(seen)
    for texts, vote in seen:
        pair = pairs[frozenset(texts.values())]
        assert pair["tie"] == (vote in ("tie", "bad"))
        assert pair["all_bad"] == (vote == "bad")
        if vote in texts:
            assert pair["chosen"] == texts[vote]
            assert pair["first"] == ("chosen" if vote == "A" else "rejected")


def test_a_click_votes_as_a_key_does(queue, page):
    chosen = responses_on(page)["B"]

    answer(page, page.get_by_role("button", name="B is better").click)

    order = Judgment.objects.get().order
    assert Response.objects.get(pk=order[0][0]).text == chosen


def test_undo_brings_the_last_comparison_back_and_the_new_answer_stands(queue, page):
    texts = responses_on(page)
    press(page, KEYS["A"])
    press(page, "u")

    assert responses_on(page) == texts
    assert page.locator(".vote[aria-pressed=true]").inner_text().startswith("A is better")
    press(page, KEYS["B"])

    standing = Judgment.objects.standing().get()
    assert Response.objects.get(pk=standing.order[0][0]).text == texts["B"]
    assert Judgment.objects.count() == 3


def test_the_browser_says_when_and_how_long_the_rater_looked(queue, page):
    page.mouse.move(200, 200)
    press(page, KEYS["A"])
    press(page, KEYS["B"])

    for judgment in Judgment.objects.all():
        assert judgment.shown_at <= judgment.first_input_at <= judgment.submitted_at
        elapsed = (judgment.submitted_at - judgment.shown_at).total_seconds()
        assert 0 <= judgment.active_ms <= elapsed * 1000 + 50


def test_keys_are_silent_with_modifiers_and_in_dialogs(queue, page):
    page.keyboard.press("Control+ArrowLeft")
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)

    assert not Judgment.objects.exists()


def test_guidelines_open_with_a_key_and_stay_open(queue, page):
    page.keyboard.press("g")
    assert page.get_by_text("Pick what is right").is_visible()

    press(page, KEYS["A"])

    assert page.get_by_text("Pick what is right").is_visible()


def test_without_connection_the_page_says_so_and_the_answer_can_be_given_again(queue, page, problems):
    page.context.set_offline(True)
    page.keyboard.press(KEYS["A"])
    page.get_by_text("No connection: not saved").wait_for()
    page.context.set_offline(False)
    problems.clear()

    press(page, KEYS["B"])

    assert Judgment.objects.count() == 1


def test_a_session_that_ended_leads_to_signing_in_and_back(queue, page, alice):
    page.context.clear_cookies()
    page.keyboard.press(KEYS["A"])

    page.wait_for_url("**/sign-in/?next=%2Fprojects%2Fshop%2Fcompare%2F")
    assert page.get_by_role("heading", name="Sign in").is_visible()


def test_without_scripts_the_page_votes_too(queue, open_page, alice):
    page = open_page(java_script_enabled=False)
    page.goto(f"/sign-in/{SignInLink.issue(alice)}/")
    page.get_by_role("button", name="Sign in").click()
    before = page.url

    page.get_by_role("button", name="A is better").click()

    assert page.url == before
    assert Judgment.objects.count() == 1
    page.get_by_role("button", name="Undo").first.click()
    assert not Judgment.objects.standing().exists()


def test_on_a_phone_one_response_is_seen_at_a_time(queue, open_page, alice):
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    page.goto(f"/sign-in/{SignInLink.issue(alice)}/")
    page.get_by_role("button", name="Sign in").click()

    assert page.locator(".side.a").is_visible()
    assert not page.locator(".side.b").is_visible()
    page.get_by_text("Response B", exact=True).last.click()
    assert page.locator(".side.b").is_visible()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


def test_both_sides_are_alike_to_the_pixel_and_nothing_moves(queue, page):
    boxes = [page.locator(f".side.{side}").bounding_box() for side in "ab"]

    assert boxes[0]["y"] == boxes[1]["y"]
    assert abs(boxes[0]["width"] - boxes[1]["width"]) <= 1
    assert boxes[0]["height"] == boxes[1]["height"]
