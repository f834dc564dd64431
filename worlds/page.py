"""A rater's page as a robot reads it: the conversation, the responses, the form, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

from lm.records import Message

BLOCKS = ("p", "br", "hr", "pre", "blockquote", "ul", "ol", "li", "table", "tr", "div")
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
CELLS = ("td", "th")


@dataclass(slots=True)
class Form:
    """A form of the page: where it goes, and its hidden fields."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Page:
    """What a page shows a rater."""

    empty: bool = False  # it says that nothing is left to judge
    forms: dict[str, Form] = field(default_factory=dict)  # by id, or by action where there is none
    messages: list[Message] = field(default_factory=list)
    responses: dict[int, str] = field(default_factory=dict)  # by position
    offered: set[str] = field(default_factory=set)  # orders on buttons, and "all_bad"

    @property
    def shown(self) -> list[str]:
        """The responses in the order shown."""
        return [self.responses[position] for position in sorted(self.responses)]


def read_page(html: str) -> Page:
    """Read a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page


def collapsed(text: str) -> str:
    """Text as it is seen: one space for many, no blank lines."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return "\n".join(line for line in lines if line)


def _gap(tag: str) -> str:
    """What a tag puts between two words."""
    return "\n" if tag in BLOCKS + HEADINGS else " " if tag in CELLS else ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self._form = Form("")
        self._keep: Callable[[str], None] = lambda text: None  # where the next prose belongs
        self._text: list[str] = []
        self._code = False
        self._prose, self._depth = "", 0  # the tag of the prose being read, and how deep in its like

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        classes = values.get("class", "").split()
        if self._prose:
            self._text.append(_gap(tag))
            self._depth += tag == self._prose
            self._code = self._code or tag == "pre"
        elif tag == "main":
            self.page.empty = values.get("data-state") == "empty"
        elif tag == "form":
            self._form = Form(values.get("action", ""))
            self.page.forms[values.get("id") or self._form.action] = self._form
        elif tag == "input" and values.get("type") == "hidden":
            owner = self.page.forms.get(values.get("form", ""), self._form)
            owner.fields[values.get("name", "")] = values.get("value", "")
        elif tag == "button" and values.get("name") in ("order", "all_bad"):
            self.page.offered.add(values["value"] if values["name"] == "order" else "all_bad")
        elif "turn" in classes:
            role = values.get("data-role", "")
            self._keep = lambda text: self.page.messages.append(
                Message(role=role, content=text)  # type: ignore[arg-type] # as the page says
            )
        elif "side" in classes:
            position = int(values.get("data-position", "0"))
            self._keep = lambda text: self.page.responses.update({position: text})
        elif "prose" in classes:
            self._prose, self._depth, self._text = tag, 1, []

    def handle_endtag(self, tag: str) -> None:
        if not self._prose:
            return
        self._text.append(_gap(tag))
        self._depth -= tag == self._prose
        self._code = self._code and tag != "pre"
        if self._depth == 0:
            self._prose = ""
            self._keep(collapsed("".join(self._text)))

    def handle_data(self, data: str) -> None:
        if self._prose:  # a line's end is a space, but not in code
            self._text.append(data if self._code else data.replace("\n", " "))
