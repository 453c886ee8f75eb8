"""Training under MirroredStrategy, over two logical CPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import ControlledGeneration, Probe, TextGeneration
from tests.claims import PAIRS, Pair, make_environment
from tests.claims import make_trainer as make_probe_trainer
from tests.fragments import states_of, traces, values_of
from tests.texts import gpt2, policy


@pytest.fixture
def strategy() -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def assert_copies_agree(strategy: tf.distribute.Strategy, trainer: Any) -> None:
    for variable in trainer.trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*copies)


@pytest.mark.slow
def test_fit_learns_cartpole(strategy: tf.distribute.Strategy) -> None:
    env = kpg.make("CartPole-v1", num_envs=8, seed=1)
    with strategy.scope():
        policy = kpg.models.Policy(env.observation_space, env.action_space, seed=1)
        critic = kpg.models.Critic(env.observation_space, seed=1)
        trainer: Any = kpg.trainers.PPO(
            policy,
            critic,
            seed=1,
            num_steps=32,
            num_epochs=20,
            minibatch_size=256,
            gamma=0.98,
            gae_lambda=0.8,
            normalize_observations=True,
            normalize_rewards=True,
        )
        trainer.compile(keras.optimizers.Adam(1e-3), steps_per_execution=16)
    history = trainer.fit(
        env,
        epochs=4,
        steps_per_epoch=32,
        validation_data=kpg.make("CartPole-v1", num_envs=50, seed=2),
        validation_episodes=50,
        verbose=0,
    ).history
    assert max(history["val_return"]) >= 475
    assert traces(trainer) == 1
    assert_copies_agree(strategy, trainer)


@pytest.mark.slow
def test_replicas_agree_and_are_saved_as_one(
    strategy: tf.distribute.Strategy,
    make_trainer: Callable[..., Any],
    tmp_path: Path,
) -> None:
    env = kpg.make("CartPole-v1", num_envs=4, seed=1)
    with strategy.scope():
        trainer = make_trainer(
            env=env, normalize_observations=True, normalize_rewards=True
        )
    before = values_of(trainer.trainable_variables)
    history = trainer.fit(env, epochs=2, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert traces(trainer) == 1
    after = values_of(trainer.trainable_variables)
    assert all((old != new).any() for old, new in zip(before, after, strict=True))
    assert_copies_agree(strategy, trainer)
    # Each replica has luck of its own.
    copies = strategy.experimental_local_results(states_of(trainer))
    assert not np.allclose(*copies)
    trainer.save(tmp_path / "trainer.keras")
    rows = np.random.default_rng(0).normal(size=(9, 4)).astype("float32")
    loaded = kpg.load(tmp_path / "trainer.keras")
    np.testing.assert_array_equal(
        loaded.predict(rows, verbose=0), trainer.predict(rows, verbose=0)
    )


PLAIN, MASKED = PAIRS["box-discrete"], PAIRS["discrete-discrete-masked-lstm"]
MOMENTS = {"normalize_observations": True, "normalize_rewards": True}
EPOCHS = {"num_epochs": 3, "minibatch_size": 24, "target_kl": 0.02}
KINDS: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "mirrored": lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    "central": lambda: tf.distribute.experimental.CentralStorageStrategy(
        ["CPU:0", "CPU:1"]
    ),
    "one device": lambda: tf.distribute.OneDeviceStrategy("CPU:0"),
}


@pytest.mark.parametrize(
    ("kind", "algorithm", "pair", "settings"),
    [
        *(
            # The fast one is in `trainers/learning/test_replicas.py`.
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("mirrored", "ActorCritic", MASKED, {"normalize_rewards": True}),
                ("mirrored", "ActorCritic", PLAIN, MOMENTS),
                ("mirrored", "REINFORCE", PLAIN, MOMENTS),
                ("mirrored", "REINFORCE", MASKED, {}),
                ("mirrored", "PPO", PLAIN, {**MOMENTS, **EPOCHS}),
                ("mirrored", "PPO", MASKED, EPOCHS),
                ("central", "PPO", PLAIN, {**MOMENTS, **EPOCHS}),
                ("one device", "PPO", PLAIN, {**MOMENTS, **EPOCHS}),
            ]
        ),
    ],
)
def test_replicas_learn_what_one_does(
    kind: str,
    algorithm: str,
    pair: Pair,
    settings: dict[str, Any],
    one_by_one: None,
) -> None:
    """On the same rows, all of them in each minibatch."""

    def trained(strategy: tf.distribute.Strategy) -> tuple[Any, dict[str, Any]]:
        probe = Probe(pair.task, pair.observation[1], pair.action[1], pair.masked)
        env = make_environment(probe, "NEXT_STEP", 4)
        with strategy.scope():
            trainer = make_probe_trainer(
                algorithm,
                env,
                pair,
                num_steps=6,
                max_grad_norm=0.05,
                normalize_advantages=True,
                compile_arguments={"jit_compile": False},
                **settings,
            )
        history = trainer.fit(env, epochs=3, steps_per_epoch=2, verbose=0).history
        return trainer, {k: v for k, v in history.items() if k != "steps_per_second"}

    strategy = KINDS[kind]()
    # Replicas need graphs. Alone, the operations one by one give the same numbers.
    one, expected = trained(tf.distribute.get_strategy())
    tf.config.run_functions_eagerly(False)
    several, logs = trained(strategy)
    assert expected["loss"][0] != expected["loss"][-1]
    assert logs.keys() == expected.keys()
    for name, numbers in expected.items():
        np.testing.assert_allclose(logs[name], numbers, rtol=1e-4, atol=1e-6)
    for got, want in zip(several.variables, one.variables, strict=True):
        for copy in strategy.experimental_local_results(got.value):
            np.testing.assert_allclose(copy, want.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ActorCritic", "REINFORCE"])
def test_the_other_algorithms_run_in_the_graph(
    algorithm: str, strategy: tf.distribute.Strategy, make_trainer: Callable[..., Any]
) -> None:
    with strategy.scope():
        trainer = make_trainer(algorithm)
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert_copies_agree(strategy, trainer)
    # Each replica has luck of its own.
    copies = strategy.experimental_local_results(states_of(trainer))
    assert not np.allclose(*copies)


def test_refuses_what_replicas_cannot_share(
    strategy: tf.distribute.Strategy, make_trainer: Callable[..., Any]
) -> None:
    with strategy.scope():
        trainer = make_trainer("PPO")
        with pytest.raises(ValueError, match="several replicas, which XLA"):
            trainer.compile(jit_compile=True)
    env = kpg.make("CartPole-v1", num_envs=3)
    with pytest.raises(ValueError, match=r"replicas must divide.*Received: 2 replicas"):
        trainer.fit(env)


def test_a_group_is_on_one_replica(strategy: tf.distribute.Strategy) -> None:
    groups: dict[str, Any] = {"returns": "total", "baseline": "leave_one_out"}

    def check(size: int | None, count: int) -> None:
        env = kpg.make("CartPole-v1", num_envs=count)
        with strategy.scope():
            actor = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
            trainer = kpg.trainers.REINFORCE(
                actor, group_size=size, num_steps=500, **groups
            )
        trainer.check_environment(env)

    check(2, 4)
    check(3, 6)
    for size, count in ((None, 4), (4, 4), (2, 6)):
        with pytest.raises(ValueError, match=f"group_size={size}.*2 replicas"):
            check(size, count)


def vowels(prompts: Any, completions: Any) -> list[float]:
    return [float(text.count("a")) for text in completions]


GROUPS = {"returns": "total", "baseline": "leave_one_out", "group_size": 3}
GREEDY = {"returns": "total", "baseline": "self_critical"}
REFERENCE = {"num_epochs": 2, "minibatch_size": 24, "reference_kl_coef": 0.1}


def writer(algorithm: str, settings: dict[str, Any]) -> Any:
    """Returns a compiled trainer of a small language policy."""
    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    critic = None if algorithm == "REINFORCE" else made.critic
    shared = {"num_steps": 4, "seed": 0, **settings}
    trainer = getattr(kpg.trainers, algorithm)(made, critic, **shared)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return trainer


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        pytest.param("REINFORCE", GROUPS, marks=pytest.mark.slow),
        pytest.param("REINFORCE", GREEDY, marks=pytest.mark.slow),
        pytest.param("ActorCritic", {}, marks=pytest.mark.slow),
        pytest.param("PPO", REFERENCE, marks=pytest.mark.slow),
    ],
)
def test_two_replicas_learn_from_texts_what_one_does(
    algorithm: str,
    settings: dict[str, Any],
    strategy: tf.distribute.Strategy,
    one_by_one: None,
) -> None:
    one = writer(algorithm, settings)
    with strategy.scope():
        two = writer(algorithm, settings)
    start = values_of(one.trainable_variables)
    histories = []
    for trainer in (one, two):
        env = TextGeneration(
            ["ba", "c", "abcab"],
            rewards=[vowels],
            max_new_tokens=4,
            group_size=3,
            num_envs=6,
        )
        # Replicas need graphs. Alone, the operations one by one give the same numbers.
        tf.config.run_functions_eagerly(trainer is one)
        history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
        timeless = {name for name in history if name != "steps_per_second"}
        histories.append({name: history[name][0] for name in timeless})
        histories[-1]["evaluated"] = trainer.evaluate(env, episodes=6)["return"]
    assert histories[1] == pytest.approx(histories[0], rel=1e-3, abs=1e-5)
    pairs = zip(one.trainable_variables, two.trainable_variables, strict=True)
    for want, got in pairs:
        copies = strategy.experimental_local_results(got.value)
        np.testing.assert_array_equal(*copies)
        np.testing.assert_allclose(copies[0], want.numpy(), rtol=1e-3, atol=1e-5)
    moved = zip(start, values_of(one.trainable_variables), strict=True)
    assert any(not np.array_equal(before, after) for before, after in moved)


@pytest.mark.slow
@pytest.mark.parametrize("learns", [False, True])
def test_two_replicas_steer_an_executor_as_one_does(
    learns: bool, strategy: tf.distribute.Strategy
) -> None:
    def trained() -> Any:
        made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
        env = ControlledGeneration(
            made,
            ["ba", "c"],
            rewards=[vowels],
            word_classes={"x": ["a"]},
            phrases=["ab"],
            max_new_tokens=4,
            num_envs=4,
            jit_compile=False,
        )
        spaces = (env.single_observation_space, env.single_action_space)
        trainer = kpg.trainers.PPO(
            kpg.models.Policy(*spaces, hidden_units=(8,), seed=0),
            kpg.models.Critic(spaces[0], hidden_units=(8,), seed=0),
            seed=0,
            executor=made if learns else None,
            num_steps=4,
            num_epochs=2,
            minibatch_size=16,
        )
        own = keras.optimizers.SGD(0.1) if learns else None
        rates: dict[str, Any] = {"executor_optimizer": own, "jit_compile": False}
        trainer.compile(keras.optimizers.SGD(0.1), **rates)
        return trainer, env, made

    one, env, made = trained()
    with strategy.scope():
        two, other, theirs = trained()
    start = values_of(made.weights)
    one.fit(env, steps_per_epoch=2, verbose=0)
    two.fit(other, steps_per_epoch=2, verbose=0)
    assert learns == any(
        not np.array_equal(*pair)
        for pair in zip(start, values_of(made.weights), strict=True)
    )
    pairs = zip(
        values_of([*one.weights, *made.weights]),
        values_of([*two.weights, *theirs.weights]),
        strict=True,
    )
    for want, got in pairs:
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
