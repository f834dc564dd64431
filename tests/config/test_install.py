import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from config import install

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    """Files of requirements of our own, and a place for notes."""
    folder = tmp_path / "requirements"
    folder.mkdir()
    for name in ("data", "train", "torch"):
        (folder / f"{name}.txt").write_text("# nothing\n")
    monkeypatch.setattr(install, "BASE_DIR", tmp_path)
    monkeypatch.setattr(install, "VIRTUAL_ENVIRONMENT", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


def test_what_is_installed_is_noted_and_not_missing_again(requirements):
    assert install.missing("train") == ["torch", "train"]  # torch first: others in the lock need it
    assert install.install("train") == ""
    assert install.missing("train") == ["torch"]


def test_a_changed_file_of_requirements_is_missing_again(requirements):
    install.install("data")
    (requirements / "data.txt").write_text("# something else\n")
    assert install.missing("light") == ["data"]


def test_torch_of_another_index_is_missing_again(requirements, monkeypatch):
    install.install("torch")
    install.install("train")
    assert install.missing("train") == []
    monkeypatch.setenv("RANKLOOP_TORCH_INDEX", "https://example.org/cpu")
    assert install.missing("train") == ["torch"]


def test_a_failure_is_told_in_one_line_and_tried_again(requirements):
    (requirements / "torch.txt").write_text("no-such-package-of-ours==1\n")
    error = install.install("torch")
    assert "no-such-package-of-ours" in error
    assert "\n" not in error
    assert "torch" in install.missing("train")


def test_packages_without_a_hash_are_refused(requirements):
    wheel = requirements.parent / "ours-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("ours-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ours\nVersion: 1\n")
        file.writestr(
            "ours-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("ours-1.dist-info/RECORD", "")
    (requirements / "data.txt").write_text(f"{wheel}\n")
    assert "Hashes are required" in install.install("data")


def test_the_note_is_the_one_that_make_writes(requirements):
    install.install("data")
    digest = hashlib.sha256((requirements / "data.txt").read_bytes()).hexdigest()
    assert (requirements.parent / "data").read_text() == f"{digest}  requirements/data.txt\n"
    assert subprocess.run(["sha256sum", "-c", "data"], cwd=requirements.parent, check=False).returncode == 0


def test_every_queue_has_its_files_of_requirements():
    for names in install.REQUIREMENTS.values():
        for name in names:
            assert (ROOT / "requirements" / f"{name}.txt").is_file()


def test_the_supervisor_loads_no_package_at_all():
    code = "import config.up, sys; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-S", "-c", code]  # -S leaves the installed packages out
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) - sys.stdlib_module_names == {"__main__", "config", "runs"}
