from __future__ import annotations

from pathlib import Path

from tests.command_line import Kpg, one_line


def test_nobody_to_play_against(kpg_command: Kpg) -> None:
    result = kpg_command("play", "CartPole-v1", "--server", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in one_line(result)


def test_a_run_is_exported_and_served_first(
    kpg_command: Kpg, unfinished_run: Path
) -> None:
    result = kpg_command("play", unfinished_run)
    assert result.code == 2
    message, servable = one_line(result), Path("servables", "CartPole-v1")
    assert f"`kpg export {unfinished_run} {servable}`" in message
    assert f"`kpg serve {servable}`" in message
    assert "`kpg play CartPole-v1 --server 127.0.0.1:8500`" in message
    assert f"`kpg evaluate {unfinished_run}`" in message
    assert "text" not in message


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
