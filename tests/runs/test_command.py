"""`manage.py runs`: one clear line, and a non-zero exit where something can't be done."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from runs import transitions
from runs.models import Run, State, Want

pytestmark = pytest.mark.django_db


def said(*words):
    out = StringIO()
    call_command("runs", *map(str, words), stdout=out)
    return out.getvalue()


def test_the_list_has_a_line_for_each_run(start, claimed):
    queued, running = start(priority=-1), claimed({"steps": 9})
    transitions.advance(running, step=4, total=9, phase="")
    transitions.cancel(running, by="alice")
    lines = said("list").splitlines()
    assert lines[0] == f"Run {running.pk}: Counting  running (stops after this step)  step 4 of 9"
    assert lines[1] == f"Run {queued.pk}: Counting  queued  step 0 of 0"
    assert said("list", "--state", "queued").count("\n") == 1
    assert said("list", "--limit", "1").count("\n") == 1


def test_a_run_is_shown_with_its_events_and_error(claimed):
    run = claimed(scope="project:demo")
    transitions.fail(run, code="config", text="first\nsecond")
    text = said("show", run.pk)
    for words in ("project:demo", "started by: alice", "error: config", "    second", "Attempt 1 started"):
        assert words in text


def test_a_run_can_be_cancelled_paused_and_resumed(claimed):
    run = claimed()
    assert "running (pauses after this step)" in said("pause", run.pk)
    transitions.pause(Run.objects.get(pk=run.pk))
    assert "queued" in said("resume", run.pk)
    assert "cancelled" in said("cancel", run.pk)
    run.refresh_from_db()
    assert (run.state, run.want) == (State.CANCELLED, Want.NONE)


@pytest.mark.parametrize("act", ["show", "cancel", "pause", "resume"])
@pytest.mark.parametrize("number", [0, -1, 999, 10**30])
def test_a_run_that_does_not_exist_is_one_clear_line(act, number):
    with pytest.raises(CommandError, match=f"there is no run {number}"):
        said(act, "--", number)


def test_what_is_refused_is_one_clear_line(claimed):
    run = claimed()
    transitions.succeed(run, lambda: None)
    with pytest.raises(CommandError, match=f"run {run.pk} is done; it can't become cancelled"):
        said("cancel", run.pk)


@pytest.mark.parametrize("words", [["show", "x"], ["explode"], [], ["list", "--state", "lost"]])
def test_a_bad_command_line_is_refused(words):
    with pytest.raises(CommandError):
        said(*words)


def test_nothing_in_the_output_can_steer_a_terminal(claimed):
    run = claimed(scope="\x1b[2Jscope\nsecond line")
    transitions.fail(run, code="config", text="\x1b]0;title\x07")
    text = said("show", run.pk)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"\x1b[2Jscope\nsecond line" in text
