"""Episodes of one Gymnasium environment, played by whoever acts."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

import gymnasium
from gymnasium.wrappers import TimeLimit

from kpg import limits
from kpg.cli import algorithms, client_flags, episode_statistics
from kpg.cli.command_result import INTERRUPTED, CommandResult, UsageError
from kpg.cli.quiet_tensorflow import import_tensorflow
from kpg.cli.runs import Run
from kpg.episodes import Acts, play
from kpg.export.client.player import Player
from kpg.types import Config


def make(id: str, **options: Any) -> gymnasium.Env[Any, Any]:
    """Makes an environment, or raises a `UsageError` if Gymnasium has none."""
    try:
        return gymnasium.make(id, **options)
    except gymnasium.error.Error as error:
        raise UsageError(f"{error} Received: {id}") from error


def play_served(env: gymnasium.Env[Any, Any], options: argparse.Namespace) -> Config:
    """Plays by a served policy, without TensorFlow, as a robot would."""
    with client_flags.client_of(options, env.action_space) as client:
        # Fails now, before the first episode, if no server answers.
        client.wait_until_ready(timeout=0.0)
        return play_episodes(env, Player(client), options)


def play_run(
    env: gymnasium.Env[Any, Any], run: Run, options: argparse.Namespace
) -> Config:
    """Plays by the model of a run, greedily."""
    import_tensorflow(options.debug)
    from kpg.models.player import Player

    trainer = algorithms.load(run, options.model)
    return play_episodes(env, Player(trainer.policy), options)


def play_episodes(
    env: gymnasium.Env[Any, Any], player: Acts, options: argparse.Namespace
) -> Config:
    """Plays the episodes that the flags ask for, summarises them, closes `env`.

    Ctrl-C ends it with those that are over, if any, and `interrupted` says so.
    """
    bound = options.max_steps or limits.LONGEST_EPISODE
    if (limits.time_limit(env) or bound + 1) > bound:
        env = TimeLimit(env, bound)
    episodes: list[tuple[float, int]] = []
    cut: Config = {}
    with contextlib.closing(env):
        try:
            while len(episodes) < options.episodes:
                seed = None if episodes else options.seed
                episodes.append(play(env, player, seed))
        except KeyboardInterrupt:
            if not episodes:
                raise
            cut = {"interrupted": True}
    returns, lengths = zip(*episodes, strict=True)
    if bound in lengths and options.max_steps is None:
        print(
            f"{lengths.count(bound)} of {len(lengths)} episodes had not ended after "
            f"{bound:,} steps and were cut there; --max-steps moves that bound",
            file=sys.stderr,
        )
    return episode_statistics.summary(returns, sum(lengths) / len(lengths)) | cut


def result(values: Config, name: str) -> CommandResult:
    """Returns what a command has played, and the exit code of Ctrl-C if that came."""
    words = f"{name}: {episode_statistics.in_words(values)}"
    if "interrupted" not in values:
        return CommandResult(values, words)
    return CommandResult(values, f"Interrupted: {words}", INTERRUPTED)
