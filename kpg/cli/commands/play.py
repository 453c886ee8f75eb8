"""`kpg play`: drive an environment by a served policy, or complete prompts.

TensorFlow is not imported where a server answers: this is what a robot or a game would
run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import operator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from kpg.cli import presets
from kpg.cli.commands import silence, statistics
from kpg.cli.commands.outcome import Outcome, UsageError
from kpg.cli.runs import Run
from kpg.export import Client, Player
from kpg.export.wire import names


def run(options: argparse.Namespace) -> Outcome:
    """Carries out the command."""
    text = presets.is_text(options.env) or Path(options.env).is_dir()
    if options.prompts or text:
        return _complete(options)
    if options.server is None:
        raise UsageError(
            "An environment is played by a served policy: give the address of `kpg "
            f"serve` with --server. Received: {options.env} without --server"
        )
    try:
        env = gymnasium.make(options.env)
    except gymnasium.error.Error as error:
        raise UsageError(f"{error} Received: {options.env}") from error
    client = Client(
        options.server, model_name=options.model_name, action_space=env.action_space
    )
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


def _complete(options: argparse.Namespace) -> Outcome:
    """Completes prompts, by a server or by the policy of a run directory."""
    if not options.prompts:
        raise UsageError(
            "A text policy completes prompts; give one with --prompt. Received: "
            f"{options.env} without --prompt"
        )
    how = {"seed": options.seed, "deterministic": options.deterministic}
    if options.server is not None:
        with Client(options.server, model_name=options.model_name) as client:
            client.wait_until_ready(timeout=0.0)
            texts = client.complete(
                options.prompts,
                max_new_tokens=options.max_new_tokens,
                temperature=options.temperature,
                **how,
            )
    else:
        texts = _complete_here(options, how)
    pairs = list(zip(options.prompts, texts, strict=True))
    values = {
        "env": options.env,
        "server": options.server,
        "completions": [
            {"prompt": prompt, "completion": text} for prompt, text in pairs
        ],
    }
    return Outcome(values, "\n".join(prompt + text for prompt, text in pairs))


def _complete_here(options: argparse.Namespace, how: dict[str, Any]) -> list[str]:
    """Completes prompts by the best model of a run."""
    if options.temperature is not None:
        raise UsageError(
            "A run's policy keeps the temperature that it was trained at; export and "
            "serve it to choose another one. Received: --temperature without --server"
        )
    if presets.is_text(options.env):
        raise UsageError(
            "Somebody must write: give a run directory in place of the task, or the "
            f"address of `kpg serve` with --server. Received: {options.env}"
        )
    run = Run(options.env)
    if not presets.is_text(run.settings()["env"]):
        raise UsageError(
            f"Only a text policy completes prompts. Received: {options.env}, a run of "
            f"{run.settings()['env']}"
        )
    model = run.model_file()
    silence.load(options.debug)
    import kpg

    trainer: Any = kpg.load(str(model))
    count = options.max_new_tokens or trainer.settings.num_steps
    texts: list[str] = trainer.policy.generate(options.prompts, count, **how)
    return texts


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


def _batch_of_one(space: gymnasium.Space[Any], observation: Any) -> Any:
    """Puts a batch axis in front of each part of an observation."""
    return names.build(
        space, lambda path: np.asarray(_part(observation, path))[np.newaxis]
    )


def _first(space: gymnasium.Space[Any], actions: Any) -> Any:
    """Returns the first row of each part of a batch of actions."""
    return names.build(space, lambda path: _part(actions, path)[0])


def _part(nest: Any, path: names.Path) -> Any:
    return functools.reduce(operator.getitem, path, nest)
