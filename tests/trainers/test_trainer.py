"""A trainer as a Keras model: saving, predicting, refusing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from tests.fragments import collected, values_of

Make = Callable[..., Any]
ALGORITHMS = ["PPO", "ActorCritic", "REINFORCE"]
ROWS = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")


def cartpole(num_envs: int = 4, seed: int = 0, **options: Any) -> Any:
    return kpg.make("CartPole-v1", num_envs=num_envs, seed=seed, **options)


def weights(trainer: Any) -> list[np.ndarray]:
    return values_of(trainer.weights)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_configuration_survives_json(algorithm: str, make_trainer: Make) -> None:
    trainer = make_trainer(algorithm, gamma=0.5, normalize_rewards=True)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(trainer)))
    revived: Any = keras.saving.deserialize_keras_object(config)
    assert type(revived) is type(trainer)
    assert revived.settings == trainer.settings
    assert revived.seed == trainer.seed
    assert revived.policy.action_space == trainer.policy.action_space


# What the other two save that PPO does not is loaded in `test_options.py`.
@pytest.mark.parametrize(
    "algorithm",
    ["PPO", *(pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS[1:])],
)
@pytest.mark.usefixtures("one_by_one")
@pytest.mark.filterwarnings("ignore:.*does not apply to tf.data:UserWarning")
def test_save_load_continue(algorithm: str, make_trainer: Make, tmp_path: Path) -> None:
    """A loaded trainer goes on exactly as the saved one, optimizer included."""
    short = {"max_episode_steps": 8}
    trainer = make_trainer(
        algorithm,
        num_steps=8 if algorithm == "REINFORCE" else 4,
        normalize_observations=True,
        normalize_rewards=True,
        optimizer=keras.optimizers.Adam(1e-2),
        steps_per_execution=2,
    )
    trainer.fit(cartpole(**short), steps_per_epoch=2, verbose=0)
    path = tmp_path / "trainer.keras"
    trainer.save(path)
    loaded = kpg.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["trainer.keras"]
    assert loaded.env_steps == trainer.env_steps
    assert loaded.get_compile_config() == trainer.get_compile_config()
    np.testing.assert_array_equal(
        loaded.predict(ROWS, verbose=0), trainer.predict(ROWS, verbose=0)
    )
    for one in (trainer, loaded):
        one.fit(cartpole(seed=5, **short), steps_per_epoch=2, verbose=0)
    for got, want in zip(weights(loaded), weights(trainer), strict=True):
        np.testing.assert_array_equal(got, want)


def test_predict_is_greedy_and_takes_any_batch(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", steps_per_execution=4)
    actions = trainer.predict(ROWS, verbose=0)
    np.testing.assert_array_equal(actions, trainer.policy.mode(ROWS))
    np.testing.assert_array_equal(actions, trainer(ROWS))
    single = trainer.predict(ROWS[:1], verbose=0)
    assert single.shape == (1,)


@pytest.mark.usefixtures("one_by_one")
def test_a_trainer_of_its_own_seed_repeats_itself(make_trainer: Make) -> None:
    runs = []
    for seed in (1, 1, 2):
        trainer = make_trainer("PPO", seed=seed, num_steps=4, num_epochs=1)
        trainer.fit(cartpole(), steps_per_epoch=2, verbose=0)
        runs.append(np.concatenate([w.ravel() for w in weights(trainer)]))
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


@pytest.mark.slow  # that of a trainer's own is tested above
@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("backend", ["graph", "gymnasium"])
def test_without_seeds_runs_follow_keras_s_seed(backend: Any) -> None:
    def run(seed: int) -> np.ndarray:
        keras.utils.set_random_seed(seed)
        env = kpg.make("CartPole-v1", num_envs=2, backend=backend)
        spaces, small = (env.observation_space, env.action_space), (4,)
        policy = kpg.models.Policy(*spaces, hidden_units=small)
        critic = kpg.models.Critic(spaces[0], hidden_units=small)
        trainer = kpg.trainers.ActorCritic(policy, critic, num_steps=2)
        trainer.compile(jit_compile=False)
        trainer.fit(env, steps_per_epoch=1, verbose=0)
        return np.concatenate([w.ravel() for w in weights(trainer)])

    first = run(42)
    np.testing.assert_array_equal(first, run(42))
    assert not np.array_equal(first, run(43))


@pytest.mark.usefixtures("one_by_one")
def test_freezing_a_layer_takes_effect_at_once(make_trainer: Make) -> None:
    trainer, env = make_trainer("PPO"), cartpole()
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    trainer.policy.backbone.trainable = False
    before = values_of(trainer.policy.backbone.weights)
    head = values_of(trainer.policy.head.weights)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    for old, new in zip(before, trainer.policy.backbone.weights, strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(head[0], trainer.policy.head.weights[0])


@pytest.mark.usefixtures("one_by_one")
def test_layers_keep_their_statistics_and_seeds(make_trainer: Make) -> None:
    """`BatchNormalization` and `Dropout` are in training mode in updates only."""
    normal, dropout = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
    net = keras.Sequential([keras.Input((4,)), normal, dropout, keras.layers.Dense(4)])
    usual, env = make_trainer("PPO"), cartpole()
    policy = kpg.models.Policy(env.observation_space, env.action_space, backbone=net)
    trainer = kpg.trainers.ActorCritic(policy, usual.critic, num_steps=4)
    trainer.compile("sgd", jit_compile=False)
    states = [normal.moving_mean, dropout.seed_generator.state]
    before = values_of(states)
    trainer(ROWS)
    for old, new in zip(before, values_of(states), strict=True):
        np.testing.assert_array_equal(old, new)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    for old, new in zip(before, values_of(states), strict=True):
        assert not np.array_equal(old, new)


@pytest.mark.usefixtures("one_by_one")
def test_gymnasium_environments_can_be_handed_in(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", minibatch_size=8)
    vector = gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="sync")
    trainer.fit(vector, steps_per_epoch=1, verbose=0)
    trainer.fit(lambda: gym.make("CartPole-v1"), steps_per_epoch=1, verbose=0)
    env = gym.make("CartPole-v1")
    assert trainer.evaluate(env, episodes=2)["episodes"] == 2
    env.close()
    vector.close()


@pytest.mark.usefixtures("one_by_one")
def test_evaluating_on_the_training_environment_begins_new_episodes(
    make_trainer: Make,
) -> None:
    trainer, env = make_trainer("PPO"), cartpole(backend="gymnasium")
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    trainer.evaluate(env, episodes=4)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    rows, _ = collected(trainer, env, 9)
    policy = trainer.policy
    actions = tf.reshape(rows.actions, [-1])
    again = policy.log_prob(tf.reshape(rows.observations, [-1, 4]), actions)
    np.testing.assert_allclose(tf.reshape(rows.log_probs, [-1]), again, atol=1e-5)


def test_refuses_what_does_not_fit(make_trainer: Make) -> None:
    trainer = make_trainer("PPO")
    car = kpg.make("MountainCar-v0", num_envs=4)
    for call in (trainer.fit, trainer.evaluate):
        with pytest.raises(ValueError, match=r"observation_space.*Received: Box"):
            call(car)
    with pytest.raises(ValueError, match=r"minibatch_size` must divide.*Received"):
        trainer.fit(cartpole(num_envs=3))
    with pytest.raises(ValueError, match=r"`epochs` must be.*Received: epochs=0"):
        trainer.fit(cartpole(), epochs=0)
    with pytest.raises(ValueError, match=r"`episodes` must be.*episodes=0"):
        trainer.evaluate(cartpole(), episodes=0)
    with pytest.raises(ValueError, match=r"same observations.*Received: policy"):
        critic = kpg.models.Critic(car.observation_space)
        kpg.trainers.PPO(trainer.policy, critic)
    with pytest.raises(ValueError, match=r"Did you mean gamma.*Received: gama=1"):
        unknown: Any = {"gama": 1}
        kpg.trainers.PPO(trainer.policy, trainer.critic, **unknown)


def test_compile_comes_first_and_checks(make_trainer: Make) -> None:
    trainer = make_trainer("PPO")
    fresh = kpg.trainers.PPO(trainer.policy, trainer.critic, num_steps=8)
    with pytest.raises(ValueError, match=r"Call `compile\(\)` before"):
        fresh.fit(cartpole())
    with pytest.raises(ValueError, match="steps_per_execution.*Received"):
        fresh.compile(steps_per_execution=0)
    with pytest.raises(ValueError, match="jit_compile.*Received: jit_compile='yes'"):
        fresh.compile(jit_compile="yes")
    decay = keras.optimizers.schedules.PolynomialDecay(1e-3, 100)
    scheduled = kpg.trainers.PPO(
        trainer.policy, trainer.critic, learning_rate_schedule="linear"
    )
    with pytest.raises(ValueError, match="LearningRateSchedule of its own"):
        scheduled.compile(keras.optimizers.Adam(decay))
    fresh.compile(keras.optimizers.Adam(decay), jit_compile=False)
    assert fresh.compiled


def test_reinforce_needs_whole_episodes_or_a_critic(make_trainer: Make) -> None:
    trainer = make_trainer("REINFORCE", num_steps=100)
    with pytest.raises(ValueError, match=r"time limit.*num_steps=100.*steps=500"):
        trainer.fit(cartpole())
    with pytest.raises(ValueError, match="whole episodes only"):
        kpg.trainers.REINFORCE(trainer.policy, whole_episodes=False)
