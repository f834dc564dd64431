import json
import re
from itertools import combinations

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.comparisons import draw_pairs
from annotate.models import Comparison, Guideline, Project, Prompt, Response
from policy.app.models import Policy, Sample
from runs.models import Run


@pytest.fixture
def project(db) -> Project:
    return Project.objects.create(slug="shop", name="Shop")


@pytest.fixture
def responses(tmp_path):
    def write(*lines: dict):
        file = tmp_path / "responses.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return file

    return write


def line(response: str, policy: str = "base", **values) -> dict:
    messages = [{"role": "user", "content": "Why?"}]
    return {"prompt_id": "p", "messages": messages, "response": response, "policy": policy, **values}


def test_responses_bring_their_prompts_policies_and_comparisons(project, responses, capsys):
    file = responses(line("Because.", seed=1, logprob=-3.5), line("Who knows?", "ppo", seed=2))

    call_command("import_responses", file, project="shop")

    assert capsys.readouterr().out == "2 new responses and 1 comparisons in shop\n"
    assert Prompt.objects.get().messages == [{"role": "user", "content": "Why?"}]
    assert set(Policy.objects.values_list("name", "kind")) == {("base", "imported"), ("ppo", "imported")}
    sample = Sample.objects.get(response__text="Because.")
    assert (sample.seed, sample.logprob) == (1, -3.5)
    comparison = Comparison.objects.get()
    assert set(comparison.responses.all()) == set(Response.objects.all())


def test_the_same_words_of_two_policies_are_one_response_with_two_samples(project, responses):
    call_command(
        "import_responses",
        responses(line("Because.", seed=1), line("Because.", "ppo", seed=1)),
        project="shop",
    )

    assert Response.objects.count() == 1
    assert set(Sample.objects.values_list("policy__name", flat=True)) == {"base", "ppo"}
    assert not Comparison.objects.exists()


def test_importing_twice_adds_nothing(project, responses):
    file = responses(line("Because.", seed=1), line("Who knows?"))
    for _ in range(2):
        call_command("import_responses", file, project="shop")

    assert (Response.objects.count(), Sample.objects.count(), Comparison.objects.count()) == (2, 2, 1)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([line("a"), {"prompt_id": "q", "response": "b", "policy": "base"}], "prompt_id 'q' is not in shop"),
        ([line("a"), {**line("b"), "policy": " "}], "line 2: policy: must name the policy"),
        (
            [line("a"), {**line("b"), "messages": [{"role": "user", "content": "How?"}]}],
            "'p' has other messages",
        ),
        ([line("a"), {**line("b"), "rating": 1}], "line 2: rating"),
    ],
)
def test_a_faulty_file_leaves_nothing_behind(project, responses, lines, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        call_command("import_responses", responses(*lines), project="shop")

    assert not Prompt.objects.exists()
    assert not Policy.objects.exists()


def test_every_pair_of_a_prompt_is_drawn_as_often(project, responses):
    call_command(
        "import_responses",
        responses(*(line(f"answer {number}") for number in range(4))),
        project="shop",
        pairs_per_prompt=0,
    )
    prompts = list(Prompt.objects.all())
    counts = {frozenset(pair): 0 for pair in combinations(Response.objects.values_list("pk", flat=True), 2)}
    for seed in range(600):
        draw_pairs(project, prompts, per_prompt=2, seed=seed, batch="test")
        for comparison in Comparison.objects.all():
            assert comparison.probability == pytest.approx(2 / 6)
            assert 0 <= comparison.place < 1
            counts[frozenset(comparison.responses.values_list("pk", flat=True))] += 1
        Comparison.objects.all().delete()

    assert all(140 <= count <= 260 for count in counts.values()), counts  # 200 expected, sd 11.5


def test_no_pair_is_queued_twice(project, responses):
    call_command(
        "import_responses", responses(*(line(f"answer {number}") for number in range(3))), project="shop"
    )
    for seed in range(5):
        draw_pairs(project, Prompt.objects.all(), per_prompt=1, seed=seed, batch="again")

    assert Comparison.objects.count() == 3


@pytest.mark.django_db
def test_the_demo_is_there_and_whole():
    call_command("demo")

    project = Project.objects.get(slug="demo")
    assert project.demo
    assert "Notes" in Guideline.objects.get(project=project).text
    assert Comparison.objects.filter(project=project).count() == 240
    assert Prompt.objects.count() == 1600
    assert {tag for prompt in Prompt.objects.all() for tag in prompt.tags} == {
        "shop", "travel", "cooking", "help", "explanation", "event",
    }  # fmt: skip
    base = Policy.objects.base_of(project)
    assert base.name == "starter"
    assert (base.folder / "model.safetensors").is_file()
    assert base.samples.count() == 480
    assert Run.objects.get().kind == "base-samples"


@pytest.mark.django_db
def test_the_demo_is_loaded_into_an_empty_database_only():
    call_command("demo", if_empty=True)
    call_command("demo", if_empty=True)
    assert Project.objects.count() == 1

    with pytest.raises(CommandError, match="there is a project demo already"):
        call_command("demo")
