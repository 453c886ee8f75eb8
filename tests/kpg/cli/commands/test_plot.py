from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from kpg.cli import plots
from tests.command_line import Kpg, interrupted, one_line


def test_runs_are_drawn(kpg_command: Kpg, run_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "pictures" / "curves.png"
    result = kpg_command("plot", run_directory, "-o", path)
    assert result.code == 0 and str(path) in result.out
    with Image.open(path) as picture:
        assert picture.format == "PNG" and picture.width > 800


def test_another_kind_of_file_is_refused(
    kpg_command: Kpg, run_directory: Path, tmp_path: Path
) -> None:
    result = kpg_command("plot", run_directory, "-o", tmp_path / "curves.jpg")
    assert result.code == 1 and ".png" in one_line(result)
    assert not list(tmp_path.glob("curves*"))


def test_ctrl_c_is_a_line(
    kpg_command: Kpg,
    run_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plots, "comparison", interrupted)
    result = kpg_command("plot", run_directory, "-o", tmp_path / "a.png")
    assert (result.code, result.out) == (130, "")
    assert one_line(result) == "kpg plot: interrupted"
    assert not list(tmp_path.iterdir())
