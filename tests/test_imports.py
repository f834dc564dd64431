"""The picture of who may import whom, as a table, held against the source and against real processes."""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parent.parent
FREE = ("config", "tests", "bench")  # config knows all others; nothing of ours imports the other two

TORCH_FREE = {"lm.records", "lm.config", "lm.run_directory", "lm.model_files"}
TENSORS = {"torch", "transformers", "safetensors", "tokenizers", "numpy"}
PAGES = {"django", "django_htmx", "nh3"}
# part: (parts of ours, packages of others); the standard library is for all. A longer name wins over a
# shorter one, so `policy` does not speak for `policy.app`.
MAY_IMPORT = {
    "lm": (TORCH_FREE, TENSORS),
    "lm.records": ({"lm.config"}, set()),
    "lm.config": (set(), set()),
    "lm.run_directory": ({"lm.config"}, set()),
    "lm.model_files": (set(), set()),
    "rewards": ({"lm", "rewards.adapters", "rewards.config", "rewards.gates", *TORCH_FREE}, TENSORS),
    "rewards.adapters": ({"lm", *TORCH_FREE}, TENSORS | {"peft"}),
    "rewards.config": (TORCH_FREE, set()),
    "rewards.gates": (set(), set()),
    "rewards.app": ({"annotate", "runs", "rewards.config", "rewards.gates", *TORCH_FREE}, PAGES),
    "policy": ({"lm", "rewards", "rewards.config", "policy.config", *TORCH_FREE}, TENSORS),
    "policy.config": (TORCH_FREE, set()),
    "policy.app": (
        {"annotate", "runs", "rewards.app", "rewards.config", "policy.config", *TORCH_FREE},
        PAGES,
    ),
    "policy.app.management.commands.demo": (
        {"annotate", "policy.app", "runs", "worlds", "rewards.app", *TORCH_FREE},
        PAGES,
    ),
    "runs": (TORCH_FREE, {"django", "celery", "kombu", "billiard"}),
    "annotate": (
        {
            "runs",
            "worlds.config",
            "annotate.markup",
            "annotate.import_formats",
            "annotate.prepared",
            *TORCH_FREE,
        },
        PAGES,
    ),
    "annotate.prepared": (set(), {"django", "psycopg"}),
    "annotate.quality": ({"annotate", *TORCH_FREE}, {"numpy", "scipy", "pandas", "evalica"}),
    "annotate.measure": ({"annotate", "annotate.quality", *TORCH_FREE}, {"numpy"}),
    "annotate.twins": ({"annotate", *TORCH_FREE}, {"numpy"}),
    "annotate.import_formats": ({"annotate", *TORCH_FREE}, {"pyarrow"}),
    "annotate.markup": (set(), {"markdown_it", "pygments", "math_core"}),
    "annotate.management.commands.simulate_raters": (
        {"annotate", "runs", "worlds", "worlds.config", *TORCH_FREE},
        PAGES,
    ),
    "starter": (TORCH_FREE, set()),
    "starter.acceptance": ({"lm", "starter", *TORCH_FREE}, TENSORS),
    "worlds": ({"worlds.config", *TORCH_FREE}, {"numpy"}),
    "worlds.config": (TORCH_FREE, set()),
}
HEAVY = {"torch", "transformers", "numpy", "scipy", "pandas", "pyarrow", "evalica"}


def part_of(module: str) -> str:
    """The longest name of the table that the module is or lies in; else its package."""
    names = [part for part in MAY_IMPORT if f"{module}.".startswith(f"{part}.")]
    return max(names, key=len, default=module.partition(".")[0])


def modules(*packages: str) -> dict[str, Path]:
    """Names and files of all modules in the packages that exist."""
    found = {}
    for package in packages:
        for file in sorted((ROOT / package).rglob("*.py")):
            words = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(words[:-1] if words[-1] == "__init__" else words)] = file
    return found


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of what a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: imports here are absolute"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                path = ROOT / whole.replace(".", "/")
                yield node.lineno, whole if path.is_dir() or path.with_suffix(".py").exists() else node.module


SOURCES = modules(*sorted({part.split(".")[0] for part in MAY_IMPORT}))
OURS = {part.split(".")[0] for part in MAY_IMPORT} | set(FREE)


@pytest.mark.parametrize("part", sorted({part_of(module) for module in SOURCES}))
def test_a_part_imports_only_what_the_picture_allows(part):
    ours, others = MAY_IMPORT[part]
    wrong = []
    for module, file in SOURCES.items():
        if part_of(module) != part:
            continue
        for line, imported in imports(file):
            package = imported.split(".")[0]
            allowed = (
                part_of(imported) in {part, *ours}
                if package in OURS
                else package in others or package in sys.stdlib_module_names
            )
            if not allowed:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {imported}")
    assert not wrong, "\n".join(wrong)


def test_the_picture_knows_every_package_of_the_repository():
    packages = {file.parent.name for file in ROOT.glob("*/*.py")}
    assert packages <= OURS, "a new package needs its line in MAY_IMPORT"


def loaded_by(code: str, **environment: str) -> set[str]:
    """The top-level names in `sys.modules` after a fresh process has run the code."""
    report = "import sys; print('\\n'.join(sys.modules), file=sys.__stdout__)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_web_process_with_all_kinds_of_jobs_loads_no_numbers_library_and_no_robot(tmp_path):
    environment = {"RANKLOOP_DATA": str(tmp_path), "RANKLOOP_SECRET_KEY": settings.SECRET_KEY}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity=0"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        check=True,
    )
    loaded = loaded_by(
        "import config.wsgi\n"
        "from django.urls import get_resolver\n"
        "from runs.kinds import get\n"
        "assert get_resolver().url_patterns and get('simulated-raters')\n"
        "assert get('reward-model') and get('ppo') and get('round-samples') and get('try-policies')",
        RANKLOOP_PROCESS="web",
        **environment,
    )
    assert "annotate.views.rating" in loaded
    assert loaded.isdisjoint(HEAVY)
    assert {name for name in loaded if part_of(name) == "worlds"} <= {"worlds"}  # the empty package itself


@pytest.mark.parametrize("package", [name for name in ("lm", "rewards", "policy", "worlds") if modules(name)])
def test_a_library_loads_no_django(package):
    parts = {package, f"{package}.config", *TORCH_FREE}
    names = [name for name in modules(package) if part_of(name) in parts]
    if package != "worlds" and importlib.util.find_spec("torch") is None:
        names = [name for name in names if part_of(name) != package or name == package]
    assert {"django", "celery"}.isdisjoint(loaded_by("".join(f"import {name}\n" for name in names)))


def test_what_pages_and_libraries_share_needs_the_standard_library_alone():
    names = [name for name in SOURCES if not MAY_IMPORT[part_of(name)][1]]
    loaded = loaded_by("".join(f"import {name}\n" for name in names))
    assert loaded.isdisjoint({*HEAVY, "django", "celery"})
