import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.masking import MASK, mask
from annotate.models import Project
from annotate.presets import PRESETS, named
from annotate.rendering import render
from annotate.settings import ProjectSettings
from lm.config import settings_of


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_a_preset_has_settings_that_work_and_guidelines_that_say_enough(preset):
    assert preset.rules
    assert set(preset.settings) <= {setting.name for setting in settings_of(ProjectSettings)}
    assert 250 <= len(preset.guidelines.split()) <= 500
    assert "<h2>" in render(preset.guidelines)
    assert "!" not in preset.guidelines


def test_a_preset_names_only_what_differs_from_the_defaults():
    plain = ProjectSettings()
    for preset in PRESETS:
        assert all(getattr(preset.rules, name) != getattr(plain, name) for name in preset.settings), (
            preset.name
        )


def test_a_preset_is_found_by_its_name():
    assert named("code").title == "Code"
    assert named("nothing") is None


def test_the_guidelines_speak_of_the_answers_that_the_preset_offers():
    for preset in PRESETS:
        if preset.name != "demonstrations":
            assert "bad**" in preset.guidelines, preset.name
            assert preset.rules.all_bad


@pytest.mark.django_db
def test_the_command_makes_a_project_from_a_preset():
    call_command("project", "review", preset="code", name="Review", set=["overlap=2"])

    project = Project.objects.get()
    assert (project.preset, project.rules.scheme, project.rules.overlap) == ("code", "strength", 2)
    assert project.guideline.text == named("code").guidelines
    assert mask("As ChatGPT, I say no.", project.rules.masks) == f"As {MASK}, I say no."


@pytest.mark.django_db
def test_the_command_refuses_a_preset_for_a_project_that_is_there_or_that_nobody_wrote():
    with pytest.raises(CommandError, match="there is no preset 'cods'; there are helpfulness-pairs"):
        call_command("project", "review", preset="cods")
    assert not Project.objects.exists()

    call_command("project", "review")
    with pytest.raises(CommandError, match="review exists"):
        call_command("project", "review", preset="code")
    assert Project.objects.get().preset == ""


@pytest.mark.django_db
def test_the_command_takes_lists_and_plain_words():
    call_command(
        "project", "review", set=['criteria=["honest", "kind"]', "scheme=ranking", "system_prompt=Be brief"]
    )

    rules = Project.objects.get().rules
    assert (rules.criteria, rules.scheme, rules.system_prompt) == (("honest", "kind"), "ranking", "Be brief")
