from __future__ import annotations

from pathlib import Path

import pytest

from kpg.cli.commands import train
from tests.command_line import Kpg, one_line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["train"],
        ["train", "CartPole-v1", "--algorithm", "DQN"],
        ["train", "CartPole-v1", "--seed", "-1"],
        ["train", "CartPole-v1", "--seed", "1.5"],
        ["train", "CartPole-v1", "--total-steps", "inf"],
        ["train", "CartPole-v1", "--num-envs", "nan"],
        ["evaluate", "run", "--episodes", "0"],
        ["play", "CartPole-v1"],
        ["play", "CartPole-v1", "--server", "localhost"],
        ["play", "CartPole-v1", "--server", "localhost:99999"],
        ["play", "CartPol-v1", "--server", "localhost:1"],
        ["serve", "directory", "--port", "-1"],
    ],
)
def test_bad_usage(kpg_command: Kpg, arguments: list[str]) -> None:
    result = kpg_command(*arguments)
    assert result.code == 2
    assert not result.out
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(kpg_command: Kpg, tmp_path: Path) -> None:
    result = kpg_command("evaluate", tmp_path, "--debug")
    assert result.code == 1
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("kpg evaluate: ")


def test_unexpected_errors_are_one_line_too(
    kpg_command: Kpg, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("one\n  two")

    monkeypatch.setattr(train, "build", fail)
    result = kpg_command("train", "CartPole-v1", "--output", tmp_path / "run")
    assert result.code == 1
    assert one_line(result) == (
        "kpg train: ZeroDivisionError: one two (--debug shows the traceback)"
    )
