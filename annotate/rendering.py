"""Markdown as models write it, turned into HTML that can do nothing: no script, image, style or request."""

import re
import unicodedata
from functools import lru_cache

import nh3
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

LONGEST = 32 * 1024  # bytes; rendering time grows faster than the text, beyond this it is shown plain
INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)  # controls, bidi overrides
TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}

_markdown = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True}).enable(
    ["table", "strikethrough"]
)
_markdown.disable("image")
_cleaner = nh3.Cleaner(
    tags=TAGS,
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
    strip_comments=True,
)


@lru_cache(maxsize=2048)
def render(text: str) -> SafeString:
    """The text as safe HTML; the one place where HTML is declared safe."""
    text = INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", text))
    if len(text.encode()) > LONGEST:
        return mark_safe(f"<pre>{escape(text)}</pre>")  # noqa: S308, escaped
    return mark_safe(_cleaner.clean(_markdown.render(text)))  # noqa: S308, cleaned by nh3 after rendering
