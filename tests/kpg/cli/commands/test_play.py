from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from tests.command_line import Kpg, one_line


def test_nobody_to_play_against(kpg_command: Kpg) -> None:
    result = kpg_command("play", "CartPole-v1", "--server", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in one_line(result)


def test_a_run_is_played_without_a_server(
    kpg_command: Kpg, run_directory: Path
) -> None:
    flags = ("--episodes", 3, "--seed", 4, "--json")
    first = kpg_command("play", run_directory, *flags).values
    assert first["env"] == "CartPole-v1" and first["server"] is None
    assert first["episodes"] == 3 and first["return_mean"] == first["length_mean"]
    assert kpg_command("play", run_directory, *flags).values == first


def test_ctrl_c_ends_it_with_what_was_played(
    kpg_command: Kpg,
    run_directory: Path,
    interrupt: Callable[[type[Any], int], None],
) -> None:
    flags = ("--max-steps", 5, "--episodes", 9, "--json")
    interrupt(CartPoleEnv, 12)
    result = kpg_command("play", run_directory, *flags)
    assert (result.code, result.err) == (130, "")
    assert (result.values["episodes"], result.values["interrupted"]) == (2, True)
    interrupt(CartPoleEnv, 1)
    result = kpg_command("play", run_directory, *flags)
    assert (result.code, result.out) == (130, "")
    assert one_line(result) == "kpg play: interrupted"


def test_an_environment_without_a_policy_is_refused(kpg_command: Kpg) -> None:
    result = kpg_command("play", "CartPole-v1")
    assert result.code == 2
    assert "--server" in one_line(result) and "the run" in one_line(result)


def test_a_run_without_a_model_is_refused(
    kpg_command: Kpg, unfinished_run: Path
) -> None:
    result = kpg_command("play", unfinished_run)
    assert result.code == 1 and str(unfinished_run) in one_line(result)


def test_with_a_server_a_run_tells_the_environment(
    kpg_command: Kpg, unfinished_run: Path
) -> None:
    result = kpg_command("play", unfinished_run, "--server", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in one_line(result)


def test_an_export_is_served_first(kpg_command: Kpg, exported: Path) -> None:
    message = one_line(kpg_command("play", exported))
    assert f"`kpg serve {exported}`" in message
    assert "--server" in message
