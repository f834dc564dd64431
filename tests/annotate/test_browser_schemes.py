"""Each way of answering in a real Chromium: by keys, by buttons, by drag, and without a script."""

import pytest
from playwright.sync_api import expect

from annotate.models import Comparison, Judgment, Purpose, Response, SignInLink
from tests.annotate.rater_screen import answer, enter, press, ready, set_rules, settle, texts, waiting

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FOUR = ("good", "fair", "poor", "bad")
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "light"}


@pytest.fixture
def screen(project, page, alice, new_comparison):
    """Make three comparisons that are asked by some rules, and come in."""

    def make(responses=("good", "poor"), **rules):
        set_rules(**rules)
        for number in range(1, 4):
            new_comparison(number, texts=responses)
        enter(page, alice)
        ready(page)
        return page

    return make


def stored(page) -> Judgment:
    settle(page)
    return Judgment.objects.standing().get()


def order(judgment: Judgment) -> list[list[str]]:
    """The stored order in the texts that stood on the screen."""
    return [sorted(Response.objects.get(pk=pk).text for pk in group) for group in judgment.order]


@pytest.mark.parametrize(
    ("key", "best", "strength"), [("1", "A", 3), ("ArrowLeft", "A", 2), ("5", "B", 1), ("7", "B", 3)]
)
def test_seven_steps_say_which_and_how_much(screen, key, best, strength):
    page = screen(scheme="strength")
    shown = texts(page)

    press(page, key)

    judgment = stored(page)
    assert order(judgment)[0] == [shown[best]]
    assert judgment.strength == strength


def test_equal_is_an_answer_of_its_own(screen):
    page = screen(scheme="strength")

    press(page, "4")

    assert (len(stored(page).order), stored(page).strength) == (1, 0)


def test_a_needed_reason_is_asked_for_and_the_pressed_answer_then_sent(screen):
    page = screen(scheme="strength", rationale="strong")
    shown = texts(page)
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_contain_text("Say in a few words why")
    expect(page.get_by_role("textbox")).to_be_focused()
    expect(page.get_by_role("button", name="A much better")).to_have_attribute("aria-pressed", "true")
    page.keyboard.type("B made it up. s u 7")
    assert not waiting(page)

    press(page, "Control+Enter")

    judgment = stored(page)
    assert (judgment.strength, judgment.rationale) == (3, "B made it up. s u 7")
    assert order(judgment)[0] == [shown["A"]]
    press(page, "3")  # slightly: no reason is needed
    settle(page)
    assert Judgment.objects.count() == 2


def test_a_draft_survives_a_reload_and_goes_when_it_is_stored(screen):
    page = screen(rationale="optional", criteria=["Right"], labels=["untrue"], confidence=True)
    page.get_by_role("textbox").fill("A is ri")
    page.locator(".why .criterion").first.get_by_text("Same").click()
    page.locator(".side.b").get_by_text("untrue").click()
    page.locator(".why .criterion").last.get_by_text("4").click()
    page.wait_for_timeout(400)
    page.reload()
    ready(page)
    expect(page.get_by_role("textbox")).to_have_value("A is ri")
    page.locator("main").click(position={"x": 5, "y": 5})

    press(page, "ArrowLeft")

    judgment = stored(page)
    assert (judgment.rationale, judgment.confidence, judgment.labels) == ("A is ri", 4, [[], ["untrue"]])
    assert len(judgment.criteria["Right"]) == 1
    assert not page.evaluate("Object.keys(localStorage).filter(name => name.includes('/draft/'))")


def test_rows_that_are_needed_hold_the_answer_back_until_they_are_filled(screen):
    page = screen(criteria=["Right", "Clear"], criteria_required=True)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("alert")).to_contain_text("Answer each row")
    for row in page.locator(".why .criterion").all():
        row.get_by_text("A", exact=True).click()

    answer(page, page.get_by_role("button", name="Save").click)

    assert set(stored(page).criteria) == {"Right", "Clear"}


def test_an_order_is_typed_with_a_tie(screen):
    page = screen(FOUR, scheme="ranking")
    shown = texts(page)
    for key in ("3", "1", "4", "="):
        page.keyboard.press(key)
    expect(page.locator("#ranking .typed")).to_have_text("C › A = D › B")

    press(page, "Enter")

    assert order(stored(page)) == [[shown["C"]], sorted([shown["A"], shown["D"]]), [shown["B"]]]


def test_an_order_is_made_with_buttons_and_mended_with_arrows(screen):
    page = screen(FOUR, scheme="ranking")
    shown = texts(page)
    for letter in "ABC":  # the fourth follows by itself
        page.get_by_role("button", name=f"Place {letter} next").click()
    page.get_by_role("button", name="Move D up").click()  # A B D C
    page.get_by_role("button", name="Place A next, or choose it").click()
    page.locator("main").focus()
    page.keyboard.press("ArrowDown")  # B A D C

    answer(page, page.get_by_role("button", name="Save order").click)

    assert order(stored(page)) == [[shown[letter]] for letter in "BADC"]


def test_an_order_is_made_by_dragging(screen):
    page = screen(FOUR, scheme="ranking")
    shown = texts(page)
    for key in ("1", "2", "3"):  # the fourth follows by itself
        page.keyboard.press(key)

    drag(page, "D", onto="A", share=0.05)  # before A
    drag(page, "C", onto="B", share=0.5)  # ties with B
    expect(page.locator("#ranking .typed")).to_have_text("D › A › B = C")
    press(page, "Enter")

    assert order(stored(page)) == [[shown["D"]], [shown["A"]], sorted([shown["B"], shown["C"]])]


def drag(page, letter: str, *, onto: str, share: float) -> None:
    grip = page.locator(f'#ranking [data-letter="{letter}"] .grip').bounding_box()
    goal = (
        page.locator("#ranking ol.order > li")
        .filter(has=page.locator(f'[data-letter="{onto}"]'))
        .bounding_box()
    )
    page.mouse.move(grip["x"] + 8, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(grip["x"] + 8, goal["y"] + goal["height"] * share, steps=4)
    page.mouse.up()


def test_only_the_top_needs_a_place_and_less_is_not_taken(screen):
    page = screen(FOUR, scheme="ranking", top=2, tie=False)
    shown = texts(page)
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Give more responses a place")
    page.locator("main").focus()
    page.keyboard.press("2")

    press(page, "Enter")

    assert order(stored(page)) == [[shown["D"]], [shown["B"]], sorted([shown["A"], shown["C"]])]


def test_a_ranking_is_undone_with_its_order(screen):
    page = screen(FOUR, scheme="ranking")
    press(page, "2", "1", "3", "Enter")
    settle(page)
    press(page, "u")

    expect(page.locator("#ranking .typed")).to_have_text("B › A › C › D")
    assert page.locator("[name=rank_2]").input_value() == "1"


def test_scores_are_typed_one_response_after_the_other(screen):
    page = screen(("good", "fair", "poor"), scheme="scores", score_steps=7)
    shown = texts(page)
    for key in ("2", "7", "Backspace", "6", "2"):
        page.keyboard.press(key)
    press(page, "Enter")

    judgment = stored(page)
    assert judgment.scores == [2, 6, 2]
    assert order(judgment) == [[shown["B"]], sorted([shown["A"], shown["C"]])]


def test_a_missing_score_is_asked_for(screen):
    page = screen(scheme="scores")
    page.keyboard.press("4")
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("Give each response a score")
    assert not waiting(page)


@pytest.mark.parametrize("scheme", ["ranking", "scores", "strength"])
def test_without_scripts_every_scheme_is_a_plain_form(project, alice, new_comparison, open_page, scheme):
    set_rules(scheme=scheme, rationale="optional", criteria=["Right"])
    new_comparison(1, texts=FOUR[: 2 if scheme == "strength" else 4])
    page = open_page(java_script_enabled=False)
    page.goto(f"/sign-in/{SignInLink.issue(alice)}/")
    page.get_by_role("button", name="Sign in").click()
    shown = texts(page)

    page.get_by_role("textbox").first.fill("because")
    if scheme == "strength":
        page.get_by_role("button", name="A better").click()
    else:
        for position, number in enumerate((2, 1, 4, 3), 1):
            if scheme == "ranking":
                page.locator(f"[name=rank_{position}]").select_option(str(number))
            else:
                page.locator(f"[name=score_{position}][value='{5 - number}']").check(force=True)
        page.get_by_role("button", name="Save").click()

    judgment = Judgment.objects.get()
    assert judgment.rationale == "because"
    expected = "AB" if scheme == "strength" else "BADC"
    assert order(judgment) == [[shown[letter]] for letter in expected]


def test_hard_texts_stand_behind_one_press(screen):
    page = screen(content_warning="Descriptions of injuries")
    expect(page.get_by_text("Descriptions of injuries")).to_be_visible()
    expect(page.locator(".side.a .prose")).to_be_hidden()
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(50)
    assert not waiting(page)
    page.locator("main").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".side.a .prose")).to_be_visible()

    press(page, "ArrowLeft")

    expect(page.locator(".side.a .prose")).to_be_visible()  # for this sitting


def test_an_example_is_explained_and_the_queue_opens_after_it(project, new_comparison, page, alice):
    set_rules()
    example = new_comparison(1)
    good, poor = Response.objects.order_by("text").values_list("pk", flat=True)
    Comparison.objects.filter(pk=example.pk).update(
        purpose=Purpose.TRAINING, gold=[[good], [poor]], explanation="It is **right**."
    )
    new_comparison(2)
    enter(page, alice)
    best = next(letter for letter, text in texts(page).items() if text.startswith("good"))
    page.keyboard.press({"A": "ArrowRight", "B": "ArrowLeft"}[best])
    page.wait_for_url("**/explained/")

    expect(page.get_by_role("heading", name="We expected something else")).to_be_visible()
    expect(page.get_by_text("It is right.")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare/")
    assert "Question 2?" in page.locator(".talk").inner_text()


def test_ranking_on_a_phone_needs_no_drag(project, alice, new_comparison, open_page):
    set_rules(scheme="ranking")
    new_comparison(1, texts=FOUR)
    page = enter(open_page(**PHONE), alice)
    ready(page)
    shown = texts(page)
    for position, number in enumerate((4, 3, 2, 1), 1):
        page.locator(f"[name=rank_{position}]").select_option(str(number))
    page.get_by_role("button", name="Save order").tap()
    page.get_by_role("heading", name="Nothing left now").wait_for()

    judgment = Judgment.objects.get()
    assert order(judgment) == [[shown[letter]] for letter in "DCBA"]
    assert judgment.normal  # all stood on the screen while they were given their places
