from __future__ import annotations

from pathlib import Path

from tests.command_line import Kpg, one_line


def test_export(kpg_command: Kpg, run_directory: Path, tmp_path: Path) -> None:
    first = kpg_command("export", run_directory, tmp_path / "model", "--json")
    assert first.code == 0
    assert first.values["version"] == 1
    assert Path(first.values["path"]) == tmp_path / "model" / "1"
    assert 0 <= first.values["parity_max_abs"] <= 1e-5
    assert {"serving_default", "sample"} <= set(first.values["signatures"])
    before = sorted(tmp_path.rglob("*"))
    taken = kpg_command("export", run_directory, tmp_path / "model", "--version", 1)
    assert taken.code == 1
    assert "version=1, which exists" in one_line(taken)
    assert sorted(tmp_path.rglob("*")) == before
