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


def test_a_run_alone_is_told_the_rest(kpg_command: Kpg, unfinished_run: Path) -> None:
    result = kpg_command("export", unfinished_run)
    assert result.code == 2
    servable = Path("servables", "CartPole-v1")
    assert f"`kpg export {unfinished_run} {servable}`" in one_line(result)


def test_what_is_no_run_is_told_what_it_is(kpg_command: Kpg, exported: Path) -> None:
    twice = one_line(kpg_command("export", exported, "other"))
    assert f"this is what `kpg export` wrote: type `kpg serve {exported}`" in twice
    model = one_line(kpg_command("evaluate", Path("runs", "1", "best.keras")))
    assert f"type its folder, {Path('runs', '1')}" in model


def test_a_damaged_result_is_told(kpg_command: Kpg, unfinished_run: Path) -> None:
    (unfinished_run / "result.json").write_text("{env_steps: 3}")
    result = kpg_command("export", unfinished_run, "servables")
    assert result.code == 1
    assert "result.json, which is damaged" in one_line(result)
