"""What every test can ask for: which parts are here, and a real browser that forgives nothing."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.core.cache import cache
from django.test import TransactionTestCase
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright

from tests.services import chromium

DATABASE_FIXTURES = {"db", "transactional_db", "live_server", "django_db_reset_sequences"}
PARTS = ("browser", "redis", "workers")
SCREENSHOTS = Path("build/screenshots")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # root has no sandbox, and the pages are ours
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
failed = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what `tests.run` says to pytest."""
    parser.addoption("--verify", action="store_true", help="also run the long tests marked verify")
    parser.addoption("--database-only", action="store_true", help="run only what touches the database")
    parser.addoption("--report", type=Path, help="file for counts as JSON")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what this pass is not about."""
    wanted, unwanted = [], []
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
        (wanted if _belongs(item, config) else unwanted).append(item)
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
    items[:] = wanted


def _belongs(item: pytest.Item, config: pytest.Config) -> bool:
    if item.get_closest_marker("verify") and not config.getoption("verify"):
        return False
    return not config.getoption("database_only") or (
        touches_database(item) and not item.get_closest_marker("browser")
    )


def touches_database(item: pytest.Item) -> bool:
    """Whether a test can tell one database from another."""
    return (
        item.get_closest_marker("django_db") is not None
        or not DATABASE_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or issubclass(getattr(item, "cls", None) or object, TransactionTestCase)
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, saying why, what needs a part that is not here; where CI must have it, fail."""
    missing = ""
    if item.get_closest_marker("redis") and not os.environ.get("REDIS_URL"):
        missing = "no Redis: REDIS_URL is not set; `make test` starts one where redis-server is installed"
    elif item.get_closest_marker("browser"):
        missing = chromium().missing
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    elif missing:
        pytest.skip(missing)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Remember a failure until the fixtures end, so that the browser's leaves a picture."""
    report = yield
    item.stash[failed] = item.stash.get(failed, False) or report.failed
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write how many tests passed, failed and were skipped, in all and for each part."""
    if not (file := config.getoption("report")):
        return
    results = {"passed": "passed", "failed": "failed", "error": "failed", "skipped": "skipped"}
    counts = {name: Counter() for name in ("all", *PARTS)}
    for outcome, result in results.items():
        for report in terminalreporter.stats.get(outcome, []):
            for name in ("all", *PARTS):
                counts[name][result] += name == "all" or name in getattr(report, "keywords", {})
    file.write_text(json.dumps(counts), encoding="utf-8")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium without a window."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # Playwright's loop runs in the tests' thread
        yield playwright.chromium.launch(executable_path=chromium().address, args=CHROMIUM_FLAGS)


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """What a process keeps for some seconds is of another test's rows."""
    cache.clear()


@pytest.fixture(autouse=True)
def no_loop_of_another_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hide the loop that Playwright leaves running, so that tests after a browser's have their own."""
    loop = None if "browser" in request.fixturenames else asyncio._get_running_loop()
    if loop:
        asyncio._set_running_loop(None)
    yield
    if loop:
        asyncio._set_running_loop(loop)


@pytest.fixture
def problems() -> list[str]:
    """What went wrong in the browser so far; a test that provokes something clears it."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, live_server: object, problems: list[str], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Open a page as a person of one's own: other cookies, maybe another window size or scheme."""
    pages: list[Page] = []

    def open_(**options: object) -> Page:
        context = browser.new_context(base_url=live_server.url, **options)
        _watch(context, live_server.url, problems)
        pages.append(context.new_page())
        return pages[-1]

    yield open_
    if request.node.stash.get(failed, False) or problems:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        name = re.sub(r"\W+", "-", request.node.nodeid.removeprefix("tests/"))
        for number, page in enumerate(pages, start=1):
            page.screenshot(path=SCREENSHOTS / f"{name}-{number}.png", full_page=True)
    for page in pages:
        page.context.close()
    if problems:
        pytest.fail("the browser complained:\n" + "\n".join(problems), pytrace=False)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """One person's page, 1440 wide, in the light scheme."""
    return open_page(viewport={"width": 1440, "height": 900}, color_scheme="light")


def _watch(context: BrowserContext, origin: str, problems: list[str]) -> None:
    def spoke(message: ConsoleMessage) -> None:  # here Chromium also reports what the CSP forbade
        if message.type == "error":
            problems.append(f"console: {message.text} ({message.location.get('url', '')})")

    def asked(request: Request) -> None:
        if not request.url.startswith((f"{origin}/", "data:", "blob:")):
            problems.append(f"asked another host: {request.url}")

    def broke(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left, or the answer was a download
            problems.append(f"request failed: {request.url} {request.failure}")

    context.on("console", spoke)
    context.on("weberror", lambda found: problems.append(f"script: {found.error}"))
    context.on("request", asked)
    context.on("requestfailed", broke)
