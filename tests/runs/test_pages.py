"""What admins see of runs, and what they may ask of them; nobody else sees anything."""

import json
import re

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from runs import access, kinds, transitions
from runs.advice import ADVICE
from runs.models import Run, State, Want, Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(monkeypatch):
    """Signed in; administers the scope project:demo."""
    monkeypatch.setattr(
        access, "_providers", [lambda user: {"project:demo", ""} if user.username == "ada" else None]
    )
    return signed_in("ada")


def signed_in(name):
    client = Client()
    client.force_login(get_user_model().objects.create_user(name))
    return client


@pytest.fixture
def running(claimed):
    """A run with metrics, a log and a checkpoint."""
    run = claimed({"steps": 9}, scope="project:demo")
    path = run.directory.path
    (path / "checkpoints" / "step-00000004").mkdir(parents=True)
    (path / "checkpoints" / "step-00000004" / "weights").write_bytes(b"x" * 2048)
    lines = [
        {
            "step": n,
            "total": 9,
            "at": run.started_at.timestamp() + 60 * n,
            "phase": "train",
            "policy/kl": n / 10,
        }
        for n in range(1, 6)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (path / "log.txt").write_text("10:00:01 step 5/9\n\x1b[31m<script>alert(1)</script>\n")
    transitions.advance(run, step=5, total=9, phase="train")
    transitions.beat(run, checkpoint=4)
    return run


def text(response):
    return response.content.decode()


def squeezed(response):
    return " ".join(re.sub(r"<[^>]*>", " ", text(response)).split())


# Who


def test_only_admins_of_something_see_the_list(ada, running):
    assert ada.get("/runs/").status_code == 200
    assert signed_in("bob").get("/runs/").status_code == 403
    assert Client().get("/runs/").status_code == 302


@pytest.mark.parametrize("path", ["", "metrics.jsonl", "log.txt"])
def test_a_run_of_another_scope_does_not_exist(path, ada, start):
    run = start(scope="project:secret")
    assert ada.get(f"/runs/{run.pk}/{path}").status_code == 404
    assert f"/runs/{run.pk}/" not in text(ada.get("/runs/"))


@pytest.mark.parametrize("act", ["cancel", "pause", "resume"])
def test_nobody_else_can_steer_a_run(act, ada, running):
    assert signed_in("bob").post(f"/runs/{running.pk}/{act}/").status_code == 404
    assert Client().post(f"/runs/{running.pk}/{act}/").status_code == 302
    assert ada.get(f"/runs/{running.pk}/{act}/").status_code == 405
    running.refresh_from_db()
    assert running.want == Want.NONE


# The list


def test_the_list_shows_active_and_ended_runs_and_workers(ada, running, start):
    ended = start(scope="project:demo")
    transitions.cancel(ended, by="ada")
    Worker.objects.create(
        host="trainer-1", pid=1, boot_id="b", queues=["train"], devices=["H100"], memory=2**35
    )
    Worker.objects.create(
        host="trainer-2", pid=1, boot_id="b", queues=["train"], seen_at="2020-01-01T00:00:00Z"
    )
    seen = squeezed(ada.get("/runs/"))
    assert f"Run {running.pk}: Counting Running project:demo" in seen
    assert "Step 5 of 9" in seen
    assert "4 min left" in seen
    assert f"Run {ended.pk}: Counting project:demo Cancelled" in seen
    assert "trainer-1 (train) Up H100, 32.0 GB" in seen
    assert "trainer-2 (train) Silent" in seen


def test_the_list_says_when_nothing_happens(ada):
    seen = squeezed(ada.get("/runs/"))
    assert "Nothing runs and nothing waits." in seen
    assert "No worker has reported yet." in seen


def test_a_long_list_has_pages(ada, start):
    for _ in range(51):
        transitions.cancel(start(scope=""), by="ada")
    assert "Page 1 of 2" in squeezed(ada.get("/runs/"))
    assert "Page 2 of 2" in squeezed(ada.get("/runs/?page=2"))
    assert "Page 1 of 2" in squeezed(ada.get("/runs/?page=nonsense"))


# One run


def test_a_run_shows_all_that_is_known_of_it(ada, running):
    seen = squeezed(ada.get(f"/runs/{running.pk}/"))
    assert f"Run {running.pk}: Counting project:demo, started by alice" in seen
    assert "Running Step 5 of 9" in seen
    assert "4 min left" in seen
    assert "Train 4 min" in seen
    assert "Policy: KL 0.5 +0.4 since the start" in seen
    assert "Checkpoint step 4 2.0 KB" in seen
    assert "Queued by alice" in seen
    assert "Attempt 1 started on" in seen
    assert "Steps 9" in seen
    assert "Fail once no" in seen
    assert "10:00:01 step 5/9" in seen


def test_what_a_program_printed_is_shown_as_text(ada, running):
    page = text(ada.get(f"/runs/{running.pk}/"))
    assert "<script>alert" not in page
    assert "\x1b" not in page


def test_a_chart_is_svg_without_styles(ada, running):
    page = text(ada.get(f"/runs/{running.pk}/"))
    (chart,) = re.findall(r"<svg class=\"chart\".*?</svg>", page, re.DOTALL)
    assert 'aria-label="Policy: KL: now 0.5"' in chart
    assert re.search(r'<path class="c-model" d="M[\d. ]+(L[\d. ]+){4}"/>', chart)
    assert "style=" not in page
    assert "<script>" not in page


def test_htmx_gets_the_part_and_asks_again_until_the_end(ada, running):
    part = text(ada.get(f"/runs/{running.pk}/", headers={"HX-Request": "true"}))
    assert part.startswith('<div id="run"')
    assert 'hx-trigger="every 2s"' in part
    assert "<html" not in part
    transitions.cancel(running, by="ada")
    transitions.stop(running)
    ended = ada.get(f"/runs/{running.pk}/", headers={"HX-Request": "true"})
    assert "hx-trigger" not in text(ended)
    assert "HX-Request" in ended["Vary"]
    assert "no-cache" in ended["Cache-Control"]


@pytest.mark.parametrize("code", ADVICE)
def test_each_error_says_what_to_do(code, ada, claimed):
    run = claimed(scope="project:demo")
    transitions.fail(run, code=code, text="the last words")
    page = ada.get(f"/runs/{run.pk}/")
    assert ADVICE[code][1].split(";")[0] in text(page).replace("&#x27;", "'")
    assert "the last words" in text(page)


def test_every_error_code_has_its_advice():
    from runs import supervise

    codes = {*supervise.FAILURES.values(), *supervise.PAUSES.values()}
    codes |= {"stalled", "max_runtime", "database", "killed", "out_of_memory", "try_again", "no_result"}
    codes |= {"crashed", "error", "crash_loop", "attempts_spent"}
    assert codes == set(ADVICE)


def test_a_page_costs_the_same_however_long_the_history(ada, running, django_assert_max_num_queries):
    for seq in range(3, 200):
        running.events.create(seq=seq, token=1, from_state="running", to_state="running", reason="asked")
    with django_assert_max_num_queries(12):
        ada.get(f"/runs/{running.pk}/")


# Steering


def test_each_button_does_what_it_says(ada, running):
    page = f"/runs/{running.pk}/"
    assert {"pause", "cancel"} == set(
        re.findall(r'<button class="button[^>]* id="(\w+)"', text(ada.get(page)))
    )
    answer = ada.post(f"{page}pause/")
    assert (answer.status_code, answer["Location"]) == (302, page)
    running.refresh_from_db()
    assert running.want == Want.PAUSE
    assert "Pauses after this step" in text(ada.get(page))
    transitions.pause(running)
    assert {"resume", "cancel"} == set(
        re.findall(r'<button class="button[^>]* id="(\w+)"', text(ada.get(page)))
    )
    ada.post(f"{page}resume/")
    ada.post(f"{page}cancel/")
    running.refresh_from_db()
    assert running.state == State.CANCELLED
    assert running.events.last().reason == "Cancelled by ada"


def test_cancelling_a_finished_run_is_refused_with_409(ada, running):
    transitions.succeed(running, lambda: None)
    answer = ada.post(f"/runs/{running.pk}/cancel/")
    assert answer.status_code == 409
    assert f"Run {running.pk} is done; it can&#x27;t become cancelled. Nothing was changed." in text(answer)


def test_a_post_without_its_token_is_refused(ada, running):
    client = Client(enforce_csrf_checks=True)
    client.force_login(get_user_model().objects.get(username="ada"))
    assert client.post(f"/runs/{running.pk}/cancel/").status_code == 403


# Files


def test_metrics_and_log_can_be_downloaded(ada, running):
    metrics = ada.get(f"/runs/{running.pk}/metrics.jsonl")
    assert b"".join(metrics).count(b"\n") == 5
    assert metrics["Content-Type"] == "application/x-ndjson"
    assert metrics["Content-Disposition"] == f'attachment; filename="run-{running.pk}-metrics.jsonl"'
    log = ada.get(f"/runs/{running.pk}/log.txt")
    assert b"".join(log).startswith(b"10:00:01")
    assert log["Content-Disposition"].startswith("attachment")


def test_a_run_that_has_not_begun_has_no_files_but_a_page(ada, start):
    run = start(scope="project:demo")
    assert ada.get(f"/runs/{run.pk}/log.txt").status_code == 404
    assert "Queued" in text(ada.get(f"/runs/{run.pk}/"))


def test_a_run_of_a_kind_that_is_gone_is_still_shown(ada, start):
    run = start(scope="project:demo")
    Run.objects.filter(pk=run.pk).update(kind="former")
    assert f"Run {run.pk}: former" in text(ada.get(f"/runs/{run.pk}/"))


def test_a_run_that_is_done_leads_to_what_came_of_it(ada, claimed, monkeypatch):
    run = claimed()
    monkeypatch.setattr(type(kinds.get("toy")), "page", lambda self, run: f"/results/{run.pk}/")
    assert "Open the result" not in ada.get(f"/runs/{run.pk}/").content.decode()
    transitions.succeed(run, lambda: None)
    assert f'href="/results/{run.pk}/"' in ada.get(f"/runs/{run.pk}/").content.decode()
