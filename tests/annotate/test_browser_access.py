"""Who uses the rater's screen: with a screen reader, with little sight, in the dark, from right to left, on a slow line."""

import gzip

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from annotate.models import Judgment, Membership, RaterAction, Response
from tests.annotate.rater_screen import enter, press, ready, set_rules, settle, texts

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

RULES = {
    "choice": {"content_warning": "Descriptions of injuries"},
    "strength": {
        "scheme": "strength",
        "rationale": "always",
        "criteria": ["Right"],
        "labels": ["untrue"],
        "confidence": True,
    },
    "ranking": {"scheme": "ranking", "criteria": ["Right"]},
    "scores": {"scheme": "scores", "labels": ["untrue"]},
}
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
MARKDOWN = """A table and code:

| Amount | Loaves |
|---|---|
| 458 g | 24 |

```python
def loaves(n):  # flour
    return n * 458, "g"
```
"""


def faults(page) -> list[str]:
    """What axe finds against WCAG 2.2 AA, with the elements."""
    found = Axe().run(
        page, options={"runOnly": {"type": "tag", "values": WCAG}, "resultTypes": ["violations"]}
    )
    return [
        f"{violation['id']}: {node['target']} {node['failureSummary']}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", RULES)
def test_every_scheme_keeps_to_wcag_in_light_and_dark_wide_and_small(
    project, new_comparison, page, alice, scheme
):
    set_rules(**RULES[scheme])
    several = ("good", MARKDOWN, "fair", "poor") if scheme == "ranking" else ("good", MARKDOWN)
    new_comparison(1, texts=several)
    enter(page, alice)
    ready(page)
    if scheme == "ranking":
        page.keyboard.press("2")

    for size in (WIDE, PHONE):
        page.set_viewport_size(size)
        for colours in ("light", "dark"):
            page.emulate_media(color_scheme=colours, reduced_motion="reduce")
            assert faults(page) == [], f"{scheme}, {size['width']}, {colours}"
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]


def test_dialogs_and_the_pages_beside_keep_to_wcag(project, new_comparison, page, alice):
    set_rules()
    for number in range(1, 4):
        new_comparison(number)
    membership = Membership.objects.get(user=alice)
    RaterAction.objects.create(membership=membership, kind="message", text="Thank you for yesterday.")
    page.emulate_media(reduced_motion="reduce")
    enter(page, alice)
    ready(page)
    expect(page.get_by_text("Thank you for yesterday.")).to_be_visible()
    press(page, "ArrowLeft")
    settle(page)

    for key in ("?", "s", "f", "l", "g"):
        page.keyboard.press(key)
        if key != "g":
            expect(page.get_by_role("dialog")).to_be_visible()
        assert faults(page) == [], key
        page.keyboard.press("Escape")
    for address in ("projects/shop/record", "projects/shop/recent", "keys"):
        page.goto(f"/{address}/")
        assert faults(page) == [], address
    Membership.objects.update(paused_at=membership.joined_at, pause_reason="Let us talk first.")
    page.goto("/projects/shop/compare/")
    expect(page.get_by_text("Let us talk first.")).to_be_visible()
    assert faults(page) == []


def test_a_message_is_read_once(project, new_comparison, page, alice):
    new_comparison(1)
    RaterAction.objects.create(membership=alice.memberships.get(), kind="message", text="Welcome.")
    enter(page, alice)
    with page.expect_response("**/seen/"):
        page.get_by_role("button", name="Got it").click()
    expect(page.get_by_text("Welcome.")).to_have_count(0)

    assert RaterAction.objects.get().seen_at is not None


def test_a_screen_reader_hears_the_new_comparison_and_that_the_last_is_saved(
    project, new_comparison, page, alice
):
    set_rules()
    for number in range(1, 4):
        new_comparison(number)
    enter(page, alice)
    ready(page)
    press(page, "ArrowLeft")

    expect(page.locator("#announcement")).to_have_text("Comparison 2 of 40")
    expect(page.locator("#saved[role=status]")).to_have_text("Saved")
    expect(page.locator("#main")).to_be_focused()
    names = [heading.inner_text() for heading in page.get_by_role("heading", level=2).all()]
    assert names[:2] == ["Response A", "Response B"]


def test_from_right_to_left_the_first_response_is_on_the_right_and_so_is_its_key(
    project, new_comparison, page, alice
):
    set_rules()
    arabic = ("البحر مالح لأن الأنهار تحمل إليه الملح من الصخور.", "لا أعرف.")
    for number in range(1, 3):
        new_comparison(number, texts=arabic)
    enter(page, alice)
    ready(page)
    assert page.locator(".side.a .prose").evaluate("side => getComputedStyle(side).direction") == "rtl"
    page.evaluate("document.documentElement.dir = 'rtl'")
    first, second = (page.locator(f".side.{side}").bounding_box() for side in "ab")
    shown = texts(page)
    assert first["x"] > second["x"]
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]

    press(page, "ArrowRight")
    settle(page)

    assert Response.objects.get(pk=Judgment.objects.get().order[0][0]).text == shown["A"]


def test_a_cold_page_is_light(project, new_comparison, page, alice):
    set_rules()
    new_comparison(1, texts=("good " * 400, "poor " * 400))
    enter(page, alice)
    cold, fetched = page.context.new_page(), []
    cold.on("response", lambda response: fetched.append(response))  # noqa: PLW0108, Playwright wants its own
    cold.context.new_cdp_session(cold).send("Network.clearBrowserCache")
    cold.goto(page.url)
    ready(cold)

    sizes = {
        response.url: len(gzip.compress(response.body())) for response in fetched if response.status == 200
    }
    print({url.rsplit("/", 1)[-1] or "page": size for url, size in sizes.items()})
    assert sum(sizes.values()) <= 60 * 1024, sizes
    assert len(fetched) <= 8, [response.url for response in fetched]
