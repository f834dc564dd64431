"""What browser tests do at the rater's screen: come in, read what stands there, answer."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.test import Client
from playwright.sync_api import Page

from annotate.models import Project, User


def enter(page: Page, person: User, path: str = "/projects/shop/compare/") -> Page:
    """Come in as a person who has signed in already."""
    client = Client()
    client.force_login(person)
    page.goto("/sign-in/")
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    page.context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": page.evaluate("origin")}]
    )
    page.goto(path)
    return page


def set_rules(**rules: Any) -> None:
    """What the project asks its raters."""
    Project.objects.update(settings={"gold_share": 0, "repeat_share": 0, **rules})


def texts(page: Page) -> dict[str, str]:
    """The responses on screen by their letters."""
    sides = page.locator(".side").all()
    return {
        side.locator(".letter").inner_text(): side.locator(".prose").inner_text().strip() for side in sides
    }


def key_of(page: Page) -> str | None:
    """The assignment on screen; none where there is no comparison."""
    form = page.locator("#comparison")
    return form.get_attribute("data-assignment") if form.count() else None


def answer(page: Page, give: Callable[[], object]) -> None:
    """Give an answer and wait for another comparison, or for the end."""
    before = key_of(page)
    give()
    page.wait_for_function(
        "before => document.querySelector('#comparison')?.dataset.assignment !== before", arg=before
    )


def press(page: Page, *keys: str) -> None:
    """Press keys, the last of which answers."""
    for key in keys[:-1]:
        page.keyboard.press(key)
    answer(page, lambda: page.keyboard.press(keys[-1]))


def ready(page: Page) -> Page:
    """Wait until the comparison after the one on screen is in hand, or known not to be there."""
    page.wait_for_function(
        """() => performance.getEntriesByType("resource")
            .some(({ name, responseEnd }) => name.includes("/next/") && responseEnd)"""
    )
    return page


def settle(page: Page) -> None:
    """Wait until nothing is left to be sent, and what the server answered is in hand."""
    page.wait_for_function(
        """() => !Object.keys(localStorage).some((name) => name.includes("/outbox/")) && (
            !document.querySelector("#comparison") ||
            ["Saved", ""].includes(document.querySelector("#saved").textContent.trim())
        )"""
    )


def waiting(page: Page) -> list[dict[str, Any]]:
    """What stands in the outbox."""
    stored = page.evaluate(
        "Object.entries(localStorage).filter(([name]) => name.includes('/outbox/')).map(([, text]) => text)"
    )
    return [json.loads(text) for text in stored]
