from uuid import uuid4

import pytest
from django.utils import timezone

from annotate import judging, queue, withdrawing
from annotate.answers import Posted
from annotate.assignment import next_for
from annotate.models import AuditEvent, Comparison, Flag, Judgment, Purpose, Role


@pytest.fixture
def boss(admin, signed_in):
    return signed_in(admin)


def answer(assignment, order="1>2"):
    posted = Posted(client_key=uuid4(), order=order)
    return judging.judge(assignment, posted.read(assignment.comparison.project.rules, 2))


def test_open_places_are_counted_by_purpose_stratum_and_batch(project, new_comparison, alice):
    new_comparison(1, batch="round 1")
    new_comparison(2, batch="round 1")
    new_comparison(3, batch="round 1", purpose=Purpose.ACTIVE)
    new_comparison(4)
    answer(next_for(alice, project))

    found = {
        (part.purpose, part.batch): (part.comparisons, part.wanted, part.left)
        for part in queue.parts(project)
    }

    assert found == {
        ("Uniform", ""): (1, 1, 1),
        ("Uniform", "round 1"): (2, 2, 1),
        ("Active", "round 1"): (1, 1, 1),
    }


def test_the_next_ones_come_in_the_order_in_which_they_are_asked(project, new_comparison, alice):
    for number, place in ((1, 0.5), (2, 0.1), (3, 0.9)):
        new_comparison(number, place=place)

    first = queue.next_ones(project)

    assert [one.prompt.name for one in first] == ["p2", "p1", "p3"]
    assert next_for(alice, project).comparison == first[0]


def test_a_lease_is_shown_and_released(boss, project, assignment, bob):
    page = boss.get("/projects/shop/queue/").content.decode()
    assert "alice" in page

    assert boss.post(f"/projects/shop/queue/{assignment.key}/release/").url == "/projects/shop/queue/"

    assignment.refresh_from_db()
    assert assignment.state == "expired"
    assert next_for(bob, project).comparison == assignment.comparison
    event = AuditEvent.objects.get(action="released a lease")
    assert event.detail == {"rater": "alice", "comparison": assignment.comparison_id}


def test_a_lease_that_was_judged_meanwhile_is_left_alone(boss, assignment):
    answer(assignment)

    assert boss.post(f"/projects/shop/queue/{assignment.key}/release/").status_code == 302

    assert Judgment.objects.get().counted
    assert not AuditEvent.objects.filter(action="released a lease").exists()


def test_held_back_and_withdrawn_ones_are_counted_by_reason(boss, project, new_comparison, admin):
    for number in (1, 2, 3):
        new_comparison(number)
    twins = Comparison.objects.filter(prompt__name__in=["p1", "p2"])
    twins.update(closed_at=timezone.now(), closed_reason="near-identical")
    withdrawing.withdraw_comparison(Comparison.objects.get(prompt__name="p3"), "silly", admin)

    assert queue.closed(project) == [("near-identical", 2), ("withdrawn: silly", 1)]
    assert (queue.waits(project)["held"], queue.waits(project)["withdrawn"]) == (2, 1)
    assert "2 comparisons held back" in boss.get("/projects/shop/").content.decode()


def test_skips_are_counted_by_reason_and_notes_are_shown(boss, project, alice, bob, person, comparison):
    carla = person("carla", Role.RATER)
    for rater, reason in ((alice, "broken: <b>no text</b>"), (bob, "broken"), (carla, "")):
        judging.skip(next_for(rater, project), reason)

    assert queue.skipped(project) == [("broken", 2), ("no reason given", 1)]
    page = boss.get("/projects/shop/queue/").content.decode()
    assert "&lt;b&gt;no text&lt;/b&gt;" in page


def test_a_flag_is_looked_at_and_settled_once(boss, project, assignment, admin):
    flag = Flag.objects.create(
        assignment=assignment,
        response_id=assignment.shown[0],
        kind="personal",
        note="A street",
        client_key=uuid4(),
    )
    assert "A street" in boss.get("/projects/shop/queue/").content.decode()
    assert "1 flag to look at" in boss.get("/projects/shop/").content.decode()

    empty = boss.post(f"/projects/shop/flags/{flag.pk}/settle/", {"reason": " "})
    assert empty.status_code == 400
    boss.post(f"/projects/shop/flags/{flag.pk}/settle/", {"reason": "Response withdrawn"})
    boss.post(f"/projects/shop/flags/{flag.pk}/settle/", {"reason": "again"})

    flag.refresh_from_db()
    assert (flag.resolved_by, flag.resolution) == (admin, "Response withdrawn")
    assert AuditEvent.objects.filter(action="settled a flag").count() == 1
    assert "No flag waits." in boss.get("/projects/shop/queue/").content.decode()


def test_a_researcher_reads_the_queue_under_pseudonyms_and_changes_nothing(
    project, assignment, researcher, signed_in, alice
):
    client = signed_in(researcher)

    page = client.get("/projects/shop/queue/").content.decode()
    assert "alice" not in page
    assert project.pseudonym(alice.pk) in page
    assert "Release" not in page
    assert client.post(f"/projects/shop/queue/{assignment.key}/release/").status_code == 403


def test_what_belongs_to_another_project_is_not_found(boss, project, assignment, admin, new_comparison):
    from annotate import projects

    projects.make("other", "Other", None, admin)
    flag = Flag.objects.create(assignment=assignment, kind="other", client_key=uuid4())

    for address in (
        f"queue/{assignment.key}/release/",
        f"flags/{flag.pk}/settle/",
        f"comparisons/{assignment.comparison_id}/withdraw/",
        f"comparisons/{assignment.comparison_id}/bring-back/",
    ):
        assert boss.post(f"/projects/other/{address}", {"reason": "x"}).status_code == 404, address


def test_the_queue_takes_as_many_statements_however_long_it_is(
    boss, project, new_comparison, django_assert_max_num_queries
):
    for number in range(1, 30):
        new_comparison(number)

    with django_assert_max_num_queries(20):
        boss.get("/projects/shop/queue/")
