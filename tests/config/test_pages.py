import pytest
from django.test import Client

from annotate.models import Membership, Project, Role, User
from runs import transitions
from runs.models import Run, Worker


@pytest.fixture
def projects(db) -> list[Project]:
    return [Project.objects.create(slug=name, name=name.title()) for name in ("news", "shop")]


def signed_in(**roles: tuple[Project, Role]) -> Client:
    user = User.objects.create_user("somebody")
    for project, role in roles.values():
        Membership.objects.create(user=user, project=project, role=role)
    client = Client()
    client.force_login(user)
    return client


def test_a_rater_of_two_projects_chooses(projects):
    client = signed_in(a=(projects[0], Role.RATER), b=(projects[1], Role.RATER))

    page = client.get("/").content.decode()

    assert "/projects/news/compare/" in page
    assert "/projects/shop/compare/" in page


def test_who_is_in_no_project_is_told_what_to_do(db):
    assert "Ask whoever invited you" in signed_in().get("/").content.decode()


def test_an_admin_sees_the_runs_of_own_projects_alone(projects):
    mine, others = (
        Run.objects.start("simulated-raters", config={"project": p.slug}, scope=p.scope) for p in projects
    )
    client = signed_in(a=(projects[0], Role.ADMIN))

    page = client.get("/").content.decode()

    assert f"/runs/{mine.pk}/" in page
    assert f"/runs/{others.pk}/" not in page
    assert "Shop" not in page
    assert client.get(f"/runs/{others.pk}/").status_code == 404


def test_a_researcher_sees_projects_and_no_runs(projects):
    Run.objects.start("simulated-raters", config={"project": "news"}, scope=projects[0].scope)
    page = signed_in(a=(projects[0], Role.RESEARCHER)).get("/").content.decode()

    assert "/projects/news/" in page
    assert "/runs/" not in page


def test_who_rates_one_project_and_keeps_another_gets_to_both(projects):
    page = signed_in(a=(projects[0], Role.RATER), b=(projects[1], Role.ADMIN)).get("/").content.decode()

    assert "/projects/news/compare/" in page
    assert 'href="/projects/shop/"' in page
    assert 'href="/projects/news/"' not in page


def test_a_run_that_waits_shows_its_page(projects):
    run = Run.objects.start("simulated-raters", config={"project": "news"}, scope=projects[0].scope)

    page = signed_in(a=(projects[0], Role.ADMIN)).get(f"/runs/{run.pk}/").content.decode()

    assert "Queued" in page
    assert "Cancel" in page
    assert "No worker for the queue light is up" in page


def test_a_run_that_waits_says_for_what(projects):
    run = Run.objects.start("simulated-raters", config={"project": "news"}, scope=projects[0].scope)
    client = signed_in(a=(projects[0], Role.ADMIN))
    Worker.objects.create(host="here", pid=1, boot_id="boot", queues=["train"])
    assert "No worker for the queue light is up" in client.get(f"/runs/{run.pk}/").content.decode()

    Worker.objects.create(host="here", pid=2, boot_id="boot", queues=["light"])
    assert "A worker takes it within seconds" in client.get(f"/runs/{run.pk}/").content.decode()

    Run.objects.start("simulated-raters", config={"project": "shop"}, scope=projects[1].scope)
    assert transitions.claim(["light"], "here:2:boot").pk == run.pk
    waiting = Run.objects.get(scope=projects[1].scope)
    Run.objects.filter(pk=waiting.pk).update(scope=projects[0].scope)
    ahead = f"Run {run.pk} is in front of it: Simulated raters."
    assert ahead in client.get(f"/runs/{waiting.pk}/").content.decode()
