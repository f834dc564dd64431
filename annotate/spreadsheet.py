"""CSV that a spreadsheet opens as text and numbers, never as a formula."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from django.http import StreamingHttpResponse

DANGEROUS = "=+-@|\t\r\n"  # what makes a cell a formula, also in its full-width forms


def guarded(value: object) -> object:
    """A cell that no spreadsheet runs: text that begins like a formula gets an apostrophe before it."""
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    seen = "".join(letter for letter in text if unicodedata.category(letter) != "Cf").lstrip(" \u00a0\u3000")
    first = unicodedata.normalize("NFKC", seen[:1])
    return f"'{text}" if (first and first in DANGEROUS) or text.startswith("'") else text


def lines(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """A header and rows, a line at a time, every text in quotes."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(header)
    for row in rows:
        writer.writerow([guarded(value) for value in row])
        if file.tell() > 32_000:
            yield file.getvalue()
            file.seek(0)
            file.truncate()
    yield file.getvalue()


def download(name: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> StreamingHttpResponse:
    """The rows as a file to keep."""
    response = StreamingHttpResponse(lines(header, rows), content_type="text/csv; charset=utf-8")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
