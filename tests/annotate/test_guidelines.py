from uuid import uuid4

import pytest

from annotate import guideline_versions
from annotate.assignment import next_for
from annotate.judging import Answer, judge
from annotate.models import AuditEvent, Guideline


@pytest.fixture
def client(admin, signed_in):
    return signed_in(admin)


def test_a_new_version_is_shown_from_the_next_comparison_on_and_each_counts_its_judgments(
    client, project, alice, new_comparison
):
    def judge_one(number):
        new_comparison(number)
        judge(next_for(alice, project), Answer(client_key=uuid4(), positions=[[1], [2]]))

    judge_one(1)
    form = {"text": "Pick what is **kind**.", "after": 1}
    assert client.post("/projects/shop/guidelines/new/", form).url == "/projects/shop/guidelines/"
    judge_one(2)
    judge_one(3)

    counts = [(guideline.version, count) for guideline, count in guideline_versions.versions(project)]
    assert counts == [(2, 2), (1, 1)]
    html = client.get("/projects/shop/guidelines/").content.decode()
    assert "<strong>kind</strong>" in html
    assert AuditEvent.objects.get(action="guideline-written").detail == {"version": 2}


def test_a_preview_stores_nothing(client, project):
    form = {"text": "Pick what is **kind**.<script>x</script>", "after": 1, "preview": "1"}

    html = client.post("/projects/shop/guidelines/new/", form).content.decode()

    assert "<strong>kind</strong>" in html
    assert "<script>x" not in html
    assert project.guidelines.count() == 1


def test_an_unchanged_text_makes_no_version(client, project):
    Guideline.objects.update(text="Same.\n")

    client.post("/projects/shop/guidelines/new/", {"text": "Same.\r\n\r\n", "after": 1})

    assert project.guidelines.count() == 1


def test_the_second_of_two_writers_is_told_and_keeps_their_text(client, project):
    client.post("/projects/shop/guidelines/new/", {"text": "First.", "after": 1})

    late = client.post("/projects/shop/guidelines/new/", {"text": "Second.", "after": 1})

    assert late.status_code == 409
    assert "Version 2 was written meanwhile" in late.content.decode()
    assert "Second." in late.content.decode()
    assert project.guideline.text == "First.\n"


@pytest.mark.parametrize("text", ["", "  \n ", "x" * 50_001])
def test_an_empty_or_endless_text_is_refused(client, project, text):
    assert client.post("/projects/shop/guidelines/new/", {"text": text, "after": 1}).status_code == 400
    assert project.guidelines.count() == 1


def test_the_difference_of_two_versions_shows_what_came_and_went(client, project):
    lines = [f"Line {number}" for number in range(20)]
    Guideline.objects.create(project=project, version=2, text="\n".join(lines))
    lines[10] = "Another"
    Guideline.objects.create(project=project, version=3, text="\n".join(lines))

    html = client.get("/projects/shop/guidelines/3/?since=2").content.decode()

    assert "Line 10</del>" in html
    assert "Another</ins>" in html
    found = list(guideline_versions.changes("\n".join(lines), "\n".join(lines)))
    assert found == []
    changed = guideline_versions.changes("a\nb\nc\nd\ne", "a\nb\nc\nd\nf")
    assert [(line.sign, line.text) for line in changed] == [
        (" ", "b"),
        (" ", "c"),
        (" ", "d"),
        ("-", "e"),
        ("+", "f"),
    ]


def test_a_researcher_reads_and_does_not_write(researcher, signed_in):
    client = signed_in(researcher)

    assert client.get("/projects/shop/guidelines/").status_code == 200
    assert client.post("/projects/shop/guidelines/new/", {"text": "x", "after": 1}).status_code == 403


@pytest.mark.parametrize("query", ["since=9", "since=x", "since=-1", ""])
def test_a_version_without_another_to_compare_is_shown_alone(client, query):
    assert client.get(f"/projects/shop/guidelines/1/?{query}").status_code == 200
