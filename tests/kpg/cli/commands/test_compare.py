from __future__ import annotations

from pathlib import Path

import pytest

from kpg.cli import comparing
from tests.command_line import Kpg, interrupted, one_line


def test_runs_are_compared(kpg_command: Kpg, run_directory: Path) -> None:
    values = kpg_command("compare", run_directory, "--json").values
    assert values["env"] == "CartPole-v1"
    (group,) = values["groups"]
    assert (group["label"], group["seeds"]) == ("PPO", 1)
    assert group["last_ci95"] is None and 0 < group["last"] <= group["best"] <= 500
    printed = kpg_command("compare", run_directory).out
    assert printed.splitlines()[1].startswith("PPO")


def test_what_is_no_run_is_refused(kpg_command: Kpg, tmp_path: Path) -> None:
    result = kpg_command("compare", tmp_path)
    assert result.code == 1 and str(tmp_path) in one_line(result)


def test_ctrl_c_is_a_line(
    kpg_command: Kpg,
    run_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comparing, "table", interrupted)
    result = kpg_command("compare", run_directory)
    assert (result.code, result.out) == (130, "")
    assert one_line(result) == "kpg compare: interrupted"
    assert not list(tmp_path.iterdir())
