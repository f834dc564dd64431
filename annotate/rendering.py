"""Markdown as models write it, turned into HTML that can do nothing: no script, image, style or request."""

import atexit
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import unicodedata
from collections import OrderedDict
from pathlib import Path

import nh3
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

LONGEST = 32 * 1024  # bytes; rendering time grows faster than the text, beyond this it is shown plain
PATIENCE = 20.0  # seconds; the markup process gets one of the processor, which may be busy
KEPT = 16 << 20  # bytes of HTML that each process remembers

# Controls, bidi overrides and halves of characters, which no page can hold.
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# The same and what has no width. Joiners and selectors of variants are left out: words and emoji need them.
UNSEEN = re.compile(
    "([\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]+)"
)

TAGS = {
    *("p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
MATH_ATTRIBUTES = {
    "math": {"display"},
    "mrow": set[str](),
    "mi": {"mathvariant"},
    "mn": set[str](),
    "mo": {
        "accent",
        "form",
        "lspace",
        "rspace",
        "minsize",
        "maxsize",
        "movablelimits",
        "stretchy",
        "symmetric",
    },
    "mtext": set[str](),
    "mspace": {"width"},
    "mfrac": {"linethickness", "displaystyle"},
    "msqrt": set[str](),
    "mroot": set[str](),
    "mstyle": {"displaystyle", "scriptlevel"},
    "mpadded": {"width", "height", "depth", "voffset"},
    "mphantom": set[str](),
    "menclose": {"notation"},
    "msub": set[str](),
    "msup": set[str](),
    "msubsup": set[str](),
    "munder": {"accentunder"},
    "mover": {"accent"},
    "munderover": {"accent", "accentunder"},
    "mmultiscripts": set[str](),
    "mprescripts": set[str](),
    "mtable": {"displaystyle", "scriptlevel"},
    "mtr": set[str](),
    "mtd": set[str](),
}
CLASSES = {
    "span": {"hl-c", "hl-k", "hl-s", "hl-n", "hl-f", "hl-i", "hl-d", "formula", "long-formula"},
    "mtable": {"whole"},
    "mtd": {
        *("to-start", "to-end", "near-start", "near-end", "far-start", "half"),
        *("line-top", "line-start", "line-end"),
    },
}
LENGTH = re.compile(r"(-?\d{0,2}(?:\.\d{1,12})?)(em|ex|rem|px)?")
WORDS = re.compile(r"[a-z ]{1,40}")


def _harmless(tag: str, name: str, value: str) -> str | None:
    """The value of an attribute, unless a formula would reach out of its line with it."""
    if name not in MATH_ATTRIBUTES.get(tag, ()) or WORDS.fullmatch(value):
        return value
    length = LENGTH.fullmatch(value)
    most = {"px": 64.0, "ex": 8.0}.get(length[2], 4.0) if length else 0.0
    return value if length and -most / 4 <= float(length[1] or 0) <= most else None


_cleaner = nh3.Cleaner(
    tags=TAGS | MATH_ATTRIBUTES.keys(),
    attributes={"*": set(), "a": {"href"}, "ol": {"start"}, **MATH_ATTRIBUTES},
    attribute_filter=_harmless,
    allowed_classes=CLASSES,
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer nofollow ugc",
    strip_comments=True,
)


class Kept:
    """What was rendered before, by a hash of its text: the latest used, up to a sum of bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self._rendered: OrderedDict[bytes, SafeString] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: bytes) -> SafeString | None:
        """What is kept under the key, if anything; it counts as used."""
        with self._lock:
            if (found := self._rendered.get(key)) is not None:
                self._rendered.move_to_end(key)
            return found

    def put(self, key: bytes, html: SafeString) -> None:
        """Keep it, and let go of what was used longest ago."""
        with self._lock:
            if (replaced := self._rendered.pop(key, None)) is not None:
                self.size -= self._bytes(replaced)
            self._rendered[key] = html
            self.size += self._bytes(html)
            while self.size > self.most:
                _, oldest = self._rendered.popitem(last=False)
                self.size -= self._bytes(oldest)

    @staticmethod
    def _bytes(html: SafeString) -> int:
        return sys.getsizeof(html) + 256  # the key and the dictionary's own


class Markup:
    """The process that makes HTML of text (`annotate.markup`), started when it is asked and not there."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0  # a fork has our process in its memory, and must start its own
        self._lock = threading.Lock()

    def html(self, text: str) -> str | None:
        """The text as HTML, if need be without colours and formulas; nothing where that is too much too."""
        with self._lock:
            for plainly in (False, True):
                if answer := self._ask(json.dumps([text, plainly]).encode() + b"\n"):
                    return str(json.loads(answer))
        return None

    def stop(self) -> None:
        """End the process."""
        if self._process and self._owner == os.getpid():
            self._process.kill()
            self._process.wait()
            self._socket.close()
        self._process = None

    def _ask(self, question: bytes) -> bytes:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.stop()
            self._start()
        try:
            self._socket.sendall(question)
            answer = self._answers.readline()
        except OSError:
            answer = b""
        if not answer:  # its time was over, or its stack
            self.stop()
        return answer

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        self._answers = self._socket.makefile("rb")
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "annotate.markup"],
                cwd=Path(__file__).resolve().parent.parent,
                env={},  # what reads hostile text knows no secret
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
            )
        self._owner = os.getpid()


_kept = Kept(KEPT)
_markup = Markup()
atexit.register(_markup.stop)


def render(text: str) -> SafeString:
    """The text as safe HTML; the one place where HTML is declared safe."""
    key = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if (kept := _kept.get(key)) is not None:
        return kept
    shown = INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", unicodedata.normalize("NFC", text))
    markup = _markup.html(shown) if len(shown.encode()) <= LONGEST else None
    html = format_html("<pre>{}</pre>", shown)
    if markup is not None:
        html = mark_safe(_cleaner.clean(markup))  # noqa: S308, cleaned by nh3 after rendering
    _kept.put(key, html)
    return html


def raw(text: str) -> SafeString:
    """The text as it is stored, whole; characters that cannot be seen are named."""
    pieces = UNSEEN.split(text.replace("\r\n", "\n"))
    if len(pieces) == 1:
        return escape(pieces[0])
    return format_html_join("", "{}{}", zip(pieces[::2], [*map(_names, pieces[1::2]), ""], strict=True))


def _names(characters: str) -> SafeString:
    return format_html(
        '<span class="unseen">{}</span>', " ".join(f"U+{ord(each):04X}" for each in characters)
    )
