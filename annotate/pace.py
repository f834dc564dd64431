"""How fast a project's judgments come in, and when the last of them will be there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from math import sqrt
from time import monotonic

from django.core.cache import cache
from django.db.models import Count
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from annotate.models import Judgment, Project

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS, DAYS = 48, 28  # units of the two charts
RECENT = timedelta(days=1)  # what a forecast goes by
FEWEST = 20  # judgments; fewer make no forecast
SLOW, FRESH = 0.3, 60  # seconds of counting beyond which figures are kept, and for how many
LONGEST = timedelta(days=366)  # beyond this a forecast says nothing


@dataclass(frozen=True, slots=True)
class Counted:
    """Judgments of one hour or one day."""

    since: datetime
    judgments: int
    simulated: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Judgments by the hour or by the day, the oldest first; the last unit is not over."""

    unit: timedelta
    counts: Sequence[Counted]

    @property
    def by_day(self) -> bool:
        """Whether a unit is a day."""
        return self.unit == DAY

    @property
    def total(self) -> int:
        """Judgments of all units."""
        return sum(count.judgments for count in self.counts)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When all is judged if it goes on as it went lately, with the interval that chance alone gives."""

    judgments: int  # that it goes by
    over: timedelta  # in which they came
    per_hour: float
    at: datetime
    earliest: datetime
    latest: datetime

    @property
    def rate(self) -> str:
        """Judgments in an hour, with the digits that matter."""
        return f"{self.per_hour:.2g}" if self.per_hour < 99.5 else f"{self.per_hour:,.0f}"

    @property
    def hours(self) -> str:
        """The time that it goes by, in words."""
        hours = max(1, round(self.over / HOUR))
        return f"{hours} hours" if hours > 1 else "hour"


def pace(project: Project, now: datetime | None = None) -> Pace:
    """The last 48 hours of a young project, the last 28 days of an older one; without empty beginnings."""
    now = now or timezone.now()
    standing = Judgment.objects.standing().filter(assignment__comparison__project=project)
    young = not standing.filter(received_at__lt=now - HOURS * HOUR).exists()
    unit, count, truncated = (HOUR, HOURS, TruncHour) if young else (DAY, DAYS, TruncDay)
    last = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    last = last if young else last.replace(hour=0)
    units = [last - unit * back for back in reversed(range(count))]
    rows = (
        standing.filter(received_at__gte=units[0])
        .annotate(since=truncated("received_at", tzinfo=UTC))
        .values("since", "simulated")
        .annotate(judgments=Count("pk"))
        .order_by("since")
    )
    found: dict[datetime, list[int]] = {}
    for row in rows:
        sums = found.setdefault(row["since"], [0, 0])
        sums[0] += row["judgments"]
        sums[1] += row["judgments"] if row["simulated"] else 0
    counts = [Counted(since, *found.get(since, (0, 0))) for since in units]
    empty = len(list(takewhile(lambda one: not one.judgments, counts)))
    return Pace(unit, counts[max(0, min(empty - 1, count - 12)) :] if empty < count else ())


def lately(project: Project, left: int) -> tuple[Pace, Forecast | None]:
    """Pace and forecast; of a project so large that counting takes long, up to a minute old."""
    key = f"pace-{project.secret}-{left == 0}"
    kept: tuple[Pace, Forecast | None] | None = cache.get(key)
    if kept is None:
        began = monotonic()
        kept = pace(project), forecast(project, left)
        if monotonic() - began > SLOW:
            cache.set(key, kept, FRESH)
    return kept


def forecast(project: Project, left: int, now: datetime | None = None) -> Forecast | None:
    """When the judgments that are left will have come, by the last day's; None where too few came."""
    now = now or timezone.now()
    recent = Judgment.objects.standing().filter(
        assignment__comparison__project=project, received_at__gt=now - RECENT, received_at__lte=now
    )
    times = recent.order_by("received_at")
    came = times.count()
    first = times.values_list("received_at", flat=True).first()
    if not left or came < FEWEST or first is None:
        return None
    # A project that began today goes by the time since its beginning, an hour at least.
    earlier = Judgment.objects.filter(assignment__comparison__project=project, received_at__lt=now - RECENT)
    over = RECENT if earlier.exists() else max(now - first, HOUR)
    spread = 1.96 * sqrt(came)  # counts vary by their root
    waits = [over * (left / count) for count in (came, came + spread, came - spread)]
    if max(waits) > LONGEST:
        return None
    at, earliest, latest = (now + wait for wait in waits)
    return Forecast(came, over, came / (over / HOUR), at, earliest, latest)
