import json
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.answers import Answer
from annotate.assignment import next_for
from annotate.judging import judge, withdraw
from annotate.models import AuditEvent, Prompt, Response
from lm import records


@pytest.fixture
def judged(assignment):
    judge(assignment, Answer(client_key=uuid4(), positions=[[2], [1]]))
    return assignment


def download(client) -> list[dict]:
    answer = client.get("/projects/shop/pairs.jsonl")
    assert answer.status_code == 200
    return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]


def test_the_file_has_every_preference_with_all_that_was_recorded(
    judged, signed_in, researcher, project, alice
):
    (pair,) = download(signed_in(researcher))

    shown = [Response.objects.get(pk=pk).text for pk in judged.shown]
    assert pair["chosen"] == shown[1]
    assert pair["rejected"] == shown[0]
    assert pair["first"] == "rejected"
    assert pair["messages"] == [{"role": "user", "content": "Question 1?"}]
    assert pair["rater"] == project.pseudonym(alice.pk)
    assert "alice" not in json.dumps(pair)
    expected = {
        "prompt_id": "p1",
        "size": 2,
        "tie": False,
        "all_bad": False,
        "weight": 1,
        "purpose": "uniform",
        "probability": 1,
        "since_break": 0,
        "simulated": False,
    }
    assert {name: pair[name] for name in expected} == expected


def test_the_file_reads_back_as_records(judged, tmp_path):
    call_command("export_preferences", tmp_path / "pairs.jsonl", project="shop")

    (pair,) = records.read(tmp_path / "pairs.jsonl", records.Pair)
    assert pair.prompt_id == "p1"


def test_a_judgment_taken_back_is_not_in_the_file(judged, signed_in, researcher):
    withdraw(judged)

    assert download(signed_in(researcher)) == []


def test_downloads_are_for_researchers_and_admins_and_are_noted(judged, signed_in, alice, admin, researcher):
    assert signed_in(alice).get("/projects/shop/pairs.jsonl").status_code == 403
    download(signed_in(admin))
    download(signed_in(researcher))

    actors = AuditEvent.objects.filter(action="downloaded").values_list("actor__username", flat=True)
    assert sorted(actors) == ["ada", "rosa"]


def prompts_file(tmp_path, *lines: str):
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_prompts_come_in_once(project, tmp_path, capsys):
    file = prompts_file(
        tmp_path, '{"prompt_id": "a", "prompt": "Why?"}', '{"prompt_id": "b", "prompt": "How?"}'
    )

    call_command("import_prompts", file, project="shop")
    call_command("import_prompts", file, project="shop")

    assert capsys.readouterr().out == "2 new prompts in shop\n0 new prompts in shop, 2 known already\n"
    assert Prompt.objects.get(name="a").messages == [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (['{"prompt_id": "a", "prompt": "Why?"}', "{"], "line 2"),
        (['{"prompt_id": "a", "prompt": "Why?"}', '{"prompt_id": "b"}'], "line 2"),
        (
            ['{"prompt_id": "a", "prompt": "Why?"}', '{"prompt_id": "a", "prompt": "How?"}'],
            "line 2: prompt_id: names another prompt",
        ),
    ],
)
def test_a_faulty_file_leaves_nothing_behind(project, tmp_path, lines, reason):
    with pytest.raises(CommandError, match=reason):
        call_command("import_prompts", prompts_file(tmp_path, *lines), project="shop")

    assert not Prompt.objects.exists()


def test_the_split_of_a_prompt_never_changes_and_shares_are_kept(project):
    splits = [project.split_of(f"cluster {number}") for number in range(2000)]

    assert splits == [project.split_of(f"cluster {number}") for number in range(2000)]
    assert 0.76 < splits.count("train") / 2000 < 0.84
    assert set(splits) == {"train", "rm_holdout", "policy_eval"}


def test_next_for_asks_nothing_of_another_project(project, comparison, alice):
    from annotate.models import Project

    other = Project.objects.create(slug="other", name="Other")

    assert next_for(alice, other) is None
