from __future__ import annotations

from tests.command_line import Kpg, one_line


def test_nobody_to_play_against(kpg_command: Kpg) -> None:
    result = kpg_command("play", "CartPole-v1", "--server", "127.0.0.1:1")
    assert result.code == 1
    assert "127.0.0.1:1" in one_line(result)
