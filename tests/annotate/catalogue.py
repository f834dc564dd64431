"""What is to be translated, read from templates and modules, and what a catalogue holds; needs no gettext."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation.template import templatize

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
FUNCTIONS = ("_", "gettext", "gettext_lazy", "gettext_noop", "ngettext", "ngettext_lazy")
TEXT = r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
CALL = re.compile(rf"\b(n?gettext|_)\(\s*({TEXT})(?:,\s*({TEXT}))?")
Key = tuple[str, str | None]  # what is said of one, and of several where that is another


@dataclass
class Entry:
    """One text of a catalogue file."""

    key: Key
    forms: list[str]
    fuzzy: bool


def in_templates() -> Iterator[Key]:
    """Every text that a template marks for translation."""
    for path in sorted(TEMPLATES.rglob("*.html")):
        for call in CALL.finditer(templatize(path.read_text())):
            several = ast.literal_eval(call[3]) if call[1] == "ngettext" else None
            yield ast.literal_eval(call[2]), several


def in_modules() -> Iterator[Key]:
    """Every text that our Python hands to gettext."""
    for package in ("annotate", "config", "policy", "rewards", "runs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for call in ast.walk(ast.parse(path.read_text())):
                if isinstance(call, ast.Call) and name_of(call.func) in FUNCTIONS:
                    texts = [one.value for one in call.args if isinstance(one, ast.Constant)]
                    if texts:
                        yield texts[0], texts[1] if name_of(call.func).startswith("n") else None


def name_of(called: ast.expr) -> str:
    """The name of what is called."""
    return getattr(called, "id", getattr(called, "attr", ""))


def read(path: Path) -> list[Entry]:
    """The entries of a .po file; the first is its head."""
    found, last = [], ""
    for block in path.read_text().split("\n\n"):
        fields: dict[str, str] = {}
        for name, text in re.findall(r'^(\w[^ ]*)? ?(".*")$', block, re.M):
            last = name or last
            fields[last] = fields.get(last, "") + ast.literal_eval(text)
        key = fields.pop("msgid"), fields.pop("msgid_plural", None)
        found.append(Entry(key, [*fields.values()], "fuzzy" in re.findall(r"^#,.*?\b(fuzzy)\b", block, re.M)))
    return found


def compiled(entries: Iterable[Entry]) -> dict[object, str]:
    """The entries as `gettext.GNUTranslations` holds them when it has read the .mo."""
    return {
        (entry.key[0], number) if entry.key[1] else entry.key[0]: text
        for entry in entries
        for number, text in enumerate(entry.forms)
    }


def raters_templates() -> list[Path]:
    """The pages without the admin's frame, and the parts of pages that they include."""
    parents = {
        path: re.search(r'{% extends "(.+?)"', path.read_text())
        for path in TEMPLATES.rglob("*.html")
        if "admin" not in path.parts
    }

    def framed(path: Path) -> bool:
        above = parents[path]
        return path.name == "app.html" or bool(above and framed(TEMPLATES / above[1]))

    found = {path for path, above in parents.items() if above and not framed(path)}
    waiting = [*found]
    while waiting:
        for name in re.findall(r'{% include "(.+?)"', waiting.pop().read_text()):
            if TEMPLATES / name not in found:
                found.add(TEMPLATES / name)
                waiting.append(TEMPLATES / name)
    return sorted(found)


def bare_words(template: str) -> list[str]:
    """What a template says in plain letters, outside its tags and those of HTML."""
    template = re.sub(r"{% blocktranslate.*?{% endblocktranslate %}", "", template, flags=re.S)
    template = re.sub(r"{% block width %}.*?{% endblock width %}", "", template)
    template = re.sub(r"{%.*?%}|{{.*?}}", "", template, flags=re.S)
    named = re.findall(r'\b(?:aria-label|alt|title|placeholder)="([^"]*)"', template)
    template = re.sub(r"<(kbd|code|pre)\b.*?</\1>", "", template, flags=re.S)
    visible = re.sub(r"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>", " ", template)
    return re.findall(r"[^\W\d_]{2,}", " ".join([visible, *named]))
