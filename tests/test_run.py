"""The runner and the browser's fixtures, on which all other tests rely."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import run

LEAVES_TWO_BEHIND = """
import signal
from tests.processes import Processes
processes = Processes()
command = "setsid sleep 1001 & setsid sh -c 'kill -STOP $$' &"
ended = processes.start("sh", "-c", command, farewell=signal.SIGTERM)
assert processes.wait(ended, limit=20) == 0
processes.start("sleep", "1002", farewell=signal.SIGTERM)
print(*processes.end(), sep="\\n")
"""


def test_nothing_outlives_the_runner_and_what_a_test_left_behind_is_named():
    done = subprocess.run(
        [sys.executable, "-c", LEAVES_TWO_BEHIND], capture_output=True, text=True, check=True, timeout=60
    )
    left = dict(line.split(" ", maxsplit=1) for line in done.stdout.splitlines())
    assert sorted(left.values()) == ["sh -c kill -STOP $$", "sleep 1001"]
    assert not any(Path("/proc", pid).exists() for pid in left)


@pytest.mark.parametrize(("ci", "code"), [(True, 1), (False, 0)])
def test_what_is_left_out_fails_where_ci_must_have_it(monkeypatch, capsys, tmp_path, ci, code):
    monkeypatch.setattr(run, "CI", ci)
    rows = [run.Row("sqlite", "passed", "3", {"passed": 2}), run.Row("redis", "left out", "there is none")]
    ended = run.Run(None, [], processes=None, folder=tmp_path, rows=rows, used={"all": {"passed": 2}})
    assert ended.conclude() == code
    assert capsys.readouterr().out.endswith("2 passed, 0 failed, 0 skipped\n")


def test_the_tests_do_not_see_settings_of_the_caller(monkeypatch, tmp_path):
    monkeypatch.setenv("RANKLOOP_LEASE_SECONDS", "1")
    monkeypatch.setenv("DATABASE_URL", "postgresql://localhost/precious")
    environment = run.Run(None, [], processes=None, folder=tmp_path).environment()
    assert environment["PATH"] == os.environ["PATH"]
    assert not {"RANKLOOP_LEASE_SECONDS", "DATABASE_URL"} & set(environment)


@pytest.mark.browser
def test_the_browser_notices_what_the_policy_forbids(page, problems):
    page.goto("/")
    assert not problems
    with page.expect_console_message():
        page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert any("Content Security Policy" in problem for problem in problems)
    problems.clear()


@pytest.mark.browser
def test_the_browser_notices_an_error_of_a_script(page, problems):
    page.goto("/")
    with page.context.expect_event("weberror"):
        page.evaluate("queueMicrotask(() => { throw new Error('broken') })")
    assert any("broken" in problem for problem in problems)
    problems.clear()


def test_a_test_after_the_browsers_has_a_loop_of_its_own():
    assert (
        asyncio.run(asyncio.sleep(0, "ran")) == "ran"
    )  # runs after the tests above where they share a process
