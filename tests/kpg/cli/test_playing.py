from __future__ import annotations

from pathlib import Path

import gymnasium

from kpg.cli.playing import play
from kpg.export import Client, Server


def test_an_episode_is_played_to_its_end(servable: Path) -> None:
    env = gymnasium.make("CartPole-v1")
    with Server(servable, port=0) as server, Client(server.address) as client:
        total, steps = play(env, client, seed=3)
        assert 8 <= steps <= 500
        assert total == steps  # CartPole pays 1 a step
        assert play(env, client, seed=3) == (total, steps)
    env.close()
