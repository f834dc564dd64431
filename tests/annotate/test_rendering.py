import gc
import os
import re
import signal
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.utils.safestring import SafeString

from annotate import rendering
from annotate.markup import CLASSES as KINDS
from annotate.markup import LONGEST_CODE, LONGEST_FORMULA
from annotate.rendering import CLASSES, MATH_ATTRIBUTES, TAGS, Kept, raw, render


class Parts(HTMLParser):
    """The elements and the text that a browser would find."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.other, self.text = [], [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, attributes))

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.other.append(data)

    handle_decl = handle_pi = unknown_decl = handle_comment


def assert_harmless(html):
    parts = Parts(html)
    assert not parts.other
    for tag, attributes in parts.elements:
        assert tag in TAGS | MATH_ATTRIBUTES.keys()
        for name, value in attributes:
            if name == "class":
                assert set(value.split()) <= CLASSES[tag]
            elif tag == "a":
                assert name in {"href", "rel"}
                if name == "href":
                    assert re.match(r"(https?://|mailto:)", value)
            elif tag == "ol":
                assert name == "start"
            else:
                assert name in MATH_ATTRIBUTES[tag]
                assert re.fullmatch(r"[a-z ]+|-?\d{0,2}(\.\d+)?(em|ex|rem|px)?", value)


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**bold** and *soft*", "<p><strong>bold</strong> and <em>soft</em></p>"),
        ("- a\n- b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
        ("`x < y`", "<p><code>x &lt; y</code></p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("", ""),
    ],
)
def test_markdown_becomes_html(markdown, html):
    assert render(markdown).strip() == html


def test_a_table_is_a_table():
    assert "<td>2</td>" in render("| a | b |\n|---|---|\n| 1 | 2 |")


# ---- hostile text

HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "![pixel](https://evil.example/p.png)",
    "![a][x]\n\n[x]: https://evil.example/p.png",
    "[![a](https://evil.example/p.png)](https://evil.example)",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java&#x73;cript:alert(1))",
    "[x](javascript&colon;alert(1))",
    "[x](&#1;javascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "<javascript:alert(1)>",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://evil.example/1)",
    "[x](/sign-out/)",
    "[x](sign-out/)",
    "[x](#main)",
    "[x](?next=1)",
    '[a](//evil.example "x")',
    '[a](https://evil.example "\\" onmouseover=\\"alert(1)")',
    "<https://evil.example/><b onclick=alert(1)>",
    '<a href="x" onmouseover="alert(1)">x</a>',
    '<a href="https://evil.example" ping="https://evil.example" target=_top download>x</a>',
    "<style>body{display:none}</style>",
    "<style>@import url(https://evil.example/a.css)</style>",
    '<link rel=stylesheet href="https://evil.example/a.css">',
    '<link rel=prefetch href="https://evil.example">',
    '<div style="position:fixed;inset:0">x</div>',
    '<div style="background:url(https://evil.example)">x</div>',
    '<form action="https://evil.example"><input name=q autofocus onfocus=alert(1)></form>',
    '<button formaction="javascript:alert(1)" form=comparison>x</button>',
    '<p hx-get="/sign-out/" hx-trigger="load">x</p>',
    '<p data-hx-get="/sign-out/" hx-on:load="alert(1)">x</p>',
    '<p data-key="0" data-do="panel">x</p>',
    '<input name=order value="1&gt;2">',
    "<iframe src=https://evil.example></iframe>",
    '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "<object data=https://evil.example></object><embed src=https://evil.example>",
    "<base href=https://evil.example/>",
    '<meta http-equiv=refresh content="0;url=https://evil.example">',
    "<svg/onload=alert(1)>",
    "<svg><use href=data:image/svg+xml;base64,PHN2Zz4=></use></svg>",
    "<svg><animate xlink:href=#x attributeName=href values=javascript:alert(1) /></svg>",
    "<svg><foreignObject><script>alert(1)</script></foreignObject></svg>",
    "<math href=javascript:alert(1)>x</math>",
    '<math><maction actiontype="statusline#http://evil.example" xlink:href="javascript:alert(1)">x</maction></math>',
    '<math><annotation-xml encoding="text/html"><script>alert(1)</script></annotation-xml></math>',
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=alert(1)&gt;">',
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "</textarea><script>alert(1)</script>",
    "</div></div></form></main><h1>Sign in again</h1>",
    "<template><script>alert(1)</script></template>",
    "<slot name=x></slot><custom-element is=x></custom-element>",
    '<p id=comparison name=csrfmiddlewaretoken class="votebar">x</p>',
    "<audio src=https://evil.example autoplay></audio><video poster=https://evil.example></video>",
    "<details open ontoggle=alert(1)>x</details>",
    "<dialog open>x</dialog><marquee onstart=alert(1)>x</marquee>",
    "<body onload=alert(1)><html><head>",
    "<!--<script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><!DOCTYPE html><!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "{{ request.user }} {% csrf_token %} {% load static %}",
    '[x]: https://evil.example "onload=alert(1)"\n\n![a][x]',
    "```html\n<script>alert(1)</script>\n```",
    '```" onmouseover="alert(1)\nx\n```',
    "```html onclick=alert(1)\n<img src=x onerror=alert(1)>\n```",
    "```<script>\nx\n```",
    "```../../etc/passwd\nx\n```",
    # born in rendering: harmless until a formula or colours are made of them
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{</math><img src=x onerror=alert(1)>}$",
    r"$\mathrm{<style>*{display:none}</style>}$",
    r"$\operatorname{</mi></math><script>alert(1)</script>}$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\style{position:fixed;inset:0}{x}$ $\class{votebar}{x}$ $\cssId{comparison}{x}$",
    r"$$\begin{align}x\label{comparison}\end{align}$$ $\eqref{comparison}$",
    r"$\includegraphics{https://evil.example/p.png}$ $\url{https://evil.example}$",
    r"$\color{white}x$ $\colorbox{red}{x}$ $\textcolor{url(https://evil.example)}{x}$",
    r"$\hspace{9999em}\rule{999em}{999em}\raisebox{-99em}{x}\kern-99em x$",
    r"$\newcommand{\a}{\a\a}\a$ $\def\b{\b\b}\b$",
    r"$\unicode{x3c}script\unicode{x3e}$ $\char60 script\char62$ $&#60;script&#62;$",
    "$\" onmouseover=\"alert(1)$ $' style='x$",
    "$$\n<script>alert(1)</script>\n$$",
    "\\[ <img src=x onerror=alert(1)> \\]",
    "\\begin{align}</math><script>alert(1)</script>\\end{align}",
    "```html\n<a href='javascript:alert(1)' class=hl-k onclick=x>\n</code></pre><script>\n```",
    "$x$" * 200 + "<script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_only_harmless_tags_and_attributes_come_out(text):
    assert_harmless(render(text))


def test_the_hostile_texts_would_be_noticed():
    for html in ("<script></script>", "<p onclick=x>", "<a href=/x>", "<p id=x>", "<p class=x>", "<!--x-->"):
        with pytest.raises((AssertionError, KeyError)):
            assert_harmless(html)


DEEP = {
    "quotes": "> " * 8000 + "x",
    "lists": "- " * 8000 + "x",
    "numbers": "1. " * 5000 + "x",
    "stress": "*a _b " * 5000,
    "stars": "*" * 32_000,
    "brackets": "[" * 32_000,
    "images": "![[](" * 6000,
    "backticks": "".join("`" * n + " " for n in range(1, 250)),
    "dollars": "$" * 32_000,
    "a dollar here and there": "$a " * 10_000,
    "unclosed formulas": "\\(x \\[y " * 3000,
    "unclosed lines of formulas": "$$x\n" * 6000,
    "angles": "<" * 32_000,
    "tables": "|a" * 8000 + "\n" + "|-" * 8000,
    "fences": "```python\n" * 3000,
    "many primes": "$f" + "'" * 3000 + "$ ",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_deep_and_long_text_stays_harmless_and_whole(text):
    html = render(text)

    assert_harmless(html)
    assert len(html) < 2_000_000


@pytest.mark.parametrize("sign", "[*$`")
def test_overlong_text_is_shown_plain_and_whole(sign):
    text = sign * 200_000

    assert render(text) == f"<pre>{text}</pre>"


DEADLY = {
    "exponential time in a formula": "$" + "(x" * 200 + "$",
    "a formula deeper than the stack": "$" + "^{" * (LONGEST_FORMULA // 2 - 1) + "$",
    "exponential time in a highlighter": '```scala\n"' + "\\" * 4000 + "\n```",
}


@pytest.mark.parametrize("text", DEADLY.values(), ids=DEADLY)
def test_what_kills_the_process_is_shown_without_colours_and_formulas(text):
    html = render(f"**before**\n\n{text}")

    assert "<strong>before</strong>" in html
    assert not {"<math>", "<span"} & set(re.findall("<[a-z]+>?", html))
    assert_harmless(html)
    assert render("**and** after") == "<p><strong>and</strong> after</p>\n"


def test_a_markup_process_that_ends_is_started_anew():
    render("one more")
    os.kill(rendering._markup._process.pid, signal.SIGKILL)
    rendering._markup._process.wait()

    assert render("*another*").strip() == "<p><em>another</em></p>"


def test_the_markup_process_knows_no_secret():
    render("anything, so that it runs")
    environment = Path(f"/proc/{rendering._markup._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")

    assert set(environment.read_bytes().split(b"\0")) <= {b"", b"LC_CTYPE=C.UTF-8"}


def test_what_would_hide_or_turn_text_is_shown():
    assert render("a\u202eb\x07c\ud800").strip() == "<p>a\ufffdb\ufffdc\ufffd</p>"


# ---- code


def test_code_of_a_named_language_is_coloured_with_few_classes():
    html = render("```python\ndef two():\n    return '2', 2  # <two>\n```")

    assert '<span class="hl-k">def</span>' in html
    assert '<span class="hl-f">two</span>' in html
    assert '<span class="hl-n">2</span>' in html
    assert '<span class="hl-c"># &lt;two&gt;</span>' in html
    assert Parts(html).text.strip() == "def two():\n    return '2', 2  # <two>"


@pytest.mark.parametrize("language", ["", "nothing-known", "text", "../x", "python" * 9])
def test_code_of_no_known_language_stays_plain(language):
    assert render(f"```{language}\nx = 1\n```") == "<pre><code>x = 1\n</code></pre>\n"


@pytest.mark.parametrize(
    "language", ["python", "javascript", "html", "bash", "diff", "json", "yaml", "pycon", "php"]
)
def test_colours_change_no_character_of_the_code(language):
    code = "\n\n  a = <b> 'c\" \\ # d\t\n>>> e\n$ f ÷\n+g\n\n"

    assert Parts(render(f"```{language}\n{code}```")).text == code + "\n"


def test_very_long_code_stays_plain():
    code = "x = 1\n" * (LONGEST_CODE // 6 + 1)

    assert "<span" not in render(f"```python\n{code}```")


# ---- formulas


@pytest.mark.parametrize(
    "text",
    [
        "$x^2$",
        "a \\(x^2\\) b",
        "$$x^2$$",
        "\\[x^2\\]",
        "\\[\nx^2\n\\]",
        "a\n$$\nx^2\n$$\nb",
        "> $$\n> x^2\n> $$",
    ],
)
def test_each_way_to_mark_a_formula_makes_mathml(text):
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in render(text)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $10.",
        "US$5/$10 or $20,000 and USD$30,000",
        "from $5-$10",
        "$HOME and $PATH",
        r"\$5 and \$6",
        "`$x$`",
        "$ x $",
        "$$",
    ],
)
def test_money_and_variables_are_no_formulas(text):
    assert "<math" not in render(text)


def test_lines_of_a_formula_begin_no_list_and_no_heading():
    html = render("$$\na\n+ b\n- c\n> d\n= e\n$$\n\nafter")

    assert html.count("<math") == 1
    assert not {"<ul>", "<blockquote>", "<h1>"} & set(re.findall("<[a-z0-9]+>", html))


def test_columns_of_a_formula_are_aligned_by_class():
    html = render(r"$$\begin{aligned}a &= b\\ c &= d\end{aligned}$$")

    assert '<mtd class="to-end near-end"><mi>a</mi></mtd>' in html


@pytest.mark.parametrize(
    "text", [r"$\unknown{x}$", r"$\frac{1$", r"$\newcommand{\a}{b}\a$", "$" + "x" * 5000 + "$"]
)
def test_a_formula_that_cannot_be_read_is_shown_as_it_was_written(text):
    assert render(text).strip() == f"<p><code>{text}</code></p>"


def test_formulas_stay_in_their_line_and_keep_the_colour_of_the_text():
    html = render(r"$\hspace{99em}\raisebox{9em}{a}\color{white}b\quad c$")

    assert "99em" not in html
    assert "9em" not in html
    assert "color" not in html
    assert '<mspace width="1em">' in html


# ---- raw


def test_raw_text_is_whole_and_shows_what_cannot_be_seen():
    text = "**a** <b>\r\n\u202ec\u200b\u200b\td\ud800" + "x" * 200_000

    html = raw(text)

    assert isinstance(html, SafeString)
    assert Parts(html).elements == [("span", [("class", "unseen")])] * 3
    assert Parts(html).text == "**a** <b>\nU+202EcU+200B U+200B\tdU+D800" + "x" * 200_000


def test_raw_text_keeps_the_joiners_that_words_and_emoji_need():
    assert raw("می\u200cخواهم 👩\u200d💻 ❤\ufe0f") == "می\u200cخواهم 👩\u200d💻 ❤\ufe0f"


# ---- what is kept


def test_what_is_kept_stays_below_its_bytes_however_long_the_texts_are():
    kept = Kept(1_000_000)
    for number in range(200):
        kept.put(str(number).encode(), SafeString("x" * 32_000))
        assert kept.size <= 1_000_000

    assert kept.get(b"0") is None
    assert kept.get(b"199") == "x" * 32_000
    assert kept.size == sum(Kept._bytes(html) for html in kept._rendered.values())


def test_what_was_used_last_is_kept_and_what_is_too_large_is_not():
    kept = Kept(100_000)
    kept.put(b"used", SafeString("u" * 30_000))
    kept.put(b"unused", SafeString("n" * 30_000))
    kept.get(b"used")
    kept.put(b"new", SafeString("é" * 30_000))
    kept.put(b"new", SafeString("w" * 30_000))
    kept.put(b"newer", SafeString("w" * 30_000))

    assert kept.get(b"unused") is None
    assert kept.get(b"used")
    kept.put(b"huge", SafeString("x" * 200_000))
    assert kept.get(b"huge") is None
    assert kept.size == 0


def test_a_text_is_rendered_once():
    first = render("rendered *once*")
    gc.collect()

    assert render("rendered *once*") is first


# ---- colours

STYLESHEET = (Path(rendering.__file__).parent.parent / "static" / "app.css").read_text(encoding="utf-8")


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def token(name, theme):
    light, dark = re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\)", STYLESHEET).groups()
    return luminance({"light": light, "dark": dark}[theme])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", sorted({kind for _, kind in KINDS}))
def test_each_colour_of_code_can_be_read_in_both_themes(kind, theme):
    rule = re.search(rf"\.{kind} {{([^}}]*)}}", STYLESHEET)[1]
    colour = re.search(r"color: var\(--([\w-]+)\)", rule)

    light, dark = sorted([token(colour[1] if colour else "ink", theme), token("tint", theme)], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
