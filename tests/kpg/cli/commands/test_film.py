"""Films on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.command_line import Kpg, one_line
from tests.painted import STEPS, Painted


@pytest.fixture
def painted_run(run_directory: Path, tmp_path: Path) -> Path:
    """A run whose environment can be looked at without a library for games."""
    run = tmp_path / "run"
    run.mkdir()
    settings = json.loads((run_directory / "settings.json").read_text())
    settings["env"] = "tests.painted:Painted-v0"
    (run / "settings.json").write_text(json.dumps(settings))
    (run / "best.keras").write_bytes((run_directory / "best.keras").read_bytes())
    return run


def test_a_run_is_filmed(kpg_command: Kpg, painted_run: Path, tmp_path: Path) -> None:
    path = tmp_path / "films" / "run.gif"
    flags = ("--episodes", 2, "--width", 16, "--json")
    values = kpg_command("film", painted_run, "-o", path, *flags).values
    assert values["episodes"] == 2 and values["return_mean"] == STEPS
    assert values["bytes"] == path.stat().st_size
    film: Any
    with Image.open(path) as film:
        assert film.size == (16, 10) and film.n_frames >= STEPS
    result = kpg_command("film", painted_run, "-o", path)
    assert result.code == 0 and str(path) in result.out


@pytest.mark.parametrize(("steps", "episodes"), [(STEPS + 2, 1), (2, 0)])
def test_after_ctrl_c_there_is_a_film_of_what_was_played(
    kpg_command: Kpg,
    painted_run: Path,
    tmp_path: Path,
    interrupt: Callable[[type[Any], int], None],
    steps: int,
    episodes: int,
) -> None:
    interrupt(Painted, steps)
    path = tmp_path / "run.gif"
    result = kpg_command("film", painted_run, "-o", path, "--episodes", 9)
    assert (result.code, result.err) == (130, "")
    (line,) = result.out.splitlines()
    whole = "over 1 episode," if episodes else "no whole episode"
    assert line.startswith(f"Interrupted: {path}") and whole in line
    film: Any
    with Image.open(path) as film:
        assert film.n_frames == steps + episodes


def test_what_cannot_be_filmed_is_refused_at_once(
    kpg_command: Kpg, painted_run: Path, tmp_path: Path
) -> None:
    result = kpg_command("film", painted_run, "-o", tmp_path / "film.avi")
    assert result.code == 1 and ".gif or .mp4" in one_line(result)
    settings = painted_run / "settings.json"
    settings.write_text(
        settings.read_text().replace("tests.painted:Painted-v0", "No-v0")
    )
    result = kpg_command("film", painted_run, "-o", tmp_path / "film.gif")
    assert result.code == 2 and "No-v0" in one_line(result)
    settings.write_text(settings.read_text().replace("No-v0", "text:letters"))
    result = kpg_command("film", painted_run, "-o", tmp_path / "film.gif")
    assert result.code == 2 and "text:letters" in one_line(result)
