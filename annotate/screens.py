"""A comparison as raters get it, drawn once for all whose page differs only in what stands in it.

What comes anew with each comparison (its texts, its keys, the form's token, how far the rater is) is put into
a page that was drawn before with marks in their places. So a template costs nothing where raters wait.
"""

import re
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any

from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.html import escape
from django.utils.translation import get_language

TEMPLATE = "annotate/_comparison.html"
MOST = 128  # pages that a process keeps, of some kilobytes each
MARK = re.compile("\x00([a-z0-9 ]+)\x00")  # no page holds a NUL: it is taken out of what models write
_pages: OrderedDict[Hashable, Sequence[str]] = OrderedDict()
_lock = Lock()


def draw(request: HttpRequest, context: dict[str, Any]) -> str:
    """The comparison by itself, of what `views.rating.shown` says of it."""
    if context["before"] is not None:  # an answer stands in many places of the page
        return render_to_string(TEMPLATE, context, request)
    key, fresh = _depends(request, context), _fresh(request, context)
    with _lock:
        page = _pages.get(key)
    if page is None:
        page = MARK.split(_with_marks(request, context, fresh))
        with _lock:
            _pages[key] = page
            while len(_pages) > MOST:
                _pages.popitem(last=False)
    return "".join(fresh[piece] if place % 2 else piece for place, piece in enumerate(page))


def _depends(request: HttpRequest, context: dict[str, Any]) -> Hashable:
    """All that the page depends on but for what comes anew."""
    return (
        get_language(),
        request.COOKIES.get("theme"),
        vars(request).get("role"),
        tuple(context["keys"].items()),
        context["project"].slug,
        context["project"].name,
        context["rules"],
        context["assignment"].guideline_id,
        context["plain"],
        context["training"],
        context["fold"],
        tuple(turn["role"] for turn in [*context["earlier"], context["asked"]]),
        len(context["sides"]),
    )


def _fresh(request: HttpRequest, context: dict[str, Any]) -> dict[str, str]:
    """What comes anew, as it stands in the page."""
    fresh = {
        "token": get_token(request),
        "key": str(context["assignment"].key),
        "client key": str(context["client_key"]),
        "person": escape(str(request.user)),
        "number": str(context["number"]),
        "share": str(context["share"]),
    }
    for place, turn in enumerate([*context["earlier"], context["asked"]]):
        fresh[f"turn {place}"] = turn["html"]
    for side in context["sides"]:
        for name in ("html", "raw", "words"):
            fresh[f"{name} {side['position']}"] = side[name]
    return fresh


def _with_marks(request: HttpRequest, context: dict[str, Any], fresh: dict[str, str]) -> str:
    """The page as a template draws it, with marks in place of what comes anew."""
    turns = [
        {**turn, "html": _mark(f"turn {place}")}
        for place, turn in enumerate([*context["earlier"], context["asked"]])
    ]
    sides = [
        {**side, **{name: _mark(f"{name} {side['position']}") for name in ("html", "raw", "words")}}
        for side in context["sides"]
    ]
    marked = {
        **context,
        "user": _mark("person"),
        "number": _mark("number"),
        "share": _mark("share"),
        "earlier": turns[:-1],
        "asked": turns[-1],
        "sides": sides,
        "csrf_token": _mark("token"),
    }
    page: str = render_to_string(TEMPLATE, marked, request)
    for name in ("key", "client key"):  # they are part of addresses, which take no marks
        page = page.replace(fresh[name], _mark(name))
    return page


def _mark(name: str) -> str:
    return f"\x00{name}\x00"
