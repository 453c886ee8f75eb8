"""The same seed makes the same training, in the graph and on the host."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from kpg.environments import GraphEnvironment, HostEnvironment
from kpg.environments.graph.classic_control import CartPole
from kpg.environments.graph.functional import Rng
from tests.fragments import collected

START = [0.01, -0.02, 0.03, -0.04]
COPIES, LIMIT = 3, 25


class FixedCartPole(CartPole):
    """Every episode begins in the same state, so that only actions are random."""

    def initial(self, rng: Rng) -> tf.Tensor:
        return 0.0 * super().initial(rng) + START


class FixedStart(gym.Wrapper[Any, Any, Any, Any]):
    """The same for Gymnasium's CartPole."""

    def reset(self, **kwargs: Any) -> Any:
        _, info = super().reset(**kwargs)
        env: Any = self.unwrapped
        env.state = np.array(START)
        return np.array(START, np.float32), info


def in_graph() -> Any:
    return GraphEnvironment(FixedCartPole(), COPIES, seed=0, max_episode_steps=LIMIT)


def on_host() -> Any:
    def make() -> Any:
        return FixedStart(gym.make("CartPole-v1", max_episode_steps=LIMIT))

    vector = SyncVectorEnv([make] * COPIES, autoreset_mode=AutoresetMode.SAME_STEP)
    return HostEnvironment(vector, seed=0)


def trained(env: Any, memory: str | None) -> tuple[Any, Any]:
    """Returns a trainer after two iterations, and the fragment after them."""
    spaces = env.observation_space, env.action_space
    options: Any = {"hidden_units": [8], "memory": memory, "memory_units": 8}
    options = options if memory else {"hidden_units": [8]}
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(*spaces, seed=0, **options),
        kpg.models.Critic(spaces[0], seed=1, **options),
        num_steps=40,
        num_epochs=2,
        minibatch_size=40,
        normalize_observations=True,
        normalize_rewards=True,
        seed=5,
    )
    trainer.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    trainer.fit(env, epochs=1, steps_per_epoch=2, verbose=0)
    rows, _ = collected(trainer, env, 9)
    return trainer, tf.nest.map_structure(
        lambda part: None if part is None else np.asarray(part), rows
    )


@pytest.mark.parametrize("memory", [None, "gru"])
def test_both_engines_train_alike(memory: str | None) -> None:
    inside, graph_rows = trained(in_graph(), memory)
    outside, host_rows = trained(on_host(), memory)
    assert host_rows.valid.all()  # SAME_STEP resets within the step
    assert host_rows.terminated.any() or host_rows.truncated.any()
    np.testing.assert_array_equal(host_rows.actions, graph_rows.actions)
    for name in ("observations", "next_observations", "log_probs", "rewards"):
        pair = getattr(host_rows, name), getattr(graph_rows, name)
        np.testing.assert_allclose(*pair, atol=2e-5, err_msg=name)
    for name in ("terminated", "truncated"):
        np.testing.assert_array_equal(
            getattr(host_rows, name), getattr(graph_rows, name)
        )
    pairs = zip(outside.variables, inside.variables, strict=True)
    for host, graph in pairs:
        np.testing.assert_allclose(host, graph, atol=1e-4, err_msg=host.path)
