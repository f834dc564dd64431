"""`make up` as people start it: real processes, on a data directory and a port of their own."""

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from tests.up import Up, free_port, until

pytestmark = pytest.mark.workers


@pytest.fixture
def start(tmp_path):
    started = []

    def start_(*arguments, data=tmp_path / "data", **environment):
        started.append(Up(data, *arguments, **environment))
        return started[-1]

    yield start_
    for up in started:
        if up.process.poll() is None:
            up.process.kill()  # what it had started goes with it, as the kernel was asked
            up.process.wait()


def test_the_links_that_are_printed_sign_in_each_person_once(start):
    up = start().wait_for_banner()
    links = dict(re.findall(rf"(\w+) +({up.url}/sign-in/\S+)", up.out.read_text()))
    assert set(links) == {"rater", "admin", "researcher"}
    for link in links.values():
        with httpx.Client(follow_redirects=True, trust_env=False) as browser:
            token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.get(link).text)[1]
            page = browser.post(link, data={"csrfmiddlewaretoken": token})
        assert page.status_code == 200
        assert "/sign-in/" not in str(page.url)
        assert httpx.get(link, trust_env=False).status_code >= 400


def test_the_data_directory_is_closed_and_its_log_holds_no_link(start):
    up = start().wait_for_workers()
    assert up.data.stat().st_mode & 0o777 == 0o700
    for file in set(up.data.rglob("*")) - set((up.data / "static").rglob("*")):  # those are for everybody
        assert file.stat().st_mode & 0o077 == 0, file
    assert len((up.data / "secret_key").read_text()) > 64
    assert "/sign-in/" not in (up.data / "rankloop.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything(start, number):
    up = start().wait_for_workers()
    up.process.send_signal(number)
    assert up.ended() == 0
    assert up.processes() == {}


def test_the_second_start_shows_a_page_within_six_seconds(start):
    up = start().wait_for_banner()
    key = (up.data / "secret_key").read_text()
    up.process.send_signal(signal.SIGINT)
    up.ended()
    began = time.monotonic()
    up = start().wait_for_banner()
    assert up.get("/sign-in/").status_code == 200
    assert time.monotonic() - began < 6
    assert (up.data / "secret_key").read_text() == key
    assert not up.said("migrating")
    assert not up.said("collecting")


@pytest.mark.parametrize("word", ["granian", "light@"])
def test_a_killed_child_comes_back(start, word):
    up = start().wait_for_workers()
    (killed,) = up.children(word)
    family = set(up.processes())
    os.kill(killed, signal.SIGKILL)
    until(lambda: up.children(word) not in ([], [killed]), "a new child")
    assert up.said("killed by SIGKILL; it starts again in 1 s")
    until(lambda: killed not in up.processes(), "the old one is gone")
    if word == "granian":
        until(lambda: answers(up), "the pages answer again")
        assert len(family & set(up.processes())) < len(family) - 1, "its own children went with it"
    else:
        until(lambda: len(up.workers()) == 3, "the new worker signs in")


def test_a_killed_web_process_is_replaced_while_the_other_answers(start):
    up = start().wait_for_workers()
    (server,) = up.children("granian")
    pids = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    os.kill(int(pids[0]), signal.SIGKILL)

    def replaced():
        now = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        return len(now) == 2 and pids[0] not in now

    until(replaced, "a new web process")
    until(lambda: answers(up), "the pages answer")
    assert up.children("granian") == [server]


def test_killing_the_supervisor_leaves_nothing_behind(start):
    up = start(DJANGO_SETTINGS_MODULE="tests.settings").wait_for_workers()
    start_counting(up, steps=100_000)
    up.process.kill()
    up.process.wait()
    until(lambda: up.processes() == {}, "all are gone", limit=5)


def test_a_second_ctrl_c_kills_what_takes_its_time(start):
    up = start(DJANGO_SETTINGS_MODULE="tests.settings").wait_for_workers()
    start_counting(up, steps=100_000, ignore_sigterm=True)
    up.process.send_signal(signal.SIGINT)
    up.wait_for("ending")
    with pytest.raises(subprocess.TimeoutExpired):
        up.ended(limit=3)
    up.process.send_signal(signal.SIGINT)
    assert up.ended(limit=5) == 0
    until(lambda: up.processes() == {}, "all are gone", limit=5)


def test_ctrl_c_hands_a_run_over_and_the_next_start_goes_on_with_it(start):
    up = start(DJANGO_SETTINGS_MODULE="tests.settings").wait_for_workers()
    start_counting(up, steps=200, seconds=0.05)
    up.process.send_signal(signal.SIGINT)
    assert up.ended() == 0
    ((_, state, step),) = toys(up)
    assert state == "queued"
    assert step > 0
    up = start(DJANGO_SETTINGS_MODULE="tests.settings").wait_for_banner()
    until(lambda: toys(up)[0][1] == "succeeded", "the run succeeds")
    steps = re.findall(r'"step": (\d+)', (directory(up) / "metrics.jsonl").read_text())
    assert [int(step) for step in steps] == list(range(1, 201))


def test_a_second_up_on_the_same_data_is_refused_in_one_line(start):
    first = start().wait_for_banner()
    second = start()
    assert second.ended() == 78
    (line,) = second.out.read_text().splitlines()
    assert line.startswith("rankloop does not start: it runs already on")
    assert str(first.process.pid) in line
    assert answers(first)


def test_a_taken_port_is_named_with_what_to_set(start):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = start(RANKLOOP_URL=f"http://127.0.0.1:{port}")
        assert up.ended() == 78
    (line,) = up.out.read_text().splitlines()
    assert f"port {port} on 127.0.0.1" in line
    assert f"RANKLOOP_URL=http://127.0.0.1:{port + 1}" in line


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("http://0.0.0.0:8000", []),
        ("http://rankloop.example.org", []),
        ("http://127.0.0.1:8000", ["--bind", "0.0.0.0:8000"]),
    ],
)
def test_an_open_address_without_https_is_refused(start, url, arguments):
    up = start(*arguments, RANKLOOP_URL=url)
    assert up.ended() == 78
    (line,) = up.out.read_text().splitlines()
    assert url in line
    assert "https" in line


def test_behind_https_the_pages_listen_where_bind_says(start):
    port = free_port()
    up = start("--bind", f"127.0.0.1:{port}", RANKLOOP_URL="https://rankloop.example.org").wait_for_banner()
    assert up.said("https://rankloop.example.org/sign-in/")
    answer = httpx.get(
        f"http://127.0.0.1:{port}/health", headers={"Host": "rankloop.example.org"}, trust_env=False
    )
    assert answer.status_code == 200


def test_a_wrong_setting_ends_up_in_one_line(start):
    up = start(RANKLOOP_DEBUGG="true")
    assert up.ended() == 78
    assert up.out.read_text().splitlines() == [
        "rankloop does not start: unknown setting RANKLOOP_DEBUGG; is RANKLOOP_DEBUG meant?"
    ]


def test_a_database_ahead_of_the_code_ends_the_start(start):
    up = start().wait_for_banner()
    up.process.send_signal(signal.SIGINT)
    up.ended()
    with contextlib.closing(sqlite3.connect(up.data / "rankloop.sqlite3")) as database, database:
        database.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('runs', '9999_later', '2030-01-01')"
        )
    up = start()
    assert up.ended() == 78
    assert up.said("rankloop does not start: the database is ahead of the code (runs.9999_later)")


def test_a_database_that_is_away_ends_the_start_with_another_code_than_a_wrong_setting(start):
    up = start(DATABASE_URL="postgresql://rankloop@127.0.0.1:1/rankloop")
    assert up.ended() == 1
    assert up.said("the database can't be opened: connection failed")


def answers(up):
    try:
        return up.get("/health").status_code == 200
    except httpx.TransportError:
        return False


def start_counting(up, **config):
    """Start a run of the tests' toy and wait until it counts."""
    up.manage("shell", "-c", f"from runs.models import Run; Run.objects.start('toy', config={config})")
    metrics = directory(up) / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.read_text(), f"the run counts; see {up.out}")


def toys(up):
    """The runs but for the demo's own samples of the base."""
    with contextlib.closing(sqlite3.connect(up.data / "rankloop.sqlite3")) as database:
        return database.execute("SELECT id, state, step FROM runs_run WHERE kind = 'toy'").fetchall()


def directory(up):
    ((pk, _, _),) = toys(up)
    return up.data / "runs" / str(pk)
