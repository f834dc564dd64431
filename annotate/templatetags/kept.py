"""`{% kept … %}`: a part of a page that is drawn once for all whose it looks the same to.

    {% load kept %}
    {% kept rules keys language %}…{% endkept %}

The arguments are all that the part depends on, but for what is put in anew each time: the form's token, the
assignment's key and the client key. So the rater's bar and dialogs cost nothing where raters wait.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

from django import template
from django.template.base import FilterExpression, NodeList, Parser, Token
from django.utils.safestring import SafeString
from django.utils.translation import get_language

register = template.Library()

MOST = 512  # parts that a process keeps, of some kilobytes each
TOKEN, KEY, CLIENT_KEY = (
    "\x00token\x00",
    "\x00key\x00",
    "\x00client\x00",
)  # a page holds no NUL: the model's text is cleaned of it
_parts: OrderedDict[Hashable, str] = OrderedDict()
_lock = Lock()


class KeptNode(template.Node):
    """The part between the tags."""

    def __init__(self, inner: NodeList, depends: list[FilterExpression], place: Hashable) -> None:
        self.inner, self.depends, self.place = inner, depends, place

    def render(self, context: template.Context) -> SafeString:
        """As it was drawn before, with this page's token and key."""
        key = (self.place, get_language(), *(_hashable(value.resolve(context)) for value in self.depends))
        with _lock:
            part = _parts.get(key)
        own = {
            TOKEN: str(context.get("csrf_token", "")),
            KEY: str(getattr(context.get("assignment"), "key", "")),
            CLIENT_KEY: str(context.get("client_key", "")),
        }
        if part is None:
            part = self.inner.render(context)
            for mark, text in own.items():
                part = part.replace(text, mark) if text else part
            with _lock:
                _parts[key] = part
                while len(_parts) > MOST:
                    _parts.popitem(last=False)
        for mark, text in own.items():
            part = part.replace(mark, text)
        return SafeString(part)


@register.tag
def kept(parser: Parser, token: Token) -> KeptNode:
    """Read what the part depends on."""
    depends = [parser.compile_filter(word) for word in token.split_contents()[1:]]
    inner = parser.parse(("endkept",))
    parser.delete_first_token()
    origin = parser.origin.name if parser.origin else ""
    return KeptNode(inner, depends, (origin, token.lineno))


def _hashable(value: Any) -> Hashable:
    """A value as part of a key."""
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return value if isinstance(value, Hashable) else repr(value)
