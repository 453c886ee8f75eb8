"""Episodes played by a served policy.

TensorFlow is not imported: this is what a robot or a game would run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import operator
from typing import Any

import gymnasium
import numpy as np

from kpg.cli import episode_statistics
from kpg.export.client.client import Client
from kpg.export.client.player import Player
from kpg.export.wire import names
from kpg.types import Config, Nest, Space


def play_episodes(env: gymnasium.Env[Any, Any], options: argparse.Namespace) -> Config:
    """Plays as many episodes as the options of `kpg play` ask for, and closes `env`.

    Returns:
        See `episode_statistics.summary`.
    """
    client = Client(
        options.server, model_name=options.model_name, action_space=env.action_space
    )
    with contextlib.closing(env), client:
        # Fails now, before the first episode, if no server answers.
        client.wait_until_ready(timeout=0.0)
        episodes = [
            play(env, client, options.seed if episode == 0 else None)
            for episode in range(options.episodes)
        ]
    returns, lengths = zip(*episodes, strict=True)
    return episode_statistics.summary(returns, sum(lengths) / len(lengths))


def play(
    env: gymnasium.Env[Any, Any], client: Client, seed: int | None
) -> tuple[float, int]:
    """Plays one episode.

    Args:
        env: The environment.
        client: Gives the actions.
        seed: Seed of the reset, or `None` to carry on with the environment's own.

    Returns:
        The undiscounted return and the number of steps.
    """
    observation, _ = env.reset(seed=seed)
    player = Player(client)
    total, steps, ended = 0.0, 0, False
    while not ended:
        actions = player.act(_batch_of_one(env.observation_space, observation))
        action = _first(env.action_space, actions)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        steps += 1
        ended = terminated or truncated
    return total, steps


def _batch_of_one(space: Space, observation: Nest) -> Nest:
    """Puts a batch axis in front of each part of an observation."""
    return names.build(
        space, lambda path: np.asarray(_part(observation, path))[np.newaxis]
    )


def _first(space: Space, actions: Nest) -> Nest:
    """Returns the first row of each part of a batch of actions."""
    return names.build(space, lambda path: _part(actions, path)[0])


def _part(nest: Nest, path: names.Path) -> Nest:
    return functools.reduce(operator.getitem, path, nest)
