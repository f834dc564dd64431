"""From the file that an admin chooses to what came of it, with the real program."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotate import importing, uploads
from annotate.models import AuditEvent, Comparison, Prompt, Upload
from runs import host, transitions
from runs.models import Run, State
from runs.supervise import carry_out

PAGE = "/projects/shop/imports/"


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    settings.RUNS_DIR = tmp_path / "runs"


@pytest.fixture
def client(signed_in, admin):
    return signed_in(admin)


def row(number: int, *texts: str, **more) -> str:
    return json.dumps({"prompt": f"Question {number}?", "responses": texts or ("a", "b"), **more})


def upload(client, *lines: str, name: str = "my file.jsonl", kind: str = "comparisons"):
    file = SimpleUploadedFile(name, "\n".join(lines).encode())
    return client.post(PAGE, {"kind": kind, "file": file})


def work() -> Run:
    """Carry the next job out."""
    run = transitions.claim(["light"], host.owner(1))
    run.refresh_from_db()
    carry_out(run)
    run.refresh_from_db()
    return run


def choose(client, answer, act: str = "start", **values):
    """Post the form of the preview with these choices."""
    form = client.get(answer.url).context["form"]
    chosen = {field.html_name: field.value() or "" for field in form.column_fields()}
    return client.post(f"{answer.url}{act}/", {**chosen, "bad_lines": "none", **values})


@pytest.mark.django_db(transaction=True)
def test_a_file_is_looked_at_and_then_comes_in(client, project, tmp_path):
    answer = upload(client, row(1, "first text", "second text"), row(2), row(2))
    found = Upload.objects.get()
    stored = tmp_path / found.path
    assert "my file" not in found.path
    assert stored.stat().st_mode & 0o077 == 0
    assert "Waits for a worker" in client.get(answer.url).content.decode()

    assert work().state == State.SUCCEEDED
    page = client.get(answer.url).content.decode()
    assert "first text" in page
    assert "3 rows" in page
    assert not Comparison.objects.exists()

    choose(client, answer)
    run = work()

    assert (run.state, run.step, run.total, run.phase) == (State.SUCCEEDED, 3, 3, "store")
    assert Comparison.objects.count() == 2
    page = client.get(answer.url).content.decode()
    assert "3 rows = 2 new + 1 known already" in page
    event = AuditEvent.objects.get(action="imported")
    assert (event.actor.username, event.detail["new"]) == ("ada", 2)
    assert work().kind == "prompt-twins"
    assert "2 prompts in 1 cluster" in client.get(PAGE).content.decode()
    assert len(set(Prompt.objects.values_list("cluster", "split"))) == 1


@pytest.mark.django_db(transaction=True)
def test_faulty_lines_keep_the_file_out_or_are_left_out_as_chosen(client, project):
    answer = upload(client, row(1), '{"prompt": "=cmd()", "responses": ["a"]}', "{")
    work()
    page = client.get(answer.url).content.decode()
    assert "must hold two to nine texts" in page

    choose(client, answer)
    work()
    assert not Comparison.objects.exists()
    assert "Nothing came in" in client.get(answer.url).content.decode()

    choose(client, answer, bad_lines="skip")
    work()
    assert Comparison.objects.count() == 1
    table = b"".join(client.get(f"{answer.url}errors.csv").streaming_content).decode()
    assert [line.split(",")[0] for line in table.splitlines()] == ['"line"', "2", "3"]


@pytest.mark.django_db(transaction=True)
def test_columns_are_guessed_and_can_be_chosen(client, project):
    lines = ("question,answer_a,answer_b,model", "Why?,x,y,secret-model")
    answer = upload(client, *lines, name="rows.csv")
    work()
    page = client.get(answer.url).content.decode()
    assert "not used: model" in page
    assert "secret-model" not in page

    twice = choose(client, answer, column_3="response_1")
    assert twice.status_code == 400
    assert "Two columns are response_1" in twice.content.decode()

    choose(client, answer, "look", column_1="response_2", column_2="response_1")
    work()
    assert client.get(answer.url).context["preview"]["first"][0]["responses"] == ["y", "x"]
    choose(client, answer)
    work()
    assert Comparison.objects.get().prompt.messages[0]["content"] == "Why?"


@pytest.mark.django_db(transaction=True)
def test_an_import_that_is_cancelled_keeps_what_is_in_and_goes_on_later(client, project, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    answer = upload(client, *[row(number) for number in range(50)])
    work()
    choose(client, answer)
    stored = importing.take_in

    def cancelling(*args, **options):
        for number, step in enumerate(stored(*args, **options)):
            if number == 1:
                transitions.cancel(Run.objects.get(kind="import"), by="ada")
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(importing, "take_in", cancelling)
        assert work().state == State.CANCELLED

    assert Comparison.objects.count() == 20
    assert "Stopped after 20 of 50 rows" in client.get(answer.url).content.decode()
    choose(client, answer)
    assert work().state == State.SUCCEEDED
    assert Comparison.objects.count() == 50
    assert "30 new + 20 known" in client.get(answer.url).content.decode()


@pytest.mark.django_db(transaction=True)
def test_an_import_whose_worker_dies_counts_every_row_once(client, project, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 10)
    answer = upload(client, *[row(number) for number in range(50)])
    work()
    choose(client, answer)
    stored = importing.take_in

    def dying(*args, **options):
        for number, step in enumerate(stored(*args, **options)):
            yield step
            if number == 2:
                raise RuntimeError("the worker is gone")

    with monkeypatch.context() as patch:
        patch.setattr(importing, "take_in", dying)
        assert work().state == State.RETRY_WAIT
    assert Comparison.objects.count() == 30

    Run.objects.filter(state=State.RETRY_WAIT).update(not_before="2020-01-01T00:00:00Z")
    assert work().state == State.SUCCEEDED
    assert "50 rows = 50 new + 0 known" in client.get(answer.url).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_name_taken_by_another_prompt_keeps_the_file_out(client, project):
    answer = upload(client, '{"prompt_id": "q1", "prompt": "Another?"}', kind="prompts")
    work()
    Prompt.objects.create(
        project=project, name="q1", messages=[], cluster="c", split="train", content_hash="x"
    )
    choose(client, answer)
    work()

    assert Prompt.objects.count() == 1
    assert "Nothing came in" in client.get(answer.url).content.decode()
    table = b"".join(client.get(f"{answer.url}errors.csv").streaming_content).decode()
    assert "is taken by another prompt" in table


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("rows.xlsx", b"PK", "must end with .jsonl"),
        ("rows.jsonl", b"", "The file is empty."),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_with_a_reason(client, project, name, content, error):
    answer = client.post(PAGE, {"kind": "prompts", "file": SimpleUploadedFile(name, content)})

    assert answer.status_code == 400
    assert error in answer.content.decode()
    assert not Upload.objects.exists()


def test_a_file_over_the_limit_is_refused_and_not_kept(client, project, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "SIZE_LIMIT", 100_000)

    answer = upload(client, "x" * 200_000)

    assert answer.status_code == 413
    assert "Split it, or pack it" in answer.content.decode()
    assert not Upload.objects.exists()
    assert not (tmp_path / "uploads").exists()


def test_a_post_from_another_site_is_refused(project, admin):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(admin)

    assert upload(client, row(1)).status_code == 403
    assert not Upload.objects.exists()


def test_imports_are_for_admins_of_the_project(client, signed_in, alice, researcher, project):
    made = Upload.objects.create(
        project=project, kind="prompts", name="f", path="uploads/f", size=1, sha256=""
    )
    for path in ("", f"{made.pk}/", f"{made.pk}/errors.csv"):
        assert signed_in(alice).get(PAGE + path).status_code == 403
        assert signed_in(researcher).get(PAGE + path).status_code == 403
    for path in (f"{made.pk}/start/", f"{made.pk}/look/"):
        assert signed_in(alice).post(PAGE + path).status_code == 403
    assert signed_in(alice).post("/projects/shop/prompt-twins/").status_code == 403


def test_an_upload_of_another_project_is_not_found(client, project):
    from annotate.models import Project

    other = Project.objects.create(slug="other", name="Other")
    made = Upload.objects.create(project=other, kind="prompts", name="f", path="uploads/f", size=1, sha256="")

    assert client.get(f"{PAGE}{made.pk}/").status_code == 404


def test_one_search_for_near_duplicates_at_a_time(client, project):
    assert client.post("/projects/shop/prompt-twins/").status_code == 302
    assert client.post("/projects/shop/prompt-twins/").status_code == 409
