from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import MEASURE_KEYS, Kpg, one_line


def test_evaluate(kpg_command: Kpg, run_directory: Path) -> None:
    arguments = ("evaluate", run_directory, "--episodes", 7, "--json", "--seed")
    first, same, other = (kpg_command(*arguments, seed) for seed in (5, 5, 6))
    assert first.code == same.code == other.code == 0
    assert set(first.values) >= MEASURE_KEYS
    assert first.values["episodes"] == 7
    assert first.values == same.values
    assert first.values != other.values
    for more in ([], ["--model", "last"]):
        text = kpg_command("evaluate", run_directory, "--episodes", 2, *more).out
        model = "last.keras" if more else "best.keras"
        assert f"{model}: return" in text and "over 2 episodes" in text


@pytest.mark.parametrize("command", ["evaluate", "export"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: (run / "settings.json").unlink(), "no settings.json"),
        (lambda run: (run / "settings.json").write_text('{"env": '), "damaged"),
        (
            lambda run: (run / "best.keras").write_bytes(b"PK\x03\x04"),
            "last.keras beside it",
        ),
        (lambda run: os.truncate(run / "best.keras", 5000), "last.keras beside it"),
        (
            lambda run: [path.unlink() for path in run.glob("*.keras")],
            "no best.keras or last.keras",
        ),
    ],
)
def test_a_damaged_run_is_refused(
    kpg_command: Kpg,
    run_directory: Path,
    tmp_path: Path,
    command: str,
    damage: Callable[[Path], object],
    words: str,
) -> None:
    damaged = tmp_path / "run"
    damaged.mkdir()
    for path in run_directory.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    damage(damaged)
    more = [tmp_path / "model"] if command == "export" else []
    result = kpg_command(command, damaged, *more)
    assert result.code == 1
    assert words in one_line(result)
    assert not (tmp_path / "model").exists()


def test_what_is_no_run_is_refused(kpg_command: Kpg, tmp_path: Path) -> None:
    assert "no such directory" in one_line(kpg_command("evaluate", tmp_path / "none"))
    assert "no settings.json" in one_line(kpg_command("export", tmp_path, tmp_path))
