from __future__ import annotations

from pathlib import Path

import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from kpg.cli import flags
from kpg.cli.command_result import UsageError
from kpg.cli.playing import make, play_served
from kpg.export import Server


def test_an_endless_episode_is_cut_and_told(
    servable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpg.limits.LONGEST_EPISODE", 5)
    with Server(servable, port=0) as server:
        given = ["play", "CartPole-v1", "--server", server.address]
        given += ["--episodes", "2", "--seed", "3"]
        options = flags.parser().parse_args(given)
        values = play_served(CartPoleEnv(), options)
        assert values["length_mean"] == 5
        assert "2 of 2 episodes had not ended after 5 steps" in capsys.readouterr().err
        options.max_steps = 4
        assert play_served(CartPoleEnv(), options)["length_mean"] == 4
    assert not capsys.readouterr().err


def test_what_gymnasium_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="Received: Nobody-v0"):
        make("Nobody-v0")
