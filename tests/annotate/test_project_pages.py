from datetime import timedelta

import pytest
from django.utils import timezone

from annotate import projects
from annotate.models import AuditEvent, Judgment, Membership, Project, Role, User
from annotate.presets import PRESETS, named
from annotate.project_forms import GROUPS, SettingsForm
from annotate.settings import ProjectSettings
from lm.config import settings_of
from tests.annotate.test_charts import judged_at

__all__ = ["judged_at"]


@pytest.fixture
def boss(admin, signed_in):
    return signed_in(admin)


def posted(project: Project, **changes: object) -> dict[str, object]:
    """The settings page's form as a browser posts it, with some fields changed."""
    form = SettingsForm(project=project)
    values = {}
    for name in form.fields:
        value = form[name].value()
        if value is not False and value is not None:
            values[name] = "on" if value is True else form.fields[name].prepare_value(value)
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


# A new one


def test_every_preset_can_be_chosen(boss):
    page = boss.get("/projects/new/").content.decode()

    assert all(preset.title in page and preset.summary in page for preset in PRESETS)


def test_a_project_is_made_and_its_maker_is_admin(boss, admin):
    answer = boss.post("/projects/new/", {"name": "News", "slug": "news", "preset": "summaries"})

    assert answer.url == "/projects/news/"
    assert Membership.objects.get(project__slug="news", user=admin).role == Role.ADMIN
    assert Project.objects.get(slug="news").guideline.text == named("summaries").guidelines
    assert boss.get("/projects/news/").status_code == 200


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"slug": "shop"}, "There is a project at “shop” already."),
        ({"slug": "new"}, "“new” is an address of ours"),
        ({"slug": "News"}, "Use small letters, digits and hyphens."),
        ({"slug": "a b"}, "Use small letters, digits and hyphens."),
        ({"name": ""}, "This field is required."),
        ({"preset": "cods"}, "cods"),
    ],
)
def test_what_can_not_be_made_is_said_beside_its_field(boss, values, reason):
    answer = boss.post("/projects/new/", {"name": "News", "slug": "news", "preset": "", **values})

    assert answer.status_code == 400
    assert reason in answer.content.decode()
    assert Project.objects.count() == 1


def test_who_keeps_no_project_makes_none(project, signed_in, alice, researcher):
    for person in (alice, researcher):
        assert signed_in(person).get("/projects/new/").status_code == 403
    assert (
        signed_in(User.objects.create_user("staff", is_staff=True)).get("/projects/new/").status_code == 200
    )


def test_the_list_shows_own_projects_and_the_archived_ones_apart(boss, project, admin):
    projects.make("old", "Old news", None, admin)
    projects.archive(Project.objects.get(slug="old"), admin)
    Project.objects.create(slug="others", name="Theirs")

    page = boss.get("/projects/").content.decode()

    assert page.index("Shop answers") < page.index("Archived") < page.rindex("Old news")
    assert "Theirs" not in page


# Settings


def test_every_setting_is_on_the_page_once_with_its_help(boss, project):
    page = boss.get("/projects/shop/settings/").content.decode()

    for setting in settings_of(ProjectSettings):
        assert page.count(f'name="{setting.name}"') == 1, setting.name
    assert "Raters who judge each comparison" in page


def test_groups_name_settings_that_exist_and_none_twice():
    names = [name for group in GROUPS.values() for name in group]

    assert len(set(names)) == len(names)
    assert set(names) <= {setting.name for setting in settings_of(ProjectSettings)}


def test_settings_saved_untouched_change_nothing(boss, project):
    before = project.rules

    assert boss.post("/projects/shop/settings/", posted(project)).url == "/projects/shop/settings/"

    project.refresh_from_db()
    assert project.rules == before
    assert not AuditEvent.objects.filter(action="changed settings").exists()


def test_settings_of_every_sort_are_changed(boss, project):
    changes = {
        "scheme": "strength",
        "tie": None,
        "score_steps": "7",
        "criteria": "honest\r\n kind \r\n\r\n",
        "overlap_share": "12.5",
        "overlap": "3",
        "pay_per_hour": "14.5",
        "system_prompt": "Be brief.",
        "name": "Shop",
    }
    boss.post("/projects/shop/settings/", posted(project, **changes))

    project.refresh_from_db()
    rules = project.rules
    assert (rules.scheme, rules.tie, rules.score_steps, rules.overlap) == ("strength", False, 7, 3)
    assert (rules.criteria, rules.overlap_share) == (("honest", "kind"), 0.125)
    assert (rules.pay_per_hour, rules.system_prompt, project.name) == (14.5, "Be brief.", "Shop")
    page = boss.get("/projects/shop/settings/").content.decode()
    assert "<b>Share judged by more</b>: 0.1 became 0.125" in page
    assert "ada, just now" in page


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"overlap": "0"}, "0 is too little. Use 1 or more."),
        ({"overlap": "many"}, "This is no number"),
        ({"overlap_share": "101"}, "101% is too much. Use 100% or less."),
        ({"gold_share": "40", "repeat_share": "20"}, "gold_share and repeat_share together are over half"),
        ({"scheme": "coin"}, "coin"),
        ({"labels": "untrue\nuntrue"}, "labels must be different texts"),
        ({"criteria": "\n".join(map(str, range(10)))}, "at most 9 criteria"),
        ({"colour": "red"}, "There is no setting “colour”."),
        ({"name": ""}, "This field is required."),
    ],
)
def test_a_setting_that_can_not_work_is_refused_by_name_and_nothing_changes(boss, project, changes, reason):
    answer = boss.post("/projects/shop/settings/", posted(project, **changes))

    assert answer.status_code == 400
    assert reason in answer.content.decode()
    project.refresh_from_db()
    assert project.settings == {}


def test_a_scheme_that_judgments_were_given_under_may_change_and_is_said_to(boss, project, judged_at):
    judged_at(timezone.now())

    page = boss.get("/projects/shop/settings/").content.decode()
    assert "1 judgment came in under this scheme or an earlier one" in page
    boss.post("/projects/shop/settings/", posted(project, scheme="ranking"))

    project.refresh_from_db()
    assert project.rules.scheme == "ranking"
    assert Judgment.objects.count() == 1
    assert "answer scheme" in boss.get("/projects/shop/settings/").content.decode()


def test_only_admins_change_settings(project, signed_in, alice, researcher):
    for person in (alice, researcher):
        assert signed_in(person).get("/projects/shop/settings/").status_code == 403
    assert signed_in(User.objects.create_user("eve")).get("/projects/shop/settings/").status_code == 404


def test_raw_tables_are_linked_for_superusers_alone(boss, admin):
    assert b"/django-admin/" not in boss.get("/projects/shop/settings/").content
    User.objects.filter(pk=admin.pk).update(is_superuser=True)
    assert b"/django-admin/" in boss.get("/projects/shop/settings/").content


# Copy, archive, delete


def test_a_copy_is_made_from_its_page(boss, project, comparison):
    assert "1 prompt too" in boss.get("/projects/shop/copy/").content.decode()
    answer = boss.post("/projects/shop/copy/", {"name": "Shop 2", "slug": "shop-2", "prompts": "on"})

    assert answer.url == "/projects/shop-2/"
    assert Project.objects.get(slug="shop-2").prompts.count() == 1


def test_a_project_is_deleted_once_its_address_is_typed(boss, project, comparison):
    page = boss.get("/projects/shop/delete/").content.decode()
    assert "Comparisons" in page

    wrong = boss.post("/projects/shop/delete/", {"slug": "shopp"})
    assert wrong.status_code == 400
    assert "“shopp” is not the address of this project." in wrong.content.decode()
    assert Project.objects.exists()

    assert boss.post("/projects/shop/delete/", {"slug": "shop"}).url == "/projects/"
    assert not Project.objects.exists()


def test_archiving_while_a_run_is_under_way_says_why_not(boss, project, settings, tmp_path):
    from runs.models import Run

    settings.RUNS_DIR = tmp_path
    Run.objects.start("simulated-raters", config={"project": "shop"}, scope=project.scope)

    answer = boss.post("/projects/shop/archive/")

    assert answer.status_code == 409
    assert "is not finished" in answer.content.decode()


# The overview


def test_the_overview_shows_pace_and_forecast_with_their_grounds(boss, project, judged_at, new_comparison):
    now = timezone.now()
    judged_at(*(now - timedelta(minutes=6 * number) for number in range(1, 31)))

    page = boss.get("/projects/shop/").content.decode()

    assert "30 judgments in 12 hours" in page
    assert "(30 judgments, 10 an hour)" in page
    assert page.count('<svg class="chart is-') == 2
    table = boss.get("/projects/shop/pace.csv").content.decode().splitlines()
    assert table[0] == "since,judgments,simulated"
    assert sum(int(line.split(",")[1]) for line in table[1:]) == 30


def test_an_empty_project_says_what_to_do(boss, project):
    page = boss.get("/projects/shop/").content.decode()

    assert "No comparisons yet." in page
    assert '<svg class="chart is-' not in page


def test_the_rail_offers_what_the_role_may_open(boss, project, signed_in, researcher):
    for client, absent in ((boss, ()), (signed_in(researcher), ("settings", "people"))):
        page = client.get("/projects/shop/").content.decode()
        for part in ("queue", "prompts", "settings", "people"):
            assert (f'href="/projects/shop/{part}/"' in page) == (part not in absent), part
        import re

        for address in set(re.findall(r'href="(/projects/shop/[a-z-]+/)"', page)):
            assert client.get(address).status_code == 200, address
