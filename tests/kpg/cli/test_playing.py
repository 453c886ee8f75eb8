from __future__ import annotations

from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from kpg.cli import flags
from kpg.cli.playing import play, play_episodes
from kpg.export import Client, Server


def test_an_episode_is_played_to_its_end(servable: Path) -> None:
    env = gymnasium.make("CartPole-v1")
    with Server(servable, port=0) as server, Client(server.address) as client:
        total, steps = play(env, client, seed=3)
        assert 8 <= steps <= 500
        assert total == steps  # CartPole pays 1 a step
        assert play(env, client, seed=3) == (total, steps)
    env.close()


def test_an_endless_episode_is_cut_and_told(
    servable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kpg.limits.LONGEST_EPISODE", 5)
    with Server(servable, port=0) as server:
        given = ["play", "CartPole-v1", "--server", server.address]
        given += ["--episodes", "2", "--seed", "3"]
        options = flags.parser().parse_args(given)
        values = play_episodes(CartPoleEnv(), options)
        assert values["length_mean"] == 5
        assert "2 of 2 episodes had not ended after 5 steps" in capsys.readouterr().err
        options.max_steps = 4
        assert play_episodes(CartPoleEnv(), options)["length_mean"] == 4
    assert not capsys.readouterr().err
