import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotate import demonstrations as files
from annotate.models import AuditEvent, Demonstration, DemonstrationVersion, Project, Prompt, Role, User
from annotate.reviewing import review
from lm import records
from tests.annotate.writing_parts import accepted, prompt_wanting, said, sampled, written


@pytest.fixture
def wanda(person) -> User:
    return person("wanda", Role.WRITER)


@pytest.fixture
def will(person) -> User:
    return person("will", Role.WRITER)


def file_of(tmp_path, *lines: str):
    file = tmp_path / "demonstrations.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_the_file_has_each_accepted_one_with_author_versions_and_guideline(
    signed_in, researcher, project, wanda, will
):
    prompt_wanting(project)
    demonstration = written(wanda, project, "Short.", guideline=project.guideline)
    review(demonstration, will, said("send_back", "Say why."))
    written(wanda, project, "Short, because.", guideline=project.guideline)
    review(demonstration, will, said("accept", version=2))
    prompt_wanting(project, 2)
    written(wanda, project, "Not reviewed")

    answer = signed_in(researcher).get("/projects/shop/demonstrations.jsonl")

    (line,) = b"".join(answer.streaming_content).splitlines()
    found = json.loads(line)
    assert found["messages"] == [{"role": "user", "content": "Question 1?"}]
    assert found["response"] == "Short, because."
    assert (found["prompt_id"], found["split"], found["source"]) == ("p1", "train", None)
    assert found["author"] == project.pseudonym(wanda.pk)
    assert found["guideline_version"] == 1
    assert [(one["text"], one["verdict"], one["note"]) for one in found["versions"]] == [
        ("Short.", "send_back", "Say why."),
        ("Short, because.", "accept", ""),
    ]
    assert b"wanda" not in line
    assert b"will" not in line
    assert AuditEvent.objects.get(action="downloaded").detail == {"file": "demonstrations.jsonl"}


def test_what_was_edited_goes_out_with_its_source(project, wanda, will, tmp_path, capsys):
    source = sampled(prompt_wanting(project), "It costs $20.")
    Demonstration.objects.create(project=project, prompt=source.prompt, source=source)
    accepted(wanda, will, project, "It costs $25.")

    call_command("export_demonstrations", tmp_path / "d.jsonl", project="shop")

    (found,) = records.read(tmp_path / "d.jsonl", records.Demonstration)
    assert (found.source, found.response) == ("It costs $20.", "It costs $25.")
    assert capsys.readouterr().out.startswith("1 demonstrations of shop in ")


def test_a_file_comes_in_once_accepted_and_without_an_author(project, tmp_path, capsys):
    file = file_of(
        tmp_path,
        '{"messages": [{"role": "user", "content": "Why?"}], "response": "Because."}',
        '{"prompt": "How?", "response": "So.", "prompt_id": "how", "source": "Thus."}',
        '{"prompt": "How?", "response": "So.", "prompt_id": "how"}',
        '{"prompt": "How?", "response": "Or so.", "prompt_id": "how"}',
    )

    for _ in range(2):
        call_command("import_demonstrations", file, project="shop")

    assert capsys.readouterr().out == "3 new demonstrations in shop\n0 new demonstrations in shop\n"
    assert set(Demonstration.objects.values_list("state", "imported", "author")) == {("accepted", True, None)}
    assert Prompt.objects.get(name="how").messages == [{"role": "user", "content": "How?"}]
    assert Prompt.objects.count() == 2
    steps = DemonstrationVersion.objects.get(text="So.").difference
    assert files.text_before(steps) == "Thus."


def test_what_went_out_comes_into_another_project_and_adds_nothing_to_its_own(project, wanda, will, tmp_path):
    source = sampled(prompt_wanting(project), "Before")
    Demonstration.objects.create(project=project, prompt=source.prompt, source=source)
    accepted(wanda, will, project, "After")
    call_command("export_demonstrations", tmp_path / "d.jsonl", project="shop")
    other = Project.objects.create(slug="other", name="Other")

    assert files.import_demonstrations(project, tmp_path / "d.jsonl") == 0
    assert files.import_demonstrations(other, tmp_path / "d.jsonl") == 1

    (found,) = files.demonstrations(other)
    assert (found.prompt_id, found.source, found.response) == ("p1", "Before", "After")
    assert found.author is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "demonstrations.jsonl, line 3: no JSON"),
        ('{"prompt": "B?"}', "line 3: response: is missing"),
        ('{"prompt": "B?", "response": 3}', "line 3: response: must be a string"),
        ('{"prompt": "B?", "response": " "}', "line 3: response: is blank"),
        ('{"prompt": "B?", "response": "b", "prompt_id": "a"}', "line 3: prompt_id 'a' is taken by another"),
        ('{"prompt": "B?", "response": "b", "model": "x"}', "line 3: model: unknown key"),
        ('{"prompt": "B?", "response": "b", "prompt_id": "%s"}' % ("n" * 201), "line 3: prompt_id: has 201"),
        (
            '{"messages": [{"role": "assistant", "content": "Hm"}], "response": "b"}',
            "line 3: messages: the last one is of the assistant",
        ),
    ],
)
def test_a_faulty_line_is_named_and_nothing_comes_in(project, tmp_path, line, reason):
    file = file_of(tmp_path, '{"prompt": "A?", "response": "a", "prompt_id": "a"}', "", line)

    with pytest.raises(CommandError, match=reason):
        call_command("import_demonstrations", file, project="shop")

    assert not Prompt.objects.exists()
    assert not Demonstration.objects.exists()


def test_a_file_that_is_not_there_and_a_project_that_is_not_there_are_named(project, tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_demonstrations", tmp_path / "none.jsonl", project="shop")
    with pytest.raises(CommandError, match="there is no project 'shoe'"):
        call_command("import_demonstrations", tmp_path / "none.jsonl", project="shoe")


def test_more_than_one_batch_comes_in(project, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "BATCH", 3)
    lines = [
        json.dumps({"prompt": f"{n % 5}?", "response": f"{n}", "prompt_id": f"p{n % 5}"}) for n in range(20)
    ]

    assert files.import_demonstrations(project, file_of(tmp_path, *lines)) == 20

    assert Prompt.objects.count() == 5
    assert len(list(files.demonstrations(project))) == 20


def test_the_longest_history_still_fits_a_line(project, wanda, will):
    prompt_wanting(project)
    demonstration = written(wanda, project, "\u0001" * 50_000)
    for number in range(1, 5):
        review(demonstration, will, said("send_back", "Longer", version=number))
        written(wanda, project, "\u0001" * 50_000 + str(number))
    review(demonstration, will, said("accept", version=5))

    (found,) = files.demonstrations(project)

    assert found.response.endswith("4")
    assert len(found.to_line()) < records.LINE_LIMIT
    assert found.versions == ()


TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=30)
LINES = st.lists(
    st.builds(
        records.Demonstration,
        messages=TEXT.map(lambda text: (records.Message(role="user", content=text),)),
        response=TEXT.filter(str.strip),
        source=st.none() | TEXT,
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=LINES)
def test_any_file_comes_back_as_it_came(project, tmp_path, lines):
    Demonstration.objects.all().delete()
    Prompt.objects.all().delete()
    records.write(tmp_path / "in.jsonl", lines)

    files.import_demonstrations(project, tmp_path / "in.jsonl")

    came = {(one.messages, one.response) for one in files.demonstrations(project)}
    assert came == {(one.messages, one.response) for one in lines}
