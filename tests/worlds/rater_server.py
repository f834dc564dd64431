"""A small server with the routes of a rater's page; it can stumble where it is told to."""

import re
import threading
from collections.abc import Callable
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from uuid import UUID, uuid4

NOTES = "Notes: tent Ardo; price: $65; colour: teal<br>How much is it?"
TOKEN = '<input type="hidden" name="csrfmiddlewaretoken" value="c">'
GOOD, BAD = "It costs $65.", "Ugh, not again. It comes in teal."


class RaterServer(ThreadingHTTPServer):
    """Keeps the votes by client key; each comparison is judged by so many raters."""

    daemon_threads = True

    def __init__(
        self, *, comparisons: int, overlap: int = 1, responses: tuple[str, ...] = (GOOD, BAD), tie=True
    ):
        super().__init__(("127.0.0.1", 0), Handler)
        self.responses, self.tie, self.overlap = responses, tie, overlap
        self.free = [number for number in range(comparisons) for _ in range(overlap)]
        self.leases: dict[str, tuple[str, int]] = {}  # assignment -> rater, comparison
        self.votes: dict[str, tuple[str, int, str]] = {}  # client key -> rater, comparison, vote
        self.forms: list[dict[str, str]] = []
        self.links: dict[str, str] = {}  # token -> rater
        self.sessions: dict[str, str] = {}  # cookie -> rater
        self.stumble: Callable[[int], str] = lambda post: ""  # by number of the post: what goes wrong
        self.posts = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def raters(self, count: int) -> list[dict[str, str]]:
        """Names and fresh links."""
        tokens = [uuid4().hex for _ in range(count)]
        self.links |= {token: f"robot-{number}" for number, token in enumerate(tokens)}
        return [{"name": self.links[token], "link": f"{self.url}/sign-in/{token}/"} for token in tokens]

    def assignment(self, rater: str) -> str | None:
        """The rater's open assignment, or a new one; None when nothing is left for them."""
        for key, (holder, _) in self.leases.items():
            if holder == rater:
                return key
        seen = {number for who, number, _ in self.votes.values() if who == rater}
        for number in self.free:
            if number not in seen:
                self.free.remove(number)
                key = str(uuid4())
                self.leases[key] = (rater, number)
                return key
        return None

    def store(self, rater: str, key: str, form: dict[str, str]) -> int:
        """Keep a vote, once; the status that says so."""
        self.forms.append(form)
        if form["client_key"] in self.votes:
            return 303
        if self.leases.get(key, ("",))[0] != rater:
            return 409
        _, number = self.leases.pop(key)
        self.votes[str(UUID(form["client_key"]))] = (rater, number, form.get("order") or "bad")
        return 303


class Handler(BaseHTTPRequestHandler):
    server: RaterServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Say nothing."""

    def answer(self, status: int, text: str = "", **headers: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    @property
    def rater(self) -> str:
        found = re.search(r"session=(\w+)", self.headers.get("Cookie", ""))
        return self.server.sessions.get(found[1], "") if found else ""

    def do_GET(self):
        with self.server.lock:
            if self.path.startswith("/sign-in/"):
                known = self.path.split("/")[2] in self.server.links
                form = f'<form method="post" action="{self.path}">{TOKEN}</form>'
                return self.answer(200 if known else 410, form if known else "")
            if self.path != "/projects/demo/compare/" or not self.rater:
                return self.answer(404)
            key = self.server.assignment(self.rater)
        return self.answer(200, self.page(key) if key else '<main data-state="empty"></main>')

    def page(self, key: str) -> str:
        sides = "".join(
            f'<section class="side" data-position="{place}"><div class="prose">{escape(text)}</div></section>'
            for place, text in enumerate(self.server.responses, 1)
        )
        tie = '<button name="order" value="1=2">Tie</button>' if self.server.tie else ""
        return f"""<form id="comparison" method="post" action="/assignments/{key}/judge/">
            {TOKEN}<input type="hidden" name="client_key" value="{uuid4()}">
            <input type="hidden" name="shown_at"><input type="hidden" name="first_input_at">
            <input type="hidden" name="active_ms">
            <section class="talk"><div class="turn" data-role="user"><p class="who">Person</p>
            <div class="prose"><p>{NOTES}</p></div></div></section>{sides}{tie}</form>"""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {name: values[0] for name, values in parse_qs(body).items()}
        assert form["csrfmiddlewaretoken"] == "c"
        with self.server.lock:
            if self.path.startswith("/sign-in/"):
                rater = self.server.links.pop(self.path.split("/")[2], None)
                cookie = uuid4().hex
                self.server.sessions[cookie] = rater or ""
                return self.answer(303, Location="/", Set_Cookie=f"session={cookie}; HttpOnly; Path=/")
            self.server.posts += 1
            trouble = self.server.stumble(self.server.posts)
            if trouble == "busy":
                return self.answer(503, Retry_After="0")
            if trouble == "gone":  # the lease ran out, and the place is free again
                self.server.free.append(self.server.leases.pop(self.path.split("/")[2])[1])
            status = self.server.store(self.rater, self.path.split("/")[2], form)
        if trouble == "lost":  # stored, but the answer never arrives
            self.close_connection = True
            return None
        return self.answer(status, Location="/projects/demo/compare/")
