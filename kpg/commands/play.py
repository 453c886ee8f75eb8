"""`kpg play`: drive Gymnasium's own environment by a served policy.

TensorFlow is not imported: this is what a robot or a game would run.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

import gymnasium
import numpy as np

from kpg.commands import statistics
from kpg.commands.outcome import Outcome, UsageError
from kpg.export import Client


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    try:
        env = gymnasium.make(options.env)
    except gymnasium.error.Error as error:
        raise UsageError(f"{error} Received: {options.env}") from error
    client = Client(options.server, model_name=options.model_name)
    with contextlib.closing(env), client:
        # Whether somebody answers at all, before the first episode.
        client.wait_until_ready(timeout=0.0)
        episodes = [
            play(env, client, options.seed if episode == 0 else None)
            for episode in range(options.episodes)
        ]
    returns, lengths = zip(*episodes, strict=True)
    measured = statistics.summary(returns, sum(lengths) / len(lengths))
    values = {"env": options.env, "server": options.server} | measured
    return Outcome(values, f"{options.env}: {statistics.in_words(values)}")


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
    total, steps, ended = 0.0, 0, False
    while not ended:
        action = client.act(np.asarray(observation)[np.newaxis])[0]
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        steps += 1
        ended = terminated or truncated
    return total, steps
