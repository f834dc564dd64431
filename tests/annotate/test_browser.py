"""A rater's session in a real Chromium, by keyboard, against what is then stored and exported."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from annotate.exchange import pairs
from annotate.judging import skip
from annotate.models import Assignment, AssignmentState, Flag, Judgment, Response, SignInLink
from tests.annotate.rater_screen import answer, enter, key_of, press, ready, set_rules, settle, texts, waiting

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

KEYS = {"A": "ArrowLeft", "B": "ArrowRight", "tie": "ArrowDown", "bad": "0"}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "light"}


@pytest.fixture
def queue(project, new_comparison):
    set_rules()
    return [new_comparison(number) for number in range(1, 9)]


@pytest.fixture
def screen(queue, page, alice):
    """Alice's page with the first comparison on it and the second in hand."""
    return ready(enter(page, alice))


def chosen_text(judgment: Judgment) -> str:
    return Response.objects.get(pk=judgment.order[0][0]).text


def test_the_winner_on_screen_is_the_winner_in_the_file_whichever_side_it_was_on(screen, project):
    seen = []
    for vote in ("A", "B", "A", "B", "tie", "bad", "B", "A"):
        seen.append((texts(screen), vote))
        press(screen, KEYS[vote])
    expect(screen.get_by_role("heading", name="Nothing left now")).to_be_visible()

    rows = {frozenset((pair.chosen, pair.rejected)): pair for pair in pairs(project)}
    assert len(rows) == len(seen)
    for shown, vote in seen:
        pair = rows[frozenset(shown.values())]
        assert pair.tie == (vote in ("tie", "bad"))
        assert pair.all_bad == (vote == "bad")
        if vote in shown:
            assert pair.chosen == shown[vote]
            assert pair.first == ("chosen" if vote == "A" else "rejected")


def test_a_link_leads_to_the_comparisons_and_a_click_votes_as_a_key_does(queue, page, alice):
    page.goto(f"/sign-in/{SignInLink.issue(alice)}/")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/projects/shop/compare/")
    chosen = texts(ready(page))["B"]
    page.wait_for_timeout(300)

    answer(page, page.get_by_role("button", name="B is better").click)
    settle(page)

    assert chosen_text(Judgment.objects.get()) == chosen


def test_the_next_comparison_is_on_screen_before_the_server_has_heard_of_the_answer(screen):
    before = key_of(screen)

    after = screen.evaluate(
        """() => {
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
            return document.querySelector("#comparison").dataset.assignment;
        }"""
    )

    assert after not in (None, before)
    settle(screen)
    assert Judgment.objects.get().assignment.key.hex == before.replace("-", "")
    assert Assignment.objects.filter(state=AssignmentState.OPEN).count() == 2  # on screen, and in hand


def test_a_double_click_judges_one_comparison(screen):
    screen.wait_for_timeout(300)

    screen.get_by_role("button", name="A is better").dblclick()
    screen.wait_for_timeout(100)
    settle(screen)

    assert Judgment.objects.count() == 1


def test_undo_brings_the_last_comparison_back_and_the_new_answer_stands(screen):
    shown = texts(screen)
    press(screen, KEYS["A"])
    expect(screen.locator("#toast")).to_contain_text("A is better")
    settle(screen)
    second = key_of(screen)
    press(screen, "u")

    assert texts(screen) == shown
    assert screen.locator(".vote[aria-pressed=true]").inner_text().startswith("A is better")
    press(screen, KEYS["B"])
    assert key_of(screen) == second
    settle(screen)

    assert chosen_text(Judgment.objects.standing().get()) == shown["B"]
    assert Judgment.objects.count() == 3


def test_one_of_the_last_ten_is_changed(screen):
    shown = texts(screen)
    press(screen, KEYS["A"])
    press(screen, KEYS["B"])
    screen.keyboard.press("l")
    dialog = screen.get_by_role("dialog", name="Your last ten judgments")
    expect(dialog.get_by_role("listitem")).to_have_count(2)
    dialog.get_by_role("link", name="Change").last.click()
    screen.wait_for_url("**/change/")

    assert texts(screen) == shown
    assert screen.locator(".vote[aria-pressed=true]").inner_text().startswith("A is better")
    screen.keyboard.press(KEYS["B"])
    screen.wait_for_url("**/compare/")

    changed = Judgment.objects.standing().get(supersedes__isnull=False)
    assert chosen_text(changed) == shown["B"]


def test_a_second_press_of_the_skip_key_skips_and_a_reason_is_one_click_away(screen):
    press(screen, "s", "s")
    screen.keyboard.press("s")
    answer(screen, screen.get_by_role("button", name="Not my language").click)
    settle(screen)

    skipped = Assignment.objects.filter(state=AssignmentState.SKIPPED).order_by("closed_at")
    assert [one.skip_reason for one in skipped] == ["", "language"]
    assert not Judgment.objects.exists()


def test_a_flag_leaves_the_comparison_to_be_judged(screen):
    before = key_of(screen)
    screen.keyboard.press("f")
    dialog = screen.get_by_role("dialog", name="Flag a problem")
    dialog.get_by_label("Broken or cut off").check()
    dialog.get_by_text("B", exact=True).click()
    dialog.get_by_label("Note").fill("ends in the middle")
    dialog.get_by_role("button", name="Flag", exact=True).click()
    expect(screen.locator("#toast")).to_contain_text("Flagged")
    settle(screen)

    found = Flag.objects.get()
    assert (found.kind, found.note) == ("broken", "ends in the middle")
    assert found.response_id == found.assignment.shown[1]
    assert key_of(screen) == before


def test_the_browser_says_when_how_long_and_how_the_rater_looked(screen):
    screen.mouse.move(200, 200)
    press(screen, KEYS["A"])
    press(screen, KEYS["B"])
    settle(screen)

    for judgment in Judgment.objects.all():
        assert judgment.shown_at <= judgment.first_input_at <= judgment.submitted_at
        elapsed = (judgment.submitted_at - judgment.shown_at).total_seconds()
        assert 0 <= judgment.active_ms <= elapsed * 1000 + 50
        assert abs(judgment.shown_at - timezone.now()) < timedelta(minutes=1)
        client = judgment.client
        assert (client["device"], client["input"], client["width"]) == ("desk", "keys", 1440)
        assert client["scrolled"] == [1, 1]
        assert abs(client["offset_ms"]) < 2000


def test_keys_are_silent_with_modifiers_in_dialogs_and_while_typing(screen):
    set_rules(rationale="optional")
    ready(enter_again(screen))
    screen.keyboard.press("Control+ArrowLeft")
    screen.keyboard.press("?")
    expect(screen.get_by_role("dialog", name="Keys")).to_be_visible()
    screen.keyboard.press("ArrowLeft")
    screen.keyboard.press("Escape")
    screen.keyboard.press("r")
    screen.keyboard.type("subs 0123")
    screen.wait_for_timeout(100)

    expect(screen.get_by_label("Why?")).to_have_value("subs 0123")
    assert not waiting(screen)
    assert not Judgment.objects.exists()


def enter_again(page):
    page.reload()
    return page


def test_own_keys_are_printed_and_obeyed(queue, page, alice):
    alice.keys = {"first": "a", "undo": "Backspace"}
    alice.save()
    ready(enter(page, alice))
    chosen = texts(page)["A"]

    expect(page.get_by_role("button", name="A is better")).to_contain_text("A is betterA")
    press(page, "a")
    settle(page)
    press(page, "Backspace")

    assert texts(page)["A"] == chosen


def test_a_key_is_taught_by_pressing_it(page, alice, project):
    enter(page, alice, "/keys/")
    page.get_by_label("The first is better").focus()
    page.keyboard.press("ArrowUp")
    page.get_by_role("button", name="Save keys").click()
    page.wait_for_url("**/compare/")

    alice.refresh_from_db()
    assert alice.keys == {"first": "ArrowUp"}


def test_guidelines_and_raw_text_open_with_a_key_and_stay_open(screen):
    screen.keyboard.press("g")
    expect(screen.get_by_text("Pick what is right")).to_be_visible()
    screen.keyboard.press("x")
    expect(screen.locator(".side.a .raw")).to_be_visible()
    expect(screen.locator(".side.a .prose")).to_be_hidden()

    press(screen, KEYS["A"])

    expect(screen.get_by_text("Pick what is right")).to_be_visible()
    expect(screen.locator(".side.b .raw")).to_be_visible()


def test_without_connection_answers_wait_in_the_browser_and_are_sent_once(screen, problems):
    first = texts(screen)
    screen.context.set_offline(True)
    press(screen, KEYS["A"])
    second = texts(screen)
    expect(screen.locator("#saved")).to_have_text("Offline, 1 waiting")
    screen.keyboard.press(KEYS["B"])  # the one in hand; then there is none
    expect(screen.locator("#saved")).to_have_text("Offline, 2 waiting")
    expect(screen.get_by_role("heading", name="No connection")).to_be_visible()
    assert not Judgment.objects.exists()

    screen.context.set_offline(False)
    expect(screen.locator("#saved")).to_have_text("Saved", timeout=15_000)
    settle(screen)
    problems.clear()

    expect(screen.locator(".side.a .prose")).to_be_visible()
    assert texts(screen) not in (first, second)
    stored = Judgment.objects.order_by("pk")
    assert [chosen_text(one) for one in stored] == [first["A"], second["B"]]
    assert all(one.client["offline"] for one in stored)


def test_an_answer_that_waits_survives_a_reload_and_can_be_taken_back_unsent(screen, problems):
    shown = texts(screen)
    screen.route("**/judge/", lambda route: route.abort("connectionfailed"))
    press(screen, KEYS["A"])
    second = texts(screen)
    screen.keyboard.press(KEYS["A"])
    expect(screen.locator("#saved")).to_have_text("Offline, 2 waiting")
    screen.wait_for_timeout(200)
    screen.keyboard.press("u")
    expect(screen.get_by_role("button", name="A is better")).to_be_enabled()
    assert texts(screen) == second
    assert len(waiting(screen)) == 1

    screen.unroute("**/judge/")
    enter_again(screen)
    settle(screen)
    problems.clear()

    assert chosen_text(Judgment.objects.get()) == shown["A"]
    expect(screen.locator(".side.a .prose")).to_have_text(second["A"])


def test_what_the_server_refuses_is_said_and_not_sent_again(screen, problems):
    other = Assignment.objects.get(key=key_of(screen))
    skip(other, "")

    press(screen, KEYS["A"])
    expect(screen.get_by_role("alert")).to_contain_text("You skipped this comparison")
    problems.clear()

    assert not waiting(screen)
    assert not Judgment.objects.exists()


def test_a_session_that_ended_leads_to_signing_in_and_the_answer_is_sent_then(screen, alice):
    shown = texts(screen)
    screen.context.clear_cookies()
    screen.keyboard.press(KEYS["A"])
    screen.wait_for_url("**/sign-in/?next=%2Fprojects%2Fshop%2Fcompare%2F")

    enter(screen, alice)
    settle(screen)

    assert chosen_text(Judgment.objects.get()) == shown["A"]


def test_without_scripts_the_page_votes_skips_and_undoes_too(queue, open_page, alice):
    page = enter_without_script(open_page, alice)
    shown = texts(page)

    page.get_by_role("button", name="A is better").click()
    assert chosen_text(Judgment.objects.get()) == shown["A"]
    page.get_by_role("button", name="Undo").first.click()
    assert not Judgment.objects.standing().exists()
    assert texts(page) == shown
    page.get_by_role("button", name="Skip").first.click()
    page.get_by_role("button", name="It is broken").click()

    assert Assignment.objects.get(state=AssignmentState.SKIPPED).skip_reason == "broken"
    page.get_by_role("link", name="Guidelines").first.click()
    expect(page.get_by_text("Pick what is right")).to_be_visible()


def enter_without_script(open_page, person):
    page = open_page(java_script_enabled=False, viewport={"width": 1440, "height": 900})
    page.goto(f"/sign-in/{SignInLink.issue(person)}/")
    page.get_by_role("button", name="Sign in").click()
    return page


def test_on_a_phone_a_vote_counts_as_normal_when_both_were_opened(queue, open_page, alice):
    page = ready(enter(open_page(**PHONE), alice))
    expect(page.locator(".side.b")).to_be_hidden()
    expect(page.locator(".unopened:visible")).to_have_count(1)
    page.wait_for_timeout(300)
    answer(page, page.get_by_role("button", name="A is better").tap)

    page.wait_for_timeout(300)
    page.locator(".look").get_by_text("Response B").tap()
    expect(page.locator(".side.b")).to_be_visible()
    expect(page.locator(".side.a")).to_be_hidden()
    page.wait_for_timeout(100)
    answer(page, page.get_by_role("button", name="B is better").tap)
    settle(page)

    assert [one.normal for one in Judgment.objects.order_by("pk")] == [False, True]
    assert Judgment.objects.first().client["input"] == "touch"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_both_sides_are_alike_to_the_pixel_and_nothing_moves(screen):
    boxes = [screen.locator(f".side.{side}").bounding_box() for side in "ab"]

    assert boxes[0]["y"] == boxes[1]["y"]
    assert abs(boxes[0]["width"] - boxes[1]["width"]) <= 1
    assert boxes[0]["height"] == boxes[1]["height"]
    shift = screen.evaluate(
        """() => new Promise((resolve) => {
            let sum = 0;
            new PerformanceObserver((list) => { for (const entry of list.getEntries()) sum += entry.value; })
                .observe({ type: "layout-shift", buffered: true });
            setTimeout(() => resolve(sum), 50);
        })"""
    )
    assert shift == 0


def test_from_key_to_paint_is_measured(screen, record_property):
    times = []
    for _ in range(6):
        settle(screen)
        times.append(
            screen.evaluate(
                """() => new Promise((resolve) => {
                    const start = performance.now();
                    document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
                    requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - start)));
                })"""
            )
        )
    record_property("key_to_paint_ms", json.dumps([round(time, 1) for time in times]))
    print("key to paint, ms:", [round(time, 1) for time in times])

    assert len({judgment.assignment_id for judgment in Judgment.objects.all()}) >= 5
