from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest

from annotate import charts
from annotate.models import Assignment, Judgment
from annotate.pace import DAY, HOUR, Counted, Pace, forecast, pace

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)


@pytest.fixture
def judged_at(project, new_comparison, alice):
    """Store a standing judgment for each moment."""
    numbers = iter(range(1, 10_000))

    def store(*moments: datetime, simulated: bool = False) -> None:
        for moment in moments:
            comparison = new_comparison(next(numbers))
            shown = list(comparison.response_ids)
            assignment = Assignment.objects.create(
                comparison=comparison, rater=alice, shown=shown, state="judged", leased_until=moment
            )
            Judgment.objects.create(
                assignment=assignment,
                client_key=uuid4(),
                order=[shown],
                received_at=moment,
                simulated=simulated,
            )

    return store


def test_a_young_project_is_counted_by_the_hour(project, judged_at):
    judged_at(NOW, NOW - HOUR, NOW - HOUR - timedelta(minutes=1))
    judged_at(NOW - HOUR, simulated=True)

    found = pace(project, NOW)

    assert found.unit == HOUR
    assert [(one.since.hour, one.judgments, one.simulated) for one in found.counts[-2:]] == [
        (11, 3, 1),
        (12, 1, 0),
    ]
    assert found.total == 4
    assert len(found.counts) == 12


def test_an_older_project_is_counted_by_the_day(project, judged_at):
    judged_at(NOW, NOW - 20 * DAY, NOW - 3 * DAY, NOW - 40 * DAY)

    found = pace(project, NOW)

    assert found.unit == DAY
    assert found.total == 3
    assert found.counts[-1].since == datetime(2026, 3, 10, tzinfo=UTC)
    assert len(found.counts) == 22


def test_nothing_that_came_is_no_picture(project, db):
    assert not pace(project, NOW).counts
    assert charts.bars_of(pace(project, NOW)) == []


def test_the_forecast_goes_by_the_last_day_and_says_how_sure_it_is(project, judged_at):
    judged_at(*(NOW - timedelta(minutes=30 * number) for number in range(48)), NOW - 3 * DAY)

    found = forecast(project, 96, NOW)

    assert (found.judgments, found.per_hour) == (48, 2)
    assert found.at == NOW + 2 * DAY
    assert found.earliest == NOW + 2 * DAY * (48 / (48 + 1.96 * 48**0.5))
    assert found.earliest < found.at < found.latest


def test_a_project_of_today_goes_by_the_time_since_it_began(project, judged_at):
    judged_at(*(NOW - timedelta(minutes=6 * number) for number in range(1, 31)))

    found = forecast(project, 10, NOW)

    assert found.over == 3 * HOUR
    assert found.per_hour == 10
    assert found.hours == "3 hours"


def test_too_few_judgments_make_no_forecast(project, judged_at):
    judged_at(*(NOW - timedelta(minutes=number) for number in range(19)))

    assert forecast(project, 100, NOW) is None
    judged_at(NOW)
    assert forecast(project, 100, NOW) is not None
    assert forecast(project, 0, NOW) is None


def made_up(*numbers: int, unit: timedelta = HOUR) -> Pace:
    start = datetime(2026, 3, 9, 22, tzinfo=UTC)
    return Pace(
        unit, [Counted(start + unit * place, number, number // 2) for place, number in enumerate(numbers)]
    )


def test_bars_stand_on_the_axis_and_are_as_high_as_their_numbers():
    wide, narrow = charts.bars_of(made_up(0, 10, 40, 20))

    assert [mark.text for mark in wide.grid] == ["0", "20", "40"]
    assert [bar.height for bar in wide.bars] == [0, 32, 128, 64]
    assert all(bar.y + bar.height == pytest.approx(charts.BOTTOM) for bar in wide.bars)
    assert [bar.robots_height for bar in wide.bars] == [0, 16, 64, 32]
    assert wide.bars[-1].now
    assert narrow.width == charts.NARROW


@pytest.mark.parametrize("numbers", [(1,), (0, 1), (3, 0, 999_999), tuple(range(48)), (5,) * 28])
def test_everything_lies_within_the_picture(numbers):
    for unit in (HOUR, DAY):
        for chart in charts.bars_of(made_up(*numbers, unit=unit)):
            assert all(chart.left <= bar.x and bar.x + bar.width <= chart.width for bar in chart.bars)
            assert all(0 <= bar.y <= charts.BOTTOM for bar in chart.bars)
            assert chart.marks[-1].text == "now"
            places = [mark.at for mark in chart.marks]
            assert places == sorted(places)
            assert all(later - earlier > 60 for earlier, later in pairwise(places))


def test_the_picture_says_in_words_what_it_shows():
    assert (
        charts.finding(made_up(1, 7, 2)) == "10 judgments in 3 hours; most in one hour: 7, 9 March, 23:00 UTC"
    )
