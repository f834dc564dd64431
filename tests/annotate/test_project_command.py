import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from annotate.models import Guideline, Project

pytestmark = pytest.mark.django_db


def test_a_project_is_made_and_changed(tmp_path):
    file = tmp_path / "guidelines.md"
    file.write_text("Pick what is right.", encoding="utf-8")
    call_command("project", "news", name="News", guidelines=file, set=["overlap=3"])
    call_command("project", "news", guidelines=file, set=["tie=false"])
    file.write_text("Pick what is kind.", encoding="utf-8")
    call_command("project", "news", guidelines=file)

    project = Project.objects.get()
    assert project.name == "News"
    assert not project.demo
    assert (project.rules.overlap, project.rules.tie) == (3, False)
    assert list(Guideline.objects.order_by("version").values_list("version", "text")) == [
        (1, "Pick what is right."),
        (2, "Pick what is kind."),
    ]


@pytest.mark.parametrize(
    ("slug", "settings", "reason"),
    [
        ("news", ["overlop=3"], "settings: overlop is 3"),
        ("news", ["overlap=0"], "settings: overlap is 0; it must be from 1 to 50"),
        ("news", ["overlap=three"], "--set overlap=three"),
        ("news", ['overlap="3"'], "settings: overlap is '3'"),
        ("not a slug", [], "slug:"),
    ],
)
def test_what_cannot_be_is_refused_by_name(slug, settings, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        call_command("project", slug, set=settings)

    assert not Project.objects.exists()


def test_a_missing_file_leaves_nothing_behind(tmp_path):
    with pytest.raises(CommandError, match=re.escape("guidelines.md")):
        call_command("project", "news", guidelines=tmp_path / "guidelines.md")

    assert not Project.objects.exists()
