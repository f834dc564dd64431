import subprocess
import sys

import pytest


def test_help_is_said_without_loading_torch():
    program = (
        "import sys\nfrom rewards import train\n"
        "try:\n    train.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--gradient-checkpointing" in done.stdout


@pytest.mark.parametrize("wrong", [["--members", "0"], ["--ties", "maybe"], ["--centring", "-1"]])
def test_a_command_line_that_can_not_work_is_refused_at_once(wrong, tmp_path):
    words = ["--model", "m", "--pairs", "p", "--output", str(tmp_path / "run"), *wrong]
    program = f"import sys\nfrom rewards import train\ntrain.main({words!r})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    assert wrong[0].strip("-").replace("-", "_") in done.stderr
    assert wrong[1] in done.stderr
    assert not (tmp_path / "run").exists()
