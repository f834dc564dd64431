"""What admins do about raters: each act reaches the rater, is recorded, and can be undone."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from annotate import rater_actions
from annotate.models import (
    AuditEvent,
    Judgment,
    Membership,
    Preference,
    Purpose,
    RaterAction,
    Role,
)
from runs.models import Run
from tests.annotate.quality_parts import measured, vote


@pytest.fixture(autouse=True)
def runs_dir(settings, tmp_path):
    settings.RUNS_DIR = tmp_path


@pytest.fixture
def boss(admin, signed_in):
    return signed_in(admin)


@pytest.fixture
def member(alice, project):
    Membership.objects.filter(user=alice).update(qualified_at=timezone.now())
    return Membership.objects.get(user=alice)


@pytest.fixture
def page(member):
    return f"/projects/shop/raters/{member.pk}/"


@pytest.fixture
def rater(alice, signed_in):
    return signed_in(alice)


def screen(rater) -> str:
    return rater.get("/projects/shop/compare/").content.decode()


def undo(boss, page, action=None):
    action = action or RaterAction.objects.get()
    return boss.post(f"{page}actions/{action.pk}/undo/")


def test_a_message_stands_on_the_raters_screen_until_it_is_undone(boss, page, rater, comparison):
    answer = boss.post(f"{page}act/", {"kind": "message", "text": "Mind the <b>prices</b>."})

    assert answer.url == page
    assert "Mind the &lt;b&gt;prices&lt;/b&gt;." in screen(rater)
    assert "Mind the &lt;b&gt;prices" in boss.get(page).content.decode()
    assert undo(boss, page).status_code == 302
    assert "Mind the" not in screen(rater)
    assert [event.action for event in AuditEvent.objects.order_by("pk")][-2:] == [
        "wrote to a rater",
        "undid: message",
    ]
    assert AuditEvent.objects.filter(detail__person="alice").count() == 2


def test_a_message_that_was_read_stays(boss, page, member):
    action = RaterAction.objects.create(
        membership=member, kind="message", text="Hello", seen_at=timezone.now()
    )

    answer = undo(boss, page, action)

    assert answer.status_code == 409
    assert "alice has read this message" in answer.content.decode()
    action.refresh_from_db()
    assert action.undone_at is None


def test_who_is_paused_reads_why_and_goes_on_when_let(boss, page, rater, comparison, member):
    boss.post(f"{page}act/", {"kind": "pause", "text": "Let us talk first."})

    assert "Let us talk first." in screen(rater)
    assert 'id="comparison"' not in screen(rater)
    again = boss.post(f"{page}act/", {"kind": "pause", "text": "Twice"})
    assert (again.status_code, "alice is paused already." in again.content.decode()) == (409, True)
    assert boss.post(f"{page}let-go-on/").status_code == 302
    assert 'id="comparison"' in screen(rater)
    action = RaterAction.objects.get()
    assert action.undone_by.username == "ada"
    assert boss.post(f"{page}let-go-on/").status_code == 409
    assert AuditEvent.objects.filter(action="let go on").count() == 1


def test_undoing_a_pause_lets_them_go_on(boss, page, rater, comparison):
    boss.post(f"{page}act/", {"kind": "pause", "text": "Wait"})

    undo(boss, page)

    assert 'id="comparison"' in screen(rater)
    assert undo(boss, page).status_code == 409


def test_who_failed_the_qualification_is_let_in(boss, page, member, rater, comparison):
    Membership.objects.filter(pk=member.pk).update(
        qualified_at=None, paused_at=timezone.now(), pause_reason="1 of 4 answers were as expected."
    )

    boss.post(f"{page}let-go-on/")

    member.refresh_from_db()
    assert member.qualified_at is not None
    assert 'id="comparison"' in screen(rater)


def test_retraining_closes_the_queue_until_the_examples_are_done(boss, page, member, rater, new_comparison):
    new_comparison(1)
    example = new_comparison(2, purpose=Purpose.TRAINING, gold=[[1]], explanation="Because.")
    boss.post(f"{page}act/", {"kind": "pause", "text": "Wait"})

    boss.post(f"{page}act/", {"kind": "retrain", "text": "Many golds missed"})

    member.refresh_from_db()
    assert (member.qualified_at, member.paused_at) == (None, None)
    assert "Question 2?" in screen(rater)
    assert example.assignments.get().rule == "training"


def test_undoing_a_retraining_restores_what_was_before(boss, page, member, alice, new_comparison):
    vote(alice, new_comparison(1))
    new_comparison(2, purpose=Purpose.QUALIFICATION, gold=[[1]])
    boss.post(f"{page}act/", {"kind": "pause", "text": "Wait for me"})
    boss.post(f"{page}act/", {"kind": "retrain", "text": "Again"})

    undo(boss, page, RaterAction.objects.get(kind="retrain"))

    member.refresh_from_db()
    assert member.qualified_at is not None
    assert member.pause_reason == "Wait for me"
    assert RaterAction.objects.get(kind="pause").undone_at is None


def test_there_is_no_retraining_without_examples(boss, page, member, comparison):
    answer = boss.post(f"{page}act/", {"kind": "retrain", "text": "Again"})

    assert answer.status_code == 409
    assert "Shop answers has no examples and no qualification set" in answer.content.decode()
    assert not RaterAction.objects.exists()
    member.refresh_from_db()
    assert member.qualified_at is not None


def moved(judgment, days):
    """Judgments are never changed; here time is."""
    at = timezone.now() - timedelta(days=days)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE annotate_judgment SET received_at = %s WHERE id = %s", [at, judgment.pk])


def test_excluded_judgments_leave_what_is_used_and_come_back(boss, page, project, alice, bob, new_comparison):
    early, late = vote(alice, new_comparison(1)), vote(alice, new_comparison(2))
    vote(bob, new_comparison(3))
    moved(early, days=5)
    day = (timezone.now() - timedelta(days=2)).date().isoformat()

    def used():
        keys = Judgment.objects.of_project(project).used().values_list("pk", flat=True)
        preferences = Preference.objects.used().values_list("judgment_id", flat=True)
        assert set(keys) == set(preferences)
        return set(keys)

    before = used()
    answer = boss.post(f"{page}act/", {"kind": "exclude", "text": "A script", "since": day})

    assert answer.url == page
    assert before - used() == {late.pk}
    shown = boss.get(page)
    assert (shown.context["received"], shown.context["used"]) == (2, 1)
    more = vote(alice, new_comparison(4))
    assert more.pk not in used(), "what they go on to judge is left out too"
    assert Judgment.objects.count() == 4, "nothing is deleted"
    undo(boss, page)
    assert used() == before | {more.pk}
    event = AuditEvent.objects.get(action="left a rater's judgments out")
    assert (event.actor.username, event.detail["since"]) == ("ada", f"{day}T00:00:00+00:00")


def test_an_exclusion_and_its_undoing_have_the_figures_computed_anew(
    boss, page, project, alice, new_comparison
):
    vote(alice, new_comparison(1))
    measured(project)
    day = timezone.now().date().isoformat()

    boss.post(f"{page}act/", {"kind": "exclude", "text": "A script", "since": day})

    assert Run.objects.active().filter(kind="quality").count() == 1
    boss.post(f"{page}act/", {"kind": "message", "text": "Hello"})
    assert Run.objects.active().filter(kind="quality").count() == 1


@pytest.mark.parametrize(
    ("posted", "status", "says"),
    [
        (
            {"kind": "exclude", "text": "x", "since": "3 May"},
            400,
            "“3 May” is no day; write it as 2026-11-03.",
        ),
        ({"kind": "exclude", "text": "x"}, 400, "Say from which day on."),
        ({"kind": "exclude", "text": "x", "since": "2999-01-01"}, 409, "1 January 2999 is still to come."),
        ({"kind": "exclude", "text": "", "since": "2026-01-01"}, 400, "Say it in a few words."),
        ({"kind": "pause", "text": "x" * 501}, 400, "The text has 501 letters; there is room for 500."),
        ({"kind": "ban", "text": "x"}, 400, "ban"),
        ({}, 400, "required"),
    ],
)
def test_what_can_not_be_is_said_in_one_line_and_nothing_changes(boss, page, posted, status, says):
    answer = boss.post(f"{page}act/", posted)

    assert answer.status_code == status
    assert says in answer.content.decode()
    assert not RaterAction.objects.exists()
    assert not AuditEvent.objects.exists()


def test_an_exclusion_inside_another_one_is_refused(boss, page, member, admin):
    rater_actions.exclude(member, admin, "x", datetime(2026, 1, 5, tzinfo=UTC))

    answer = boss.post(f"{page}act/", {"kind": "exclude", "text": "x", "since": "2026-02-01"})

    assert answer.status_code == 409
    assert "from 5 January 2026 00:00 UTC on is left out already" in answer.content.decode()
    assert (
        boss.post(f"{page}act/", {"kind": "exclude", "text": "x", "since": "2026-01-01"}).status_code == 302
    )


def test_only_admins_of_the_project_act(page, project, researcher, alice, bob, signed_in, admin, boss):
    from annotate import projects

    for user in (researcher, alice, bob):
        client = signed_in(user)
        assert client.get(page).status_code == 403
        for address in ("act/", "let-go-on/", "actions/1/undo/"):
            assert client.post(page + address, {"kind": "pause", "text": "x"}).status_code == 403
    projects.make("other", "Other", None, admin)
    elsewhere = page.replace("/shop/", "/other/")
    assert boss.get(elsewhere).status_code == 404
    assert boss.post(f"{elsewhere}act/", {"kind": "pause", "text": "x"}).status_code == 404
    assert not RaterAction.objects.exists()


def test_an_action_about_another_rater_is_not_found(boss, page, bob):
    other = RaterAction.objects.create(membership=Membership.objects.get(user=bob), kind="message", text="x")

    assert undo(boss, page, other).status_code == 404


def test_who_does_not_label_has_no_page_here(boss, researcher):
    member = Membership.objects.get(user=researcher, role=Role.RESEARCHER)

    assert boss.get(f"/projects/shop/raters/{member.pk}/").status_code == 404


def test_nothing_is_done_in_an_archived_project(boss, page, project):
    project.archived_at = timezone.now()
    project.save()

    assert boss.post(f"{page}act/", {"kind": "pause", "text": "x"}).status_code == 403
    shown = boss.get(page)
    assert shown.status_code == 200
    assert "What you can do" not in shown.content.decode()
