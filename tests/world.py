"""A run of PPO in a world that keeps a record of all that happens in it.

`tests.transcription` says what the run should have led to.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import keras
import numpy as np
import tensorflow as tf
from gymnasium.vector import AutoresetMode, VectorEnv

import kpg
from kpg.environments import FunctionalEnv, GraphEnvironment, HostEnvironment
from kpg.trainers import PPO, Iteration
from tests.fragments import orders_of, values_of

Array: TypeAlias = Any

COPIES, STEPS, ITERATIONS, LIMIT = 8, 8, 3, 4
SETTINGS: dict[str, Any] = {
    "num_steps": STEPS,
    "num_epochs": 3,
    "minibatch_size": 16,
    "gamma": 0.9,
    "gae_lambda": 0.8,
    "clip_range": 0.3,
    "clip_range_schedule": "linear",
    "value_clip_range": 0.1,
    "ent_coef": 0.1,
    "ent_coef_schedule": "linear",
    "vf_coef": 0.7,
    "max_grad_norm": 0.8,
    "target_kl": 0.04,
    "learning_rate_schedule": "linear",
    "normalize_observations": True,
    "normalize_rewards": True,
}
RATE, EPSILON = 0.05, 1e-5
# What is logged of an iteration; that of its minibatches first.
LOGS = (
    *("loss", "policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"),
    *("kl", "gain", "explained_variance", "learning_rate"),
    *("return", "length", "episodes"),
)
# Steps of the whole run after which one observation, or one reward, is far off.
FAR_PLACE, FAR_REWARD = 2 * STEPS + 1, 2 * STEPS + 4


class World:
    """Eight places on a line, which actions push, in episodes of one to six steps.

    A state is a row (time, steps left, place, last reward); the place and the steps
    that are left are observed.
    """

    observations = gym.spaces.Box(-np.inf, np.inf, (2,))

    def __init__(self) -> None:
        self.rows: list[dict[str, Array]] = []

    def advance(self, states: Array, actions: Array, resets: Array) -> Array:
        """Returns the states after a step, but keeps those where `resets` holds."""
        time, left, place, _ = states.T
        push = actions.reshape(len(states), -1)[:, 0].astype(np.float32)
        moved = 0.8 * place + 0.4 + 0.5 * push
        rewards = 12.0 * np.sin(3.0 * moved) + 5.0 * push
        ended = (left <= 1) | (time + 1 >= LIMIT)
        if len(self.rows) == FAR_PLACE:
            moved[np.flatnonzero(~ended & ~resets)[0]] = 30.0
        if len(self.rows) == FAR_REWARD:
            rewards[np.flatnonzero(ended & ~resets)[0]] = -2000.0
        after = np.stack([time + 1, left - 1, moved, rewards], axis=1)
        after = np.where(resets[:, np.newaxis], states, after).astype(np.float32)
        self._record(states, actions, after, resets)
        return after

    def _record(
        self, states: Array, actions: Array, after: Array, resets: Array
    ) -> None:
        terminated = (after[:, 1] <= 0) & ~resets
        late = (after[:, 0] >= LIMIT) & ~resets
        self.rows.append(
            {
                "observations": seen(states),
                "actions": actions.copy(),
                "rewards": np.where(resets, 0.0, after[:, 3]),
                "terminated": terminated,
                "truncated": late & ~terminated,
                "valid": ~resets,
                "next_observations": seen(after),
            }
        )

    def fragments(self) -> list[Rows]:
        """Returns what happened in each iteration."""
        return [
            Rows(**{name: np.stack([row[name] for row in part]) for name in part[0]})
            for part in np.split(np.array(self.rows), ITERATIONS)
        ]


def seen(states: Array) -> Array:
    return states[..., 2:0:-1].copy()


class OnHost(VectorEnv[Any, Any, Any]):
    """The world as a vector environment that resets in the next step."""

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    num_envs = COPIES
    single_observation_space = World.observations
    single_action_space = gym.spaces.Discrete(3)

    def __init__(self) -> None:
        self.world = World()

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self._random = np.random.default_rng(seed)
        self._states = self._starts()
        self._ended = np.zeros(COPIES, bool)
        return seen(self._states), {}

    def step(self, actions: Any) -> Any:
        states = self.world.advance(self._states, actions, self._ended)
        row = self.world.rows[-1]
        fresh = self._ended[:, np.newaxis]
        self._states = np.where(fresh, self._starts(), states)
        self._ended = row["terminated"] | row["truncated"]
        # What the next action is for is what a reset shows.
        row["next_observations"] = seen(self._states)
        flags = row["terminated"].copy(), row["truncated"].copy()
        return seen(self._states), row["rewards"].copy(), *flags, {}

    def _starts(self) -> Array:
        left = self._random.integers(1, 7, COPIES)
        place = self._random.normal(2.0, 0.5, COPIES)
        zeros = np.zeros(COPIES)
        return np.stack([zeros, left, place, zeros], axis=1).astype(np.float32)


class InGraph(FunctionalEnv):
    """The world as a functional environment; its steps leave the graph for NumPy."""

    observation_space = World.observations
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    max_episode_steps = LIMIT

    def __init__(self) -> None:
        self.world = World()

    def initial(self, rng: Any) -> tf.Tensor:
        left = tf.cast(rng.integers(1, 7), tf.float32)
        zeros = tf.zeros_like(left)
        return tf.stack([zeros, left, rng.normal(2.0, 0.5), zeros], axis=1)

    def transition(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        resets = tf.zeros([COPIES], tf.bool)
        rows = [state, action, resets]
        after = tf.numpy_function(self.world.advance, rows, tf.float32)
        return tf.ensure_shape(after, state.shape)

    def observation(self, state: tf.Tensor) -> tf.Tensor:
        return state[:, 2:0:-1]

    def reward(self, state: Any, action: Any, next_state: tf.Tensor) -> tf.Tensor:
        return next_state[:, 3]

    def terminal(self, state: tf.Tensor) -> tf.Tensor:
        return state[:, 1] <= 0.0


class Rows(NamedTuple):
    """A fragment, `[T, B, ...]`, as the world itself recorded it."""

    observations: Array
    actions: Array
    rewards: Array
    terminated: Array
    truncated: Array
    valid: Array
    next_observations: Array

    @property
    def ended(self) -> Array:
        return self.terminated | self.truncated


class Outcome(NamedTuple):
    """What is left of a run: of each iteration its last weights, moments and logs.

    Moments are pairs of a mean and a variance; `met` names what happened on the way.
    """

    policy: list[Array]
    critic: list[Array]
    observations: list[Array]
    returns: list[Array]
    logs: dict[str, Array]
    met: frozenset[str] = frozenset()


class Run(NamedTuple):
    """A run of kpg, and what a transcription takes from it."""

    outcome: Outcome
    fragments: list[Rows]
    orders: list[Array]
    policy: list[Array]
    critic: list[Array]


class Measured(PPO):
    """PPO that logs what an algorithm may ask after the updates."""

    def after(self, iteration: Iteration) -> dict[str, Any]:
        return {"kl": iteration.kl(), "gain": iteration.mean_advantage()}


def weights_of(model: Any) -> list[Any]:
    """Returns kernel, bias, kernel and bias, and a logarithm of a deviation last."""
    return sorted(
        model.trainable_variables, key=lambda weight: weight.name == "log_std"
    )


class _Watch(keras.callbacks.Callback):
    """Copies weights and moments after each iteration."""

    def on_train_begin(self, logs: Any = None) -> None:
        self.weights: list[list[Any]] = [[], [], [], []]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        trainer: Any = self.model
        ((_, normalizer),) = trainer.policy.normalizers
        parts = [weights_of(trainer.policy), weights_of(trainer.critic)]
        for layer in (normalizer, trainer.return_moments):
            parts.append([layer.mean, layer.variance])
        for kept, part in zip(self.weights, parts, strict=True):
            kept.append(np.concatenate([w.ravel() for w in values_of(part)]))


@functools.cache
def trained(place: str) -> Run:
    """Trains on the world, "in graph" or "on host", by programs without XLA."""
    world: Any = InGraph() if place == "in graph" else OnHost()
    if place == "in graph":
        env: Any = GraphEnvironment(world, COPIES, seed=1)
    else:
        env = HostEnvironment(world, seed=1)
    policy = kpg.models.Policy(
        env.observation_space, env.action_space, hidden_units=(3,), seed=0
    )
    critic = kpg.models.Critic(env.observation_space, hidden_units=(2,), seed=1)
    trainer: Any = Measured(policy, critic, seed=3, **SETTINGS)
    trainer.compile(keras.optimizers.Adam(RATE, epsilon=EPSILON), jit_compile=False)
    first = [values_of(weights_of(model)) for model in (policy, critic)]
    watch = _Watch()
    history = trainer.fit(
        env, epochs=ITERATIONS, steps_per_epoch=1, callbacks=[watch], verbose=0
    )
    logs = history.history
    orders = [orders_of(trainer, COPIES, index) for index in range(ITERATIONS)]
    named = {name: np.array(logs[name]) for name in LOGS}
    policies, critics, observed, returns = watch.weights
    outcome = Outcome(policies, critics, observed, returns, named)
    return Run(outcome, world.world.fragments(), orders, *first)
