from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from kpg.cli.quiet_tensorflow import import_tensorflow
import_tensorflow({debug}, threads={threads})
"""
NOISY = "import os; os.write(2, b'greetings')"


def load(
    folder: Path, source: str, debug: bool = False, threads: int | None = None
) -> tuple[int, str]:
    """Imports a stand-in for TensorFlow; returns the exit code and what it wrote."""
    (folder / "tensorflow.py").write_text(source)
    result = subprocess.run(
        [sys.executable, "-c", CODE.format(debug=debug, threads=threads)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    return result.returncode, result.stderr


@pytest.mark.parametrize(("debug", "shown"), [(False, ""), (True, "greetings")])
def test_greetings_are_held_back(tmp_path: Path, debug: bool, shown: str) -> None:
    assert load(tmp_path, NOISY, debug) == (0, shown)


def test_of_a_failure_everything_is_shown(tmp_path: Path) -> None:
    code, shown = load(tmp_path, f"{NOISY}; import no_such_module")
    assert code == 1
    assert shown.startswith("greetings")
    assert "No module named 'no_such_module'" in shown


@pytest.mark.parametrize(("threads", "told"), [(None, ""), (3, "3")])
def test_the_number_of_threads_is_told_before(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int | None,
    told: str,
) -> None:
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    says = "import os; exit(os.environ.get('TF_NUM_INTRAOP_THREADS', '') != {!r})"
    assert load(tmp_path, says.format(told), threads=threads) == (0, "")
