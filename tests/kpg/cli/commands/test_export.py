from __future__ import annotations

from pathlib import Path

from kpg.export import configure
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


def test_versions_are_labelled_and_pruned(
    kpg_command: Kpg, run_directory: Path, tmp_path: Path
) -> None:
    model, file = tmp_path / "model", tmp_path / "models.config"
    for version in (3, 4, 7):
        (model / str(version)).mkdir(parents=True)
    configure(file, model, {"stable": 3})
    command = ["export", run_directory, model, "--format", "litert", "--json"]
    command += ["--keep", 1, "--models-config", file, "--label", "canary"]
    result = kpg_command(*command)
    assert result.code == 0, result.err
    assert (result.values["version"], result.values["removed"]) == (8, [7, 4])
    assert {path.name for path in model.iterdir()} == {"3", "8"}
    assert (model / "8" / "model.tflite").is_file()
    assert '"canary"' in file.read_text() and str(model) in file.read_text()


def test_a_label_needs_a_file(kpg_command: Kpg, unfinished_run: Path) -> None:
    result = kpg_command("export", unfinished_run, "model", "--label", "stable")
    assert result.code == 2
    assert "add --models-config FILE. Received: --label stable" in one_line(result)


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
