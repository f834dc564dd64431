"""Just enough of a browser: cookies, forms, and patience with a server that is busy or restarting."""

from __future__ import annotations

import http.client
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

TIMEOUT = 30.0  # seconds for one answer
DELAYS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0)  # a server that restarts is back by then


class ServerError(OSError):
    """The server is not there, or answers what no rater can work with."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said; redirects are not followed."""

    status: int
    location: str  # path of a redirect
    text: str


class Browser:
    """One person's browser at one server."""

    def __init__(self, base_url: str, *, halt: threading.Event):
        self.base_url = base_url.rstrip("/")
        self.halt = halt  # when it is set, nothing is tried again
        self.cookies: dict[str, str] = {}
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        return self._ask("GET", path, None)

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Send a form; sent again, word for word, where no answer came."""
        return self._ask("POST", path, urlencode(fields).encode())

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        for delay in (*DELAYS, None):
            try:
                answer, wait = self._try(method, path, body)
                problem = f"status {answer.status}"
                if answer.status != 429 and answer.status < 500:
                    return answer
            except (OSError, http.client.HTTPException) as error:
                self.close()
                wait, problem = 0.0, f"{type(error).__name__} {error}".strip()
            if delay is None or self.halt.wait(max(wait, delay * random.uniform(0.5, 1))):
                break
        raise ServerError(f"{method} at {self.base_url}: {problem}")  # a path may hold a one-time link

    def _try(self, method: str, path: str, body: bytes | None) -> tuple[Answer, float]:
        """One request and its answer, with the seconds that the server asks us to wait."""
        if self._connection is None:
            address = urlsplit(self.base_url)
            kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(address.hostname or "", address.port, timeout=TIMEOUT)
        self._connection.request(method, urlsplit(self.base_url).path + path, body, self._headers(body))
        response = self._connection.getresponse()
        text = response.read().decode()
        for line in response.headers.get_all("Set-Cookie", []):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(line).items()}
        asked = response.headers.get("Retry-After", "")
        wait = min(float(asked), TIMEOUT) if asked.isdigit() else 0.0
        return Answer(response.status, urlsplit(response.headers.get("Location", "")).path, text), wait

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"Accept": "text/html", "User-Agent": "rankloop-robot"}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if self.base_url.startswith("https:"):  # Django asks for it there
            headers["Referer"] = self.base_url + "/"
        return headers
