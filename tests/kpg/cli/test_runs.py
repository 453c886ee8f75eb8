from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from kpg.cli import runs
from kpg.cli.runs import Run


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_runs_are_numbered() -> None:
    Path("runs/CartPole-v1/notes").mkdir(parents=True)
    assert runs.create(None, "CartPole-v1").directory == Path("runs/CartPole-v1/1")
    assert runs.create(None, "CartPole-v1").directory == Path("runs/CartPole-v1/2")
    Path("runs/CartPole-v1/9").touch()
    assert runs.create(None, "CartPole-v1").directory == Path("runs/CartPole-v1/10")
    assert runs.create(None, "ALE/Pong-v5").directory == Path("runs/ALE-Pong-v5/1")


def test_a_directory_that_exists_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("kept")
    with pytest.raises(ValueError, match=r"Received: .*mine, which exists"):
        runs.create(tmp_path / "mine", "CartPole-v1")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious"]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="which exists"):
        runs.check_new(tmp_path / "file")
    runs.check_new(tmp_path / "new")


def test_metrics_are_strict_json(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.metrics() == []
    run.append_metrics({"return": math.nan, "loss": np.float32(0.5), "episodes": 0})
    run.append_metrics({"return": np.float64(-math.inf), "list": [np.int64(1), (2.0,)]})

    def refuse(constant: str) -> float:
        raise ValueError(constant)

    lines = run.metrics_file.read_text().splitlines()
    parsed = [json.loads(line, parse_constant=refuse) for line in lines]
    assert parsed[0] == {"return": None, "loss": 0.5, "episodes": 0}
    assert parsed[1] == {"return": None, "list": [1, [2.0]]}
    assert run.metrics() == parsed


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    runs.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    with pytest.raises(ValueError, match="no such directory"):
        run.settings()
    run.directory.mkdir()
    with pytest.raises(ValueError, match=r"no settings\.json"):
        run.settings()
    for damaged in ("", '{"env": "CartPo', "[]", "{}", '{"env": 3}'):
        run.settings_file.write_text(damaged)
        with pytest.raises(ValueError, match="damaged"):
            run.settings()
    run.settings_file.write_text('{"env": "CartPole-v1"}')
    assert run.settings() == {"env": "CartPole-v1"}


def test_the_best_model_goes_before_the_last(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ValueError, match=r"no best\.keras or last\.keras"):
        run.model_file()
    with pytest.raises(ValueError, match=r"no last\.keras"):
        run.model_file("last")
    run.last_file.touch()
    assert run.model_file() == run.last_file
    run.best_file.touch()
    assert run.model_file() == run.best_file
    assert run.model_file("last") == run.last_file


def test_what_a_dead_writer_left_of_a_line_does_not_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.append_metrics({"epoch": 1})
    size = run.sizes()["metrics.jsonl"]
    run.append_metrics({"epoch": 2})
    with run.metrics_file.open("a") as file:
        file.write('{"epoch": 3')
    assert run.metrics() == [{"epoch": 1}, {"epoch": 2}]
    assert run.metrics(size) == [{"epoch": 2}]
    run.cut({"metrics.jsonl": size})
    run.cut({"metrics.jsonl": 10 * size})  # never longer
    assert run.metrics_file.read_text() == '{"epoch": 1}\n'


def test_a_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    run = Run("/dev/full/..")
    run.metrics_file = Path("/dev/full")
    with pytest.raises(OSError, match="/dev/full could not be written: No space left"):
        run.append_metrics({"epoch": 1})
    with pytest.raises(OSError, match=r"nowhere/result\.json could not be written"):
        runs.write_json(tmp_path / "nowhere" / "result.json", {})


@pytest.mark.parametrize("text", ["", "{", "[1]", "{'a': 1}"])
def test_a_damaged_result_is_told(tmp_path: Path, text: str) -> None:
    run = Run(tmp_path)
    assert run.result() == {}
    run.result_file.write_text(text)
    with pytest.raises(ValueError, match=r"remove it.*Received: .*result.json, which"):
        run.result()
