"""One log format: a line an event, secrets of addresses left out, nothing that can steer a terminal."""

import logging
import re

USERINFO = re.compile(r"(://)[^\s/@]+@")
ONE_TIME_LINK = re.compile(r"(/sign-in/)[\w-]{20,}")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class PlainFormatter(logging.Formatter):
    """Time, level, logger, message; a traceback follows indented."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format, then take out passwords in addresses, one-time links and control characters."""
        text = USERINFO.sub(r"\1…@", super().format(record))
        text = ONE_TIME_LINK.sub(r"\1…", text)
        text = CONTROL.sub(lambda match: repr(match.group())[1:-1], text)
        return text.replace("\n", "\n    ")
