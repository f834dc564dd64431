import re

import pytest

from annotate.rendering import LONGEST, TAGS, render


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**bold** and *soft*", "<p><strong>bold</strong> and <em>soft</em></p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("`x < y`", "<p><code>x &lt; y</code></p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
    ],
)
def test_markdown_becomes_html(markdown, html):
    assert render(markdown).strip() == html


def test_a_table_is_a_table():
    assert "<td>2</td>" in render("| a | b |\n|---|---|\n| 1 | 2 |")


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![pixel](https://evil.example/p.png)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "<https://evil.example/><b onclick=alert(1)>",
    '<a href="x" onmouseover="alert(1)">x</a>',
    "<style>body{display:none}</style>",
    '<div style="position:fixed;inset:0">x</div>',
    '<form action="https://evil.example"><input name=q></form>',
    '<p hx-get="/sign-out/" hx-trigger="load">x</p>',
    "<iframe src=https://evil.example></iframe>",
    "<svg/onload=alert(1)>",
    "</textarea><script>alert(1)</script>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '[x]: https://evil.example "onload=alert(1)"\n\n![a][x]',
    "```html\n<script>alert(1)</script>\n```",
    '[a](//evil.example "x")',
    "<!--<script>alert(1)</script>-->",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_only_harmless_tags_and_attributes_come_out(text):
    html = render(text)

    for tag, attributes in re.findall(r"<([a-z0-9]+)([^>]*)>", html):
        assert tag in TAGS
        for name, value in re.findall(r'([a-z-]+)="([^"]*)"', attributes):
            assert name in {"href", "rel", "start"}
            if name == "href":
                assert value.startswith(("https://", "http://", "mailto:"))


def test_overlong_text_is_shown_plain_and_whole():
    text = "![](" * (LONGEST // 4 + 1)

    assert render(text) == f"<pre>{text}</pre>"


def test_what_would_hide_or_turn_text_is_shown():
    assert render("a\u202eb\x07c").strip() == "<p>a\ufffdb\ufffdc</p>"
