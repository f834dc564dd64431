"""Markdown with code and formulas as HTML, made in a process of its own: `python -m annotate.markup`.

What models write is hostile, and a parser cannot be stopped from outside while it runs in our process:
nested brackets cost it quadratic time, some patterns of a highlighter and unclosed parentheses in a formula
exponential time, deep nesting its stack. Here a text gets a second of the processor, and where that ends,
or the stack, the process does. What comes out is not safe yet: `annotate.rendering` asks for it and
cleans it.
"""

import json
import re
import resource
import signal
import sys
from collections.abc import Callable
from functools import cache
from html import escape
from itertools import groupby
from operator import itemgetter
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

SECONDS = 1.0  # of the processor, for one text
MEMORY = 1 << 30  # bytes of addresses
LONGEST_CODE = 16 * 1024  # characters of a block that are still coloured
LONGEST_FORMULA = 4000  # characters
LONGEST_MATHML = 256 * 1024  # characters in one text; a formula can grow fiftyfold
LANGUAGE = re.compile(r"[\w+#.-]{1,32}")

FORMS = ("dollars", "dollar", "round", "square", "environment")
LONG_LINE = 40  # characters of a formula that may not fit a narrow column, and then scrolls by itself

# Kinds of tokens by the start of their name, the longer one first.
CLASSES = (
    ("Comment.Preproc", "hl-k"),
    ("Comment", "hl-c"),
    ("Keyword", "hl-k"),
    ("Operator.Word", "hl-k"),
    ("Name.Tag", "hl-k"),
    ("Name.Function", "hl-f"),
    ("Name.Class", "hl-f"),
    ("Name.Decorator", "hl-f"),
    ("Literal.String", "hl-s"),
    ("Literal", "hl-n"),
    ("Generic.Inserted", "hl-i"),
    ("Generic.Deleted", "hl-d"),
    ("Generic.Heading", "hl-f"),
    ("Generic.Subheading", "hl-f"),
    ("Generic.Prompt", "hl-c"),
    ("Generic.Output", "hl-c"),
)

# As pandoc reads dollars, so that money stays money: no space inside them, and no letter or digit outside.
INLINE_FORMULA = re.compile(
    r"""
      \$\$ (?P<dollars> (?: \\. | [^\\$] | \$(?!\$) )+? ) \$\$
    | (?<![\w$]) \$ (?=[^\s$]) (?P<dollar> (?: \\. | [^\\$] )+ ) (?<!\s) \$ (?![\w$])
    | \\\( (?P<round> (?: \\[^()] | [^\\] )+? ) \\\)
    | \\\[ (?P<square> (?: \\[^\[\]] | [^\\] )+? ) \\\]
    | (?P<environment> \\begin\{(?P<name> (?:equation|align|alignat|gather|multline|flalign)\*?)\}
        .+? \\end\{(?P=name)\} )
    """,
    re.VERBOSE | re.DOTALL,
)
BLOCK_FORMULA = re.compile(r"\$\$|\\\[|\\begin\{(?:equation|align|alignat|gather|multline|flalign)\*?\}")
CLOSED_BY = {"$$": "$$", "\\[": "\\]"}

TAG = re.compile(r"<[a-z]+ [^<>]*>")
STYLE = re.compile(r' (?:style|class)="([^"]*)"')
STYLES = {  # what the converter writes as style, by our classes; the rest, colours among it, is left out
    "text-align: left": "to-start",
    "text-align: right": "to-end",
    "padding-left: 0": "near-start",
    "padding-right: 0": "near-end",
    "padding-left:1em": "far-start",
    "width: 100%": "whole",
    "width: 50%": "half",
    "border-top: ": "line-top",
    "border-left: ": "line-start",
    "border-right: ": "line-end",
}


def html(text: str, *, plainly: bool) -> str:
    """The text as HTML, not yet cleaned; plainly is without colours and formulas."""
    return str((_plain if plainly else _markdown).render(text))


def highlighted(code: str, language: str) -> str:
    """The code as escaped text in which spans of few classes tell comments, words, strings and numbers."""
    if len(code) > LONGEST_CODE or not LANGUAGE.fullmatch(language):
        return escape(code)
    from pygments.lexers import get_lexer_by_name  # noqa: PLC0415, few texts need it
    from pygments.util import ClassNotFound  # noqa: PLC0415

    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return escape(code)
    pieces = ((_class(kind), piece) for _, kind, piece in lexer.get_tokens_unprocessed(code))
    parts = []
    for name, alike in groupby(pieces, key=itemgetter(0)):
        shown = escape("".join(piece for _, piece in alike))
        parts.append(f'<span class="{name}">{shown}</span>' if name else shown)
    return "".join(parts)


@cache
def _class(kind: tuple[str, ...]) -> str:
    name = ".".join(kind)
    return next((css for start, css in CLASSES if name.startswith(start)), "")


def mathml(source: str, *, display: bool) -> str:
    """The formula as MathML with classes of ours; nothing if it is none that we can read."""
    if len(source) > LONGEST_FORMULA:
        return ""
    from math_core import LatexError, LatexToMathML  # noqa: PLC0415, few texts need it

    converter = LatexToMathML(fancy_error=False, max_expansions=0)  # no commands of the text's own
    try:
        made = converter.convert_with_local_state(source, displaystyle=display)
    except LatexError:
        return ""
    return TAG.sub(lambda tag: STYLE.sub(_classes, tag[0]), made)


def main() -> None:
    """Answer each line, a JSON list of text and manner, with a line of JSON, until there are no more."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for line in sys.stdin.buffer:
        text, plainly = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends a process that does not expect it
        answer = json.dumps(html(text, plainly=plainly))
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


def _classes(attribute: re.Match[str]) -> str:
    names = [name for style, name in STYLES.items() if style in attribute[1]]
    return f' class="{" ".join(names)}"' if names else ""


def _inline_formula(state: StateInline, silent: bool) -> bool:
    """Read a formula inside of a paragraph, whatever marks it."""
    if state.src[state.pos] not in "$\\":
        return False
    found = INLINE_FORMULA.match(state.src, state.pos)
    if found is None:
        return False
    if not silent:
        token = state.push("formula", "math", 0)
        token.content = next(found[name] for name in FORMS if found[name] is not None)
        token.markup = found[0]
        token.meta = {"display": found["dollar"] is None and found["round"] is None}
    state.pos = found.end()
    return True


def _block_formula(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Read a formula that has lines of its own, in which a plus or a hash begins nothing."""
    start = state.bMarks[first] + state.tShift[first]
    opener = BLOCK_FORMULA.match(state.src, start)
    if opener is None or state.is_code_block(first):
        return False
    is_environment = opener[0].startswith("\\begin")
    closer = CLOSED_BY.get(opener[0]) or opener[0].replace("\\begin", "\\end")
    lines: list[str] = []
    size = 0
    for line in range(first, end):
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
        if text and state.sCount[line] < state.blkIndent:
            return False  # the list or quote around it ended
        size += len(text) + 1
        if size > LONGEST_FORMULA:
            return False
        if line == first:
            text = text[len(opener[0]) :]
        before, found, after = text.partition(closer)
        lines.append(before)
        if not found:
            continue
        source = "\n".join(lines)
        if after.strip() or not source.strip():
            return False
        if not silent:
            state.line = line + 1
            token = state.push("formula_block", "math", 0)
            token.markup = opener[0] + source + closer
            token.content = token.markup if is_environment else source
            token.map = [first, state.line]
        return True
    return False


def _show_code(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    language, _, _ = tokens[index].info.strip().partition(" ")
    return f"<pre><code>{highlighted(tokens[index].content, language)}</code></pre>\n"


def _show_formula(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[index]
    is_block = token.type == "formula_block"
    display = is_block or bool(token.meta["display"])
    made = mathml(token.content.strip(), display=display)
    env["mathml"] = env.get("mathml", 0) + len(made)
    if not made or env["mathml"] > LONGEST_MATHML:
        return (
            f"<pre><code>{escape(token.markup)}</code></pre>\n"
            if is_block
            else f"<code>{escape(token.markup)}</code>"
        )
    if display:
        made = f'<span class="formula">{made}</span>'
    elif len(token.content) > LONG_LINE:
        made = f'<span class="long-formula">{made}</span>'
    return f"<p>{made}</p>\n" if is_block else made


def _parser(*rules: Callable[[MarkdownIt], Any]) -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": False, "linkify": False, "breaks": True})
    markdown.enable(["table", "strikethrough"]).disable("image")
    for rule in rules:
        markdown.use(rule)
    return markdown


def _formulas_and_code(markdown: MarkdownIt) -> None:
    markdown.inline.ruler.before("escape", "formula", _inline_formula)
    markdown.block.ruler.before(
        "fence", "formula_block", _block_formula, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    markdown.add_render_rule("formula", _show_formula)
    markdown.add_render_rule("formula_block", _show_formula)
    markdown.add_render_rule("fence", _show_code)


_plain = _parser()
_markdown = _parser(_formulas_and_code)

if __name__ == "__main__":
    main()
