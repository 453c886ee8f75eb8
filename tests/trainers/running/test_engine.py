"""What all engines do: they go on where they stopped, and follow a schedule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from kpg.environments import (
    CartPole,
    FunctionalEnv,
    GraphEnvironment,
    HostEnvironment,
)
from kpg.environments.graph.functional import Rng
from tests.environments import Noted
from tests.fragments import collected, states_of, values_of
from tests.mutants.iterations import ITERATIONS
from tests.mutants.subject import unmatched
from tests.transcription import alike, transcribed
from tests.world import LOGS
from tests.world import trained as trained_in_world

Make = Callable[..., Any]


def cartpole(num_envs: int = 4, seed: int = 0) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed)


@pytest.mark.usefixtures("one_by_one")
def test_two_fits_carry_on_like_one(make_trainer: Make) -> None:
    once, twice = make_trainer("PPO"), make_trainer("PPO")
    once.fit(cartpole(), epochs=2, steps_per_epoch=1, verbose=0)
    env = cartpole()
    for _ in range(2):
        twice.fit(env, epochs=1, steps_per_epoch=1, verbose=0)
    for got, want in zip(
        values_of(twice.weights), values_of(once.weights), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.usefixtures("one_by_one")
def test_linear_schedule_ends_at_zero_and_is_undone(make_trainer: Make) -> None:
    """That of each optimizer, from its own rate."""
    options = {"num_steps": 2, "learning_rate_schedule": "linear"}
    trainer = make_trainer("ActorCritic", **options)
    rates: list[list[float]] = [[], []]
    trainer.compile(
        keras.optimizers.Adam(1e-2),
        critic_optimizer=keras.optimizers.SGD(0.4),
        jit_compile=False,
        steps_per_execution=1,
    )
    optimizers = (trainer.optimizer, trainer.critic_optimizer)

    def read(batch: int, logs: Any = None) -> None:
        for own, optimizer in zip(rates, optimizers, strict=True):
            own.append(float(optimizer.learning_rate))

    watch = keras.callbacks.LambdaCallback(on_train_batch_end=read)
    fitted = {"epochs": 2, "steps_per_epoch": 2, "callbacks": [watch], "verbose": 0}
    history = trainer.fit(cartpole(), **fitted)
    left = [1.0, 0.75, 0.5, 0.25]
    np.testing.assert_allclose(rates, np.outer([1e-2, 0.4], left), rtol=1e-5)
    logged = history.history["learning_rate"]
    np.testing.assert_allclose(logged, [0.75e-2, 0.25e-2], rtol=1e-5)
    assert float(trainer.optimizer.learning_rate) == pytest.approx(1e-2)
    assert float(trainer.critic_optimizer.learning_rate) == pytest.approx(0.4)


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


@pytest.mark.parametrize("memory", [None, pytest.param("gru", marks=pytest.mark.slow)])
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


@pytest.mark.slow
def test_how_iterations_are_run_does_not_change_what_is_learned(
    make_trainer: Make,
) -> None:
    results = []
    for arguments in ({}, {"jit_compile": True, "steps_per_execution": 3}):
        trainer = make_trainer(
            "PPO", learning_rate_schedule="linear", normalize_rewards=True, **arguments
        )
        trainer.fit(cartpole(), epochs=2, steps_per_epoch=4, verbose=0)
        results.append(values_of(trainer.weights))
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)


# What a run meets on the way, so that each line of the transcription matters.
MET = {
    *("a termination", "a truncation", "an observation beyond 10"),
    *("a reward beyond 10", "a scaled reward beyond 10"),
    *("a clipped ratio", "a clipped value", "a long gradient", "a short gradient"),
    *("a divergence just tolerated", "a stop"),
}


@pytest.mark.parametrize("place", ["in graph", "on host"])
def test_iterations_are_those_of_the_papers(place: str) -> None:
    """Everything between an environment's rows and weights, moments and logs."""
    expected = transcribed(place)
    resets = {"a row that is no step"} if place == "on host" else set()
    assert expected.met == MET | resets
    parts = ("policy", "critic", "observations", "returns")
    alike(trained_in_world(place).outcome, expected, *parts, *LOGS)


def test_a_mistake_anywhere_in_an_iteration_is_seen() -> None:
    assert not unmatched(ITERATIONS)


def small(make_trainer: Make, env: Any) -> Any:
    sgd = keras.optimizers.SGD(0.1)
    return make_trainer("ActorCritic", env=env, num_steps=2, optimizer=sgd)


@pytest.mark.usefixtures("one_by_one")
def test_no_episodes_begin_twice_by_one_seed(
    make_trainer: Make, tmp_path: Path
) -> None:
    vector, others = Noted(), Noted()
    env, other = (HostEnvironment(own, seed=3) for own in (vector, others))
    trainer, seeds = small(make_trainer, env), vector.seeds
    how: Any = {"steps_per_epoch": 1, "verbose": 0}
    # Evaluation plays on the copies that train.
    trainer.fit(env, epochs=2, validation_data=env, validation_episodes=1, **how)
    first, validation, second, again = seeds
    assert first == 3  # the environment's own, once
    assert validation == again  # the same episodes each time
    trainer.evaluate(env, 1)
    assert seeds.pop() == validation

    trainer.fit(other, **how)
    vector.breaks = True
    with pytest.raises(RuntimeError, match="a step fails"):
        trainer.fit(env, **how)
    trainer.fit(env, **how)
    trainer.compile(jit_compile=False)
    trainer.fit(env, **how)
    trainer.save(tmp_path / "trainer.keras")
    kpg.load(tmp_path / "trainer.keras").fit(env, **how)
    trained = [first, second, *seeds[4:]]
    assert len(trained) == 6
    assert len({*trained, validation, *others.seeds}) == 8


class Kept(FunctionalEnv):
    """Stays where it began, for ever."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,))
    action_space = gym.spaces.Discrete(2)

    def initial(self, rng: Rng) -> tf.Tensor:
        return rng.uniform(size=(1,))

    def transition(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        return state

    def observation(self, state: tf.Tensor) -> tf.Tensor:
        return state

    def reward(self, state: Any, action: tf.Tensor, next_state: Any) -> tf.Tensor:
        return tf.zeros_like(state[:, 0])

    def terminal(self, state: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(state[:, 0], tf.bool)


@pytest.mark.usefixtures("one_by_one")
def test_no_episodes_in_the_graph_begin_twice_in_one_state(
    make_trainer: Make, tmp_path: Path
) -> None:
    env, other = (GraphEnvironment(Kept(), 2, seed=3) for _ in range(2))
    trainer = small(make_trainer, env)
    begun: list[float] = []

    def fit(trainer: Any, env: Any, **options: Any) -> None:
        trainer.fit(env, steps_per_epoch=1, verbose=0, **options)
        begun.extend(states_of(trainer).numpy().ravel().tolist())

    def fail(batch: int, logs: Any) -> None:
        raise KeyboardInterrupt

    fit(trainer, env)
    fit(trainer, env)
    assert begun[2:] == begun[:2]  # they go on
    del begun[2:]
    with pytest.raises(KeyboardInterrupt):
        failing = keras.callbacks.LambdaCallback(on_train_batch_end=fail)
        fit(trainer, env, callbacks=[failing])
    fit(trainer, env)
    fit(trainer, other)
    fit(trainer, env)
    trainer.compile(jit_compile=False)
    fit(trainer, env)
    trainer.save(tmp_path / "trainer.keras")
    fit(kpg.load(tmp_path / "trainer.keras"), env)
    assert len(set(begun)) == len(begun) == 12


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("adopted", [False, True])
def test_trainers_interrupt_each_other(adopted: bool, make_trainer: Make) -> None:
    vector = Noted()
    env: Any = vector if adopted else HostEnvironment(vector, seed=0)
    spaces = HostEnvironment(vector)
    one, other = (small(make_trainer, spaces) for _ in range(2))
    for trainer in (one, other, one, one):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    # Each begins by the first seed, and goes on only where nobody came between.
    assert vector.seeds[:2] == [0, 0]
    (third,) = vector.seeds[2:]
    assert third != 0


@pytest.mark.usefixtures("one_by_one")
def test_reinforce_plays_its_first_seed_once(make_trainer: Make) -> None:
    vector = Noted()
    env = HostEnvironment(vector, seed=3)
    env.spec = EnvSpec("Counting", max_episode_steps=5)
    trainer = make_trainer("REINFORCE", env=env, num_steps=6)
    trainer.fit(env, steps_per_epoch=3, verbose=0)
    assert vector.seeds == [3, None, None]


class Clock(gym.Env[Any, Any]):
    """A bandit: whether the time, in seconds since 1970, is early or late.

    It pays 1 for the right choice of two.
    """

    observation_space = gym.spaces.Box(0, 4e9, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.second = self.np_random.uniform(-3.0, 3.0)
        return np.array([1.7e9 + self.second]), {}

    def step(self, action: Any) -> Any:
        reward = float(action == (self.second > 0.0))
        return np.array([1.7e9 + self.second]), reward, True, False, {}


def clock_trainer(make_trainer: Make, env: Any, **settings: Any) -> Any:
    settings = {"num_steps": 16, "minibatch_size": 32, **settings}
    optimizer = keras.optimizers.Adam(0.01)
    return make_trainer("PPO", env=env, optimizer=optimizer, gamma=0.0, **settings)


@pytest.mark.usefixtures("one_by_one")
def test_seconds_are_told_apart_or_refused(make_trainer: Make) -> None:
    env = kpg.environments.as_environment(Clock, 4, seed=0)
    with pytest.raises(ValueError, match=r"Clock gave.*normalize_observations=True"):
        clock_trainer(make_trainer, env).fit(env, steps_per_epoch=1, verbose=0)
    trainer = clock_trainer(make_trainer, env, normalize_observations=True)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    times = np.array([[1.7e9 - 2.0], [1.7e9 + 2.0]])
    encoded = trainer.policy.encoder(times).numpy().ravel()
    assert np.ptp(encoded) == pytest.approx(4.0 / np.sqrt(3.0), rel=0.3)


@pytest.mark.slow
def test_seconds_are_learned_from(make_trainer: Make) -> None:
    env = kpg.environments.as_environment(Clock, 16, seed=0)
    trainer = clock_trainer(make_trainer, env, normalize_observations=True)
    trainer.fit(env, steps_per_epoch=60, verbose=0)
    assert trainer.evaluate(env, 200)["return"] > 0.95
