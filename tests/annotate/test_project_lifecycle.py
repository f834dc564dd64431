from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from annotate import judging, projects
from annotate.answers import Posted
from annotate.assignment import next_for
from annotate.models import (
    Assignment,
    AuditEvent,
    BackgroundQuestion,
    Comparison,
    Flag,
    Judgment,
    Membership,
    Preference,
    Project,
    Prompt,
    Role,
    Upload,
    User,
    Void,
)
from annotate.presets import named
from lm.run_directory import RunDirectory
from policy.app.models import Evaluation, Policy, Round, RoundStep, Sample
from rewards.app.models import RewardModel
from runs import transitions
from runs.kinds import get
from runs.models import Run


@pytest.fixture
def judged(alice, project, comparison) -> Judgment:
    assignment = next_for(alice, project)
    posted = Posted(client_key=uuid4(), order="1>2")
    return judging.judge(assignment, posted.read(project.rules, 2))[0]


@pytest.fixture
def full(project, judged, comparison, admin, settings, tmp_path) -> Project:
    """A project with rows in every app, on whose run files lie."""
    settings.RUNS_DIR, settings.DATA_DIR = tmp_path, tmp_path / "data"
    uploaded = settings.DATA_DIR / "uploads" / "a-file.csv"
    uploaded.parent.mkdir(parents=True)
    uploaded.touch()
    Upload.objects.create(project=project, kind="prompts", name="p.csv", path="uploads/a-file.csv", size=0)
    run = Run.objects.start("simulated-raters", config={"project": "shop"}, scope=project.scope)
    run.directory.path.mkdir(parents=True)
    (run.directory.path / "log.txt").touch()
    transitions.cancel(run, by="ada")
    base = Policy.objects.create(project=project, name="base", kind="base", run=run)
    Policy.objects.create(project=project, name="child", kind="ppo", parent=base)
    response = comparison.responses.first()
    Sample.objects.create(response=response, policy=base, seed=1)
    reward = RewardModel.objects.create(project=project, run=run, judgments=1, pairs=1)
    round = Round.objects.create(project=project, number=1, base=base, reward_model=reward)
    RoundStep.objects.create(round=round, name="samples", run=run)
    Evaluation.objects.create(round=round, comparison=comparison, response=response, opponent=base)
    Flag.objects.create(assignment=judged.assignment, kind="other", client_key=uuid4())
    Void.objects.create(judgment=judged, reason="asleep", by=admin)
    judging.withdraw(judged.assignment)
    return project


def test_a_new_project_has_what_its_preset_says(db):
    ada = User.objects.create_user("ada")
    project = projects.make("news", "News", named("summaries"), ada)

    assert (project.preset, project.rules.scheme) == ("summaries", "strength")
    assert project.guideline.version == 1
    assert Membership.objects.get(project=project).role == Role.ADMIN
    assert AuditEvent.objects.get(project=project).detail == {"preset": "summaries"}


def test_a_project_may_not_be_called_new(db):
    with pytest.raises(ValidationError, match="an address of ours"):
        projects.make("new", "New", None, User.objects.create_user("ada"))
    assert not Project.objects.exists()


def test_a_copy_has_settings_guidelines_and_questions_and_no_people_or_judgments(project, judged, admin):
    project.settings = {"overlap": 3}
    project.save()
    BackgroundQuestion.objects.create(project=project, name="region", text="Where?", options=["here"])

    made = projects.copy(project, "shop-2", "Shop 2", admin)

    assert made.rules.overlap == 3
    assert made.guideline.text == project.guideline.text
    assert made.background_questions.get().options == ["here"]
    assert made.secret != project.secret
    assert list(made.memberships.values_list("user__username", "role")) == [("ada", "admin")]
    assert not made.prompts.exists()
    assert not Comparison.objects.filter(project=made).exists()


def test_a_copy_takes_the_prompts_that_are_in_use_along(project, new_comparison, admin):
    new_comparison(1)
    out = new_comparison(2).prompt
    Prompt.objects.filter(pk=out.pk).update(withdrawn_at="2026-01-01T00:00:00Z")

    made = projects.copy(project, "shop-2", "Shop 2", admin, prompts=True)

    prompt = made.prompts.get()
    assert (prompt.name, prompt.split) == ("p1", made.split_of(prompt.cluster))
    assert not prompt.responses.exists()


def test_too_many_prompts_are_not_copied_and_nothing_is_made(project, comparison, admin, monkeypatch):
    monkeypatch.setattr(projects, "COPIED_AT_ONCE", 0)

    with pytest.raises(projects.ProjectRefusedError, match="has 1 prompts; up to 0 are copied"):
        projects.copy(project, "shop-2", "Shop 2", admin, prompts=True)

    assert Project.objects.count() == 1


def test_changes_are_written_down_with_what_was_before(project, admin):
    changed = projects.change(project, "Shop", {"overlap": 2}, admin)

    assert changed == {"overlap": [1, 2], "name": ["Shop answers", "Shop"]}
    assert AuditEvent.objects.get().detail == {"changed": changed}
    assert projects.change(project, "Shop", {"overlap": 2}, admin) == {}
    assert AuditEvent.objects.count() == 1


def test_an_archived_project_gives_leases_back_and_can_return(project, assignment, admin):
    projects.archive(project, admin)

    project.refresh_from_db()
    assignment.refresh_from_db()
    assert project.archived_at is not None
    assert assignment.state == "expired"
    with pytest.raises(projects.ProjectRefusedError, match="archived already"):
        projects.archive(project, admin)

    projects.bring_back(project, admin)
    project.refresh_from_db()
    assert project.archived_at is None
    assert list(AuditEvent.objects.values_list("action", flat=True)) == [
        "archived the project",
        "brought the project back",
    ]


def test_an_archived_project_is_read_only_and_asks_raters_nothing(
    project, comparison, alice, admin, signed_in
):
    projects.archive(project, admin)
    boss = signed_in(admin)

    assert b"Question 1?" not in signed_in(alice).get("/projects/shop/compare/").content
    assert boss.get("/projects/shop/").status_code == 200
    assert b"Archived" in boss.get("/projects/shop/settings/").content
    assert boss.post("/projects/shop/settings/", {"name": "X"}).status_code == 403
    assert boss.post("/projects/shop/bring-back/").status_code == 302
    assert b"Question 1?" in signed_in(alice).get("/projects/shop/compare/").content


def test_nothing_is_archived_or_deleted_while_a_run_is_under_way(project, admin, settings, tmp_path):
    settings.RUNS_DIR, settings.DATA_DIR = tmp_path, tmp_path / "data"
    uploaded = settings.DATA_DIR / "uploads" / "a-file.csv"
    uploaded.parent.mkdir(parents=True)
    uploaded.touch()
    Upload.objects.create(project=project, kind="prompts", name="p.csv", path="uploads/a-file.csv", size=0)
    run = Run.objects.start("simulated-raters", config={"project": "shop"}, scope=project.scope)

    for act in (projects.archive, projects.delete):
        with pytest.raises(
            projects.ProjectRefusedError, match=f"Run {run.pk}: Simulated raters is not finished"
        ):
            act(project, admin)

    project.refresh_from_db()
    assert project.archived_at is None


def test_a_deleted_project_leaves_no_row_of_any_app_and_no_file_of_its_runs(
    full, admin, alice, tmp_path, django_capture_on_commit_callbacks
):
    other = projects.make("other", "Other", named("code"), admin)
    folder = RunDirectory(tmp_path / str(Run.objects.get().pk)).path
    tables = [model for model in projects._paths(full) if model._meta.label != "annotate.Project"]
    held = [model for model in tables if model._base_manager.filter(projects._paths(full)[model]).exists()]
    assert {Sample, Evaluation, RoundStep, Judgment, Void, Flag} <= set(held)

    with django_capture_on_commit_callbacks(execute=True):
        assert projects.delete(full, admin) is None

    assert list(Project.objects.all()) == [other]
    for model in held:
        left = model._base_manager.count()
        assert left == model._base_manager.filter(projects._paths(other)[model]).count(), model
    assert not Run.objects.exists()
    assert not folder.exists()
    assert list((tmp_path / "data" / "uploads").iterdir()) == []
    assert User.objects.filter(pk=alice.pk).exists()
    event = AuditEvent.objects.get(action="deleted the project")
    assert (event.project, event.detail["slug"]) == (None, "shop")
    connection.check_constraints()


def test_a_large_project_is_deleted_by_a_job(full, admin, monkeypatch, signed_in):
    monkeypatch.setattr(projects, "DELETED_AT_ONCE", 1)

    run = projects.delete(full, admin)

    full.refresh_from_db()
    assert full.archived_at is not None
    assert signed_in(admin).get(f"/runs/{run.pk}/").status_code == 200
    assert signed_in(User.objects.create_user("eve")).get(f"/runs/{run.pk}/").status_code == 404

    get("project-deletion").finish(run, run.directory)

    assert not Project.objects.exists()
    assert not Judgment.objects.exists()
    assert not Preference.objects.exists()
    assert not Assignment.objects.exists()
    assert Run.objects.get() == run
    get("project-deletion").finish(run, run.directory)  # tried again


def test_the_program_of_a_deletion_ends_well(tmp_path):
    from annotate import deletion

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["deletion", "--project", "shop", "--output", str(tmp_path / "run")])
        deletion.main()

    assert RunDirectory(tmp_path / "run").result() == {"project": "shop"}
