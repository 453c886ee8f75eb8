"""Watching on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from tests.command_line import Kpg
from tests.painted import STEPS, Painted


def test_a_run_is_played_in_a_window(
    kpg_command: Kpg, run_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def make(id: str, **options: Any) -> Any:
        made.append((id, options))
        return Painted()

    monkeypatch.setattr(gymnasium, "make", make)
    values = kpg_command("watch", run_directory, "--episodes", 2, "--json").values
    assert made == [("CartPole-v1", {"render_mode": "human"})]
    assert (values["episodes"], values["return_mean"]) == (2, STEPS)


def test_ctrl_c_ends_it_with_what_was_seen(
    kpg_command: Kpg,
    run_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupt: Callable[[type[Any], int], None],
) -> None:
    monkeypatch.setattr(gymnasium, "make", lambda *_, **__: Painted())
    interrupt(Painted, 2 * STEPS + 1)
    result = kpg_command("watch", run_directory, "--episodes", 9)
    assert (result.code, result.err) == (130, "")
    assert result.out.startswith("Interrupted: CartPole-v1: return 6.00")
    assert "over 2 episodes" in result.out
