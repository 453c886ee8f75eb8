"""Trainings that break off and go on, and what is left of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import TimeLimit

import kpg
from kpg.environments import GraphEnvironment, HostEnvironment
from tests.environments import Counting, Walk


class Drawing(Counting):
    """Draws rewards, and tells nothing; but it can be pickled."""

    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward + self.np_random.normal(), *rest


class Kept(Drawing):
    """Tells all that it keeps inside."""

    def kpg_state(self) -> Any:
        random = self.np_random.bit_generator.state
        return {"count": self.count, "episode": self.episode, "random": random}

    def set_kpg_state(self, state: Any) -> None:
        self.count, self.episode = state["count"], state["episode"]
        self.np_random.bit_generator.state = state["random"]


class Crash(Exception):
    """The end of a training that nobody wanted."""


class Crashes(keras.callbacks.Callback):
    """Breaks off in the n-th call of the compiled function, counted from 1."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.calls -= 1
        if self.calls < 0:
            raise Crash


@contextlib.contextmanager
def eagerly() -> Iterator[None]:
    """Does what the fixture `one_by_one` does, for fixtures of modules."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def in_graph() -> Any:
    return GraphEnvironment(Walk(length=(2, 5), max_episode_steps=4), 2, seed=1)


def on_host(kind: type[gym.Env[Any, Any]] = Kept) -> Any:
    copies = [lambda: TimeLimit(kind(), 5)] * 2
    return HostEnvironment(SyncVectorEnv(copies), seed=1)


def make(
    env: Any,
    memory: Any = None,
    seed: int | None = 3,
    jit_compile: bool = False,
    **settings: Any,
) -> Any:
    """Returns a small trainer, as every process makes it."""
    spaces = env.observation_space, env.action_space
    small: dict[str, Any] = {"hidden_units": (3,), "seed": 0}
    if memory is not None:
        small |= {"memory": memory, "memory_units": 2}
    policy = kpg.models.Policy(*spaces, **small)
    critic = kpg.models.Critic(spaces[0], **small)
    settings = {
        **{"normalize_observations": True, "normalize_rewards": True},
        **{"learning_rate_schedule": "linear", "num_steps": 2},
        **settings,
    }
    trainer = kpg.trainers.ActorCritic(policy, critic, seed=seed, **settings)
    adam = keras.optimizers.Adam(0.05)
    trainer.compile(adam, steps_per_execution=1, jit_compile=jit_compile)
    return trainer


def state_of(trainer: Any, history: Any) -> dict[str, Any]:
    """Returns all variables, of all replicas, and all logs but times."""
    strategy = trainer.distribute_strategy
    variables = [*trainer.variables, *trainer.optimizer.variables]
    found: dict[str, Any] = {
        f"{index} {own.name}": np.array(
            [np.asarray(one) for one in strategy.experimental_local_results(own.value)]
        )
        for index, own in enumerate(variables)
    }
    timed = {"steps_per_second"}
    logs = {k: np.array(v) for k, v in history.history.items() if k not in timed}
    return found | logs | {"epoch": np.array(history.epoch)}


def assert_equal(left: dict[str, Any], right: dict[str, Any]) -> None:
    """Asserts that two states are equal to the last bit, whatever layers are called."""
    assert len(left) == len(right)
    for (name, own), other in zip(left.items(), right.values(), strict=True):
        np.testing.assert_array_equal(own, other, err_msg=name)


def fit(env: Any, trainer: Any, *callbacks: Any, epochs: int = 2) -> dict[str, Any]:
    """Trains for epochs of two iterations."""
    history = trainer.fit(
        env, epochs=epochs, steps_per_epoch=2, callbacks=[*callbacks], verbose=0
    )
    return state_of(trainer, history)


def files_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != ".lock")
