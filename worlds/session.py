"""Robot raters at work: they sign in, read the page, judge and go on, over HTTP as people do.

    python -m worlds.session --config DIR/config.json --output DIR [--resume]

DIR/input/raters.json holds a name and a one-time link for each robot.
"""

from __future__ import annotations

import heapq
import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
from numpy.random import Generator

from lm.config import EX_CONFIG, ConfigError
from lm.run_directory import EX_TEMPFAIL, StopSignal, command, read_lines
from worlds.browser import Browser, ServerError
from worlds.config import SimulationConfig
from worlds.page import Form, Page, read_page
from worlds.robots import Robot, Verdict, population
from worlds.taste import TASTES, Taste

THREADS = 8
REPORT_EVERY = 1.0  # seconds
BREAK_AFTER = 120  # judgments; then a robot is fresh again

Report = Callable[..., object]  # RunDirectory.report, or what prints
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Tally:
    """What all robots did so far; a line of metrics.jsonl holds it, so that a run can go on."""

    judgments: int = 0
    decided: int = 0  # judgments with a winner
    won_by_first: int = 0  # of these, won by the response shown first
    clear_cases: int = 0  # of these, where the taste has a winner too
    agreed_with_taste: int = 0  # of these, the same one
    seconds: float = 0.0

    def count(self, verdict: Verdict, rewards: Sequence[float]) -> None:
        """Add a judgment."""
        self.judgments += 1
        best = verdict.order[0]
        if len(best) > 1:
            return
        self.decided += 1
        self.won_by_first += best == (1,)
        if sorted(rewards)[-1] > sorted(rewards)[-2]:
            self.clear_cases += 1
            self.agreed_with_taste += rewards[best[0] - 1] == max(rewards)

    def metrics(self) -> dict[str, Any]:
        """The tally as a line of metrics."""
        values = asdict(self)
        return {"step": values.pop("judgments"), **values, "seconds": round(self.seconds, 3)}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Tally:
        """The tally that a line of metrics holds."""
        return cls(line["step"], **{field.name: line[field.name] for field in fields(cls)[1:]})

    def result(self, raters: int) -> dict[str, Any]:
        """The figures of the run."""
        return {
            "judgments": self.judgments,
            "raters": raters,
            "seconds": round(self.seconds, 3),
            "judgments_per_second": round(self.judgments / self.seconds, 3) if self.seconds else None,
            "agreement_with_taste": round(self.agreed_with_taste / self.clear_cases, 4)
            if self.clear_cases
            else None,
            "first_share": round(self.won_by_first / self.decided, 4) if self.decided else None,
        }


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a rater's turn: a judgment, or a time to come back, or nothing left."""

    judged: tuple[Verdict, list[float]] | None = None
    ready_at: float = 0.0
    over: bool = False


class RaterSession:
    """One robot in its browser."""

    def __init__(
        self,
        *,
        browser: Browser,
        link: str,
        project: str,
        robot: Robot,
        taste: Taste,
        own_taste: Taste | None = None,
        rng: Generator,
        pace: float,
    ):
        self.browser, self.link, self.compare = browser, urlsplit(link).path, f"/projects/{project}/compare/"
        self.robot, self.taste, self.rng, self.pace = robot, taste, rng, pace
        self.own_taste = own_taste or taste
        self.clock = rng.spawn(1)[0]  # so that a draw of seconds changes no answer
        self.judged = 0
        self._signed_in = False
        self._page: Page | None = None  # while the robot looks at a comparison
        self._shown_at = datetime.now(UTC)
        self._refused = 0

    def turn(self) -> Turn:
        """Look at the next comparison; without a pace, or back from thinking, judge it."""
        if not self._signed_in:
            self._sign_in()
        if self._page is None:
            self._page, self._shown_at = self._next_page(), datetime.now(UTC)
            if self._page is None:
                return Turn(over=True)
            if self.pace:
                return Turn(ready_at=time.monotonic() + self.pace * self.robot.takes(self.rng))
        page, self._page = self._page, None
        return self._judge(page, page.forms["comparison"])

    def _sign_in(self) -> None:
        forms = read_page(self.browser.get(self.link).text).forms
        form = forms.get(self.link) or forms.get("")  # without an action it goes where the page came from
        if form is None:
            raise ServerError("the page behind a sign-in link has no form; was the link used?")
        answer = self.browser.post(self.link, form.fields)
        if answer.status not in (302, 303):
            raise ServerError(f"signing in by link gave status {answer.status}")
        self._signed_in = True

    def _next_page(self) -> Page | None:
        answer = self.browser.get(self.compare)
        page = read_page(answer.text)
        if answer.status != 200 or not (page.empty or "comparison" in page.forms):
            raise ServerError(f"GET {self.compare} gave status {answer.status} and no page for raters")
        return None if page.empty else page

    def _judge(self, page: Page, form: Form) -> Turn:
        verdict = self.robot.judge(
            [self.own_taste.reward(page.messages, text) for text in page.shown],
            self.rng,
            since_break=self.judged % BREAK_AFTER,
            ties="1=2" in page.offered,
            lengths=[len(text) for text in page.shown],
        )
        answer = self.browser.post(form.action, form.fields | self._times(form) | vote(verdict, page))
        if answer.status == 409 and self._refused < 3:  # the lease ran out, and the place was given away
            self._refused += 1
            return Turn()
        if answer.location != self.compare:
            raise ServerError(f"POST {form.action} gave status {answer.status} {answer.location}")
        self._refused = 0
        self.judged += 1
        return Turn(judged=(verdict, [self.taste.reward(page.messages, text) for text in page.shown]))

    def _times(self, form: Form) -> dict[str, str]:
        """What a browser fills into the form: the clock, and a key where the page has left it open."""
        now = datetime.now(UTC)
        found = {
            "client_key": form.fields.get("client_key") or str(uuid4()),
            "shown_at": self._shown_at.isoformat(),
            "first_input_at": now.isoformat(),
            "submitted_at": now.isoformat(),
            "active_ms": str(round(self._seconds(now) * 1000)),
        }
        return {name: value for name, value in found.items() if name in form.fields}

    def _seconds(self, now: datetime) -> float:
        """How long the robot says it looked: without a pace it doesn't wait, and says what it would take."""
        return (now - self._shown_at).total_seconds() if self.pace else self.robot.takes(self.clock)


def vote(verdict: Verdict, page: Page) -> dict[str, str]:
    """The fields that say this on this page."""
    if verdict.all_bad and "all_bad" in page.offered:
        return {"all_bad": "1"}
    return {"order": str(verdict)}


class Simulation:
    """Raters who take turns on a few threads, until enough is judged or nothing is left."""

    def __init__(self, raters: Sequence[RaterSession], *, wanted: int, tally: Tally, halt: threading.Event):
        self.wanted, self.tally, self.halt = wanted, tally, halt
        self.error: Exception | None = None
        self._raters = raters
        self._waiting = [(0.0, number) for number in range(len(raters))]  # a heap: ready when, and who
        self._busy = 0
        self._change = threading.Condition()

    def run(self, report: Report, stop: Callable[[], object]) -> None:
        """Let them judge; returns when all are at rest."""
        count = min(THREADS, len(self._raters))
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        told_at, told = time.monotonic(), self.tally.judgments
        began = told_at - self.tally.seconds
        resting = False
        while not resting:
            with self._change:
                self._change.wait(0.1)
                resting = not any(thread.is_alive() for thread in threads)
                now = time.monotonic()
                self.tally.seconds = now - began
                tally = replace(self.tally)
            if stop():
                self.halt.set()
            new = tally.judgments - told
            if new and (resting or now - told_at >= REPORT_EVERY):
                report(
                    total=self.wanted,
                    judgments_per_second=round(new / max(now - told_at, 1e-3), 3),
                    **tally.metrics(),
                )
                told_at, told = now, tally.judgments
        if self.error and not (stop() and isinstance(self.error, ServerError)):
            raise self.error

    def _work(self) -> None:
        while (number := self._next()) is not None:
            turn = Turn(over=True)
            try:
                turn = self._raters[number].turn()
            except Exception as error:  # raised again by `run`
                self.error = self.error or error
                self.halt.set()
            with self._change:
                self._busy -= 1
                if turn.judged:
                    self.tally.count(*turn.judged)
                if not turn.over:
                    heapq.heappush(self._waiting, (turn.ready_at or time.monotonic(), number))
                self._change.notify_all()

    def _next(self) -> int | None:
        """Whose turn it is; waits while all think, or while those at work may be enough."""
        with self._change:
            while not self.halt.is_set():
                missing = self.wanted - self.tally.judgments if self.wanted else len(self._raters)
                if missing <= 0 or not (self._waiting or self._busy):
                    return None
                patience = 0.5
                if self._waiting and self._busy < missing:
                    ready_at, number = self._waiting[0]
                    if ready_at <= time.monotonic():
                        heapq.heappop(self._waiting)
                        self._busy += 1
                        return number
                    patience = min(patience, ready_at - time.monotonic())
                self._change.wait(max(0.0, patience))
            return None


def simulate(
    config: SimulationConfig,
    links: Sequence[Mapping[str, str]],
    report: Report,
    *,
    stop: Callable[[], object] = lambda: False,
    tally: Tally | None = None,
) -> dict[str, Any]:
    """Let robots judge until enough is judged, nothing is left, or somebody says stop; what they did."""
    if len(links) != config.raters:
        raise ConfigError(f"{config.raters} raters need as many links, not {len(links)}")
    tally, halt = tally or Tally(), threading.Event()
    world = config.chosen()
    robots = population(world.population, config.raters, config.seed)
    raters = [
        RaterSession(
            browser=Browser(config.base_url, halt=halt),
            link=link["link"],
            project=config.project,
            robot=robot,
            taste=TASTES[world.taste],
            own_taste=TASTES[world.other_taste if robot.other_taste else world.taste],
            rng=np.random.default_rng([config.seed, 2, number]),
            pace=config.pace,
        )
        for number, (link, robot) in enumerate(zip(links, robots, strict=True))
    ]
    try:
        Simulation(raters, wanted=config.judgments, tally=tally, halt=halt).run(report, stop)
    finally:
        for rater in raters:
            rater.browser.close()
    return tally.result(config.raters)


def _links(path: Path) -> list[dict[str, str]]:
    """The robots' names and links."""
    try:
        links: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
        return [{"name": link["name"], "link": link["link"]} for link in links]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} must list a name and a link for each robot: {error!r}") from error


def main(argv: Sequence[str] | None = None) -> None:
    """Carry out one run directory."""
    config, directory, resume = command(SimulationConfig, argv)
    metrics = list(read_lines(directory.path / "metrics.jsonl")) if resume else []
    tally = Tally.of(metrics[-1]) if metrics else Tally()
    directory.resume(tally.judgments)
    stop = StopSignal()
    try:
        links = _links(directory.path / "input" / "raters.json")
        result = simulate(config, links, directory.report, stop=lambda: stop.asked, tally=tally)
    except ConfigError as error:
        logger.error("%s", error)
        sys.exit(EX_CONFIG)
    except ServerError as error:
        logger.error("%s", error)
        sys.exit(EX_TEMPFAIL)
    if stop:
        sys.exit(EX_TEMPFAIL)
    directory.write_result(result)


if __name__ == "__main__":
    main()
