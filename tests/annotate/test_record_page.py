"""The rater's own record: what they did, and nothing of how others judged."""

from uuid import uuid4

from annotate.answers import Answer
from annotate.judging import judge
from annotate.models import Assignment, AssignmentState, Rule
from annotate.progress import record_of, share


def put(comparison, rater, shown, order, rule=Rule.QUEUE):
    """A judged assignment with its sides as given."""
    from django.utils import timezone

    assignment = Assignment.objects.create(
        comparison=comparison,
        rater=rater,
        shown=shown,
        rule=rule,
        holds_place=False,
        leased_until=timezone.now(),
        state=AssignmentState.OPEN,
    )
    judge(assignment, Answer(client_key=uuid4(), positions=order, active_ms=60_000))


def test_a_repeat_counts_as_the_same_where_the_same_response_wins(project, new_comparison, alice):
    for number in (1, 2, 3):
        comparison = new_comparison(number)
        first, second = comparison.response_ids
        put(comparison, alice, [first, second], [[1], [2]])
        again = [[2], [1]] if number < 3 else [[1], [2]]
        put(comparison, alice, [second, first], again, Rule.REPEAT)

    record = record_of(alice, project)

    assert record["repeats"] == 3
    assert record["same"]["share"] == 67
    assert record["decided"] == 6
    assert record["first"]["share"] == 67
    assert record["minutes"] == 6


def test_a_share_has_wilsons_interval():
    assert share(0, 0) is None
    assert share(8, 10) == {"of": 10, "share": 80, "low": 49, "high": 94}


def test_the_page_tells_ones_own_figures_and_no_others(signed_in, alice, bob, project, new_comparison):
    comparison = new_comparison(1)
    put(comparison, alice, list(comparison.response_ids), [[1], [2]])
    other = new_comparison(2)
    put(other, bob, list(other.response_ids), [[2], [1]])

    page = signed_in(alice).get("/projects/shop/record/").content.decode()

    assert record_of(alice, project)["judged"] == 1
    assert "bob" not in page
