"""What must not be in the code, the templates and the scripts, because it is unsafe or says nothing."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("annotate", "bench", "config", "lm", "policy", "rewards", "runs", "worlds")
CODE = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
SCRIPTS = sorted((ROOT / "static").rglob("*.js"))

FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}  # reading them runs code
FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "yaml.load", "os.system", "os.popen", "csrf_exempt"}
FORBIDDEN_KEYWORDS = {"trust_remote_code", "shell", "allow_pickle"}
SAFE_HTML = {"mark_safe", "SafeString"}
SAFE_HTML_PLACES = {
    ("annotate/rendering.py", "render"),  # the one function that declares text to be harmless HTML
}
FORBIDDEN_IN_TEMPLATES = {
    "a style attribute": r"<[^>]*\sstyle\s*=",
    "a style element": r"<style\b",
    "a script in the page": r"<script\b(?![^>]*\ssrc=)",
    "a handler in an attribute": r"<[^>]*\s(on[a-z]+|hx-on[\w:.-]*)\s*=",
    "a script as an address": r"javascript:|hx-\w+=[\"']js:",
    "text declared safe": r"\|\s*safe(seq)?\b|{%\s*autoescape\s+off",
}
FORBIDDEN_IN_SCRIPTS = {
    "code from text": r"\beval\(|new Function\(|set(Timeout|Interval)\(\s*[\"'`]",
    "HTML from text": r"\.(inner|outer)HTML\s*=|insertAdjacentHTML|document\.write",
}
NAMES_THAT_SAY_NOTHING = {"utils.py", "helpers.py", "services.py", "common.py", "misc.py"}


def offences(code: str, file: str = "") -> Iterator[str]:
    """Line and name of what is forbidden in a Python file."""
    tree = ast.parse(code)
    allowed = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and (file, function.name) in SAFE_HTML_PLACES
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        match node:
            case ast.Import(names=names):
                yield from (f"{line}: {name.name}" for name in names if name.name in FORBIDDEN_MODULES)
            case ast.ImportFrom(module=module) if module in FORBIDDEN_MODULES:
                yield f"{line}: {module}"
            case ast.Call(func=function, keywords=keywords):
                called = ast.unparse(function)
                if called in FORBIDDEN_CALLS or (called in SAFE_HTML and id(node) not in allowed):
                    yield f"{line}: {called}"
                for keyword in keywords:
                    if keyword.arg in FORBIDDEN_KEYWORDS and ast.unparse(keyword.value) != "False":
                        yield f"{line}: {keyword.arg}"
            case ast.FunctionDef(decorator_list=decorators):
                yield from (
                    f"{line}: {name}" for name in map(ast.unparse, decorators) if name in FORBIDDEN_CALLS
                )
            case ast.Assign(targets=[ast.Name(id="fields")], value=ast.Constant(value="__all__")):
                yield f"{line}: fields of any name"


def matches(text: str, patterns: dict[str, str]) -> Iterator[str]:
    """Line and name of what is forbidden in a text."""
    for name, pattern in patterns.items():
        for match in re.finditer(pattern, text):
            yield f"{text.count(chr(10), 0, match.start()) + 1}: {name}"


def named(file: Path, found: Iterator[str]) -> list[str]:
    return [f"{file.relative_to(ROOT)}:{offence}" for offence in found]


def test_no_code_runs_data_or_declares_text_safe():
    found = []
    for file in CODE:
        found += named(file, offences(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix()))
    assert not found


def test_no_template_holds_script_or_style_or_trusts_text():
    assert not [
        offence
        for file in TEMPLATES
        for offence in named(file, matches(file.read_text(encoding="utf-8"), FORBIDDEN_IN_TEMPLATES))
    ]


def test_no_script_makes_code_or_html_from_text():
    assert not [
        offence
        for file in SCRIPTS
        for offence in named(file, matches(file.read_text(encoding="utf-8"), FORBIDDEN_IN_SCRIPTS))
    ]


def test_every_file_has_a_name_that_says_what_it_knows():
    assert not [file for file in CODE if file.name in NAMES_THAT_SAY_NOTHING]


def test_every_file_of_code_opens_with_a_sentence():
    silent = [
        str(file.relative_to(ROOT))
        for file in CODE
        if file.name != "__init__.py"
        and "migrations" not in file.parts
        and not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert not silent


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from marshal import loads",
        "torch.load(path)",
        "eval(text)",
        "yaml.load(text)",
        "mark_safe(text)",
        "load(name, trust_remote_code=True)",
        "class Meta:\n    fields = '__all__'",
        "@csrf_exempt\ndef view(request): ...",
        "run(command, shell=True)",
    ],
)
def test_forbidden_code_is_found(code):
    assert list(offences(code))


@pytest.mark.parametrize(("file", "function"), sorted(SAFE_HTML_PLACES))
def test_only_two_functions_declare_text_safe(file, function):
    code = f"def {function}(text):\n    return mark_safe(text)\n"
    assert not list(offences(code, file))
    assert list(offences(code, "annotate/views.py"))
    assert list(offences("def other(text):\n    return mark_safe(text)\n", file))


@pytest.mark.parametrize(
    "markup",
    [
        '<p class="a"\n  style="color: red">',
        "<style>p {}</style>",
        "<script>go()</script>",
        '<script type="module">go()</script>',
        '<button onclick="go()">',
        '<form hx-on:click="go()">',
        '<a href="javascript:go()">',
        "{{ text|safe }}",
        "{% autoescape off %}",
    ],
)
def test_forbidden_markup_is_found(markup):
    assert list(matches(markup, FORBIDDEN_IN_TEMPLATES))


@pytest.mark.parametrize(
    "markup", ['<script src="/static/app.js" defer></script>', '<p class="on">one = two</p>']
)
def test_harmless_markup_is_not_found(markup):
    assert not list(matches(markup, FORBIDDEN_IN_TEMPLATES))
