import asyncio
import os
import re
import sys
import time
from itertools import islice
from pathlib import Path

import pytest

from config.supervisor import Log, Program, RefusalError, Supervisor, back_off
from tests.up import until


@pytest.fixture
def supervisor(tmp_path, capsys):
    return Supervisor(Log(tmp_path / "rankloop.log"), tmp_path)


def python(code, name="child"):
    return Program(name=name, command=(sys.executable, "-u", "-c", code), environment=dict(os.environ))


def shell(code, name="child"):
    return Program(name=name, command=("sh", "-c", code), environment=dict(os.environ))


def is_gone(pid):
    """Whether a process has ended, be it that nobody has asked for its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_each_line_carries_the_name_of_the_process_that_said_it(supervisor, capsys):
    assert asyncio.run(supervisor.run(shell("echo one; echo two >&2", name="light"))) == 0
    assert capsys.readouterr().out.splitlines() == ["light  | one", "light  | two"]
    assert supervisor.log.file.read_text() == "light  | one\nlight  | two\n"


def test_the_log_keeps_no_password_no_link_and_nothing_that_steers_a_terminal(supervisor):
    token = "x" * 43
    said = rf"http://h/sign-in/{token}/ postgresql://me:secret@db/x \033[31mred"
    asyncio.run(supervisor.run(shell(f"printf '{said}\n'")))
    kept = supervisor.log.file.read_text()
    assert token not in kept
    assert "secret" not in kept
    assert "\033" not in kept


def test_the_log_is_closed_to_others_and_rotated(tmp_path, monkeypatch):
    before = os.umask(0o077)
    monkeypatch.setattr("config.supervisor.LOG_BYTES", 1000)
    log = Log(tmp_path / "rankloop.log")
    for number in range(1000):
        log.line("web", f"line {number}")
    os.umask(before)
    assert log.file.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 4
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4000


def test_a_very_long_line_is_cut(supervisor):
    asyncio.run(supervisor.run(python("print('x' * 3_000_000); print('after', end='')")))
    cut, after = supervisor.log.file.read_text().splitlines()
    assert len(cut) < 11_000
    assert after == "child  | after"


def test_pauses_double_up_to_a_minute():
    assert list(islice(back_off(1), 8)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_a_process_that_ends_is_started_again(supervisor):
    starts = supervisor.directory / "starts"

    async def until_third_start():
        keeping = asyncio.create_task(supervisor.keep(shell(f"echo x >> {starts}; exit 3")))
        while not starts.exists() or len(starts.read_text()) < 6:
            await asyncio.sleep(0.05)
        await supervisor.end()
        keeping.cancel()

    began = time.monotonic()
    asyncio.run(asyncio.wait_for(until_third_start(), 20))
    assert time.monotonic() - began >= 3  # pauses of 1 and 2 seconds
    assert "child ended, with code 3; it starts again in 2 s" in supervisor.log.file.read_text()


@pytest.mark.parametrize("refusal", ["exit 78", "echo 'rankloop does not start: no secret'; exit 1"])
def test_a_process_that_refuses_its_configuration_is_not_started_again(supervisor, refusal):
    with pytest.raises(RefusalError, match="child"):
        asyncio.run(supervisor.keep(shell(refusal)))


def test_what_a_process_leaves_behind_is_ended_with_it(supervisor):
    async def run():
        return await supervisor.run(shell("sleep 300 & echo $!"))

    asyncio.run(asyncio.wait_for(run(), 10))
    left = re.search(r"\d+", supervisor.log.file.read_text())[0]
    until(lambda: is_gone(int(left)), "what was killed is gone", limit=10)


def test_a_descendant_that_holds_the_output_open_does_not_hide_an_end(supervisor):
    began = time.monotonic()
    assert asyncio.run(supervisor.run(shell("setsid sleep 4 & exit 4"))) == 4
    assert time.monotonic() - began < 3


def test_a_process_that_ignores_sigterm_is_killed_by_the_second_signal(supervisor):
    async def two_signals():
        running = asyncio.create_task(
            supervisor.run(shell("trap '' TERM; echo up; while :; do sleep 1; done"))
        )
        while "up" not in supervisor.log.file.read_text():
            await asyncio.sleep(0.05)
        supervisor.interrupt()
        ending = asyncio.create_task(supervisor.end())
        await asyncio.wait({ending}, timeout=0.5)
        assert not ending.done()
        supervisor.interrupt()
        await ending
        return await running

    began = time.monotonic()
    assert asyncio.run(two_signals()) == -9
    assert time.monotonic() - began < 5


def test_nothing_is_started_once_all_are_to_end(supervisor):
    async def run():
        await supervisor.end()
        await supervisor.run(shell("echo started"))

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    assert "started" not in supervisor.log.file.read_text()
