"""Episodes played by a served policy, without TensorFlow, as a robot would."""

from __future__ import annotations

import argparse
import contextlib
import functools
import operator
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from kpg import limits
from kpg.cli import client_flags, episode_statistics
from kpg.export.client.client import Client
from kpg.export.client.player import Player
from kpg.export.wire import names
from kpg.types import Config, Nest, Space


def play_episodes(env: gymnasium.Env[Any, Any], options: argparse.Namespace) -> Config:
    """Plays the episodes that `kpg play` asks for, summarises them, closes `env`."""
    bound = options.max_steps or limits.LONGEST_EPISODE
    if (limits.time_limit(env) or bound + 1) > bound:
        env = TimeLimit(env, bound)
    with (
        contextlib.closing(env),
        client_flags.client_of(options, env.action_space) as client,
    ):
        # Fails now, before the first episode, if no server answers.
        client.wait_until_ready(timeout=0.0)
        episodes = [
            play(env, client, options.seed if episode == 0 else None)
            for episode in range(options.episodes)
        ]
    returns, lengths = zip(*episodes, strict=True)
    if bound in lengths and options.max_steps is None:
        print(
            f"{lengths.count(bound)} of {len(lengths)} episodes had not ended after "
            f"{bound:,} steps and were cut there; --max-steps moves that bound",
            file=sys.stderr,
        )
    return episode_statistics.summary(returns, sum(lengths) / len(lengths))


def play(
    env: gymnasium.Env[Any, Any], client: Client, seed: int | None
) -> tuple[float, int]:
    """Plays one episode; returns its undiscounted return and its number of steps.

    The seed `None` carries on with the environment's own generator.
    """
    observation, _ = env.reset(seed=seed)
    player = Player(client)
    total, steps, ended = 0.0, 0, False
    while not ended:
        row = _mapped(env.observation_space, observation, _batch_of_one)
        action = _mapped(env.action_space, player.act(row), operator.itemgetter(0))
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        steps += 1
        ended = terminated or truncated
    return total, steps


def _mapped(space: Space, nest: Nest, change: Callable[[Nest], Nest]) -> Nest:
    """Changes each part of a nest that has the structure of a space."""
    return names.build(
        space, lambda path: change(functools.reduce(operator.getitem, path, nest))
    )


def _batch_of_one(part: Nest) -> Nest:
    return np.asarray(part)[np.newaxis]
