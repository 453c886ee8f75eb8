"""Baselines and normalisations of REINFORCE: exact expectations, and what is kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.tabular import TabularMDP
from kpg.trainers import REINFORCESettings
from kpg.trainers.acting.graph import GraphCollector
from kpg.trajectories import Trajectory
from tests.fragments import (
    Oracle,
    assert_weights,
    collected,
    fragment,
    gradients,
    learn,
    traces,
)
from tests.languages import LENGTH, REWARDS, STATES, WORDS, language, trainer_of
from tests.text_training import small_policy, task, vowels
from tests.whole_episodes import credited, without_critic

Make = Callable[..., Any]
Word = tuple[int, ...]
WHOLE: dict[str, Any] = {"returns": "total", "normalize_advantages": False}
UNBIASED = ["none", "moving_average", "self_critical", "leave_one_out"]
BIASED = ["batch_mean", "group_normalized"]
SLOW = {"none", "group_normalized"}


def written(policy: Any, words: Sequence[Word]) -> Trajectory:
    """Returns words as a trajectory, the greedy one of which is always (2, 0)."""
    shape = (LENGTH, len(words))
    states, actions, rewards = (np.zeros(shape, kind) for kind in (int, int, float))
    lengths = np.array([len(word) for word in words])
    for column, word in enumerate(words):
        for step, token in enumerate(word):
            states[step, column] = STATES[word[:step]]
            actions[step, column] = token
        rewards[len(word) - 1, column] = REWARDS[WORDS.index(word)]
    steps = np.arange(LENGTH)[:, np.newaxis]
    observations = tf.constant(np.eye(4)[states], tf.float32)
    greedy = np.where(steps == 1, REWARDS[WORDS.index((2, 0))], 0.0)
    rows = tf.constant(actions, tf.int32)
    parameters, _ = policy.unroll(observations, (), tf.zeros(shape, tf.bool))
    return Trajectory(
        observations=observations,
        actions=rows,
        log_probs=policy.family.log_prob(parameters, rows),
        rewards=tf.constant(rewards, tf.float32),
        terminated=tf.constant(steps == lengths - 1),
        truncated=tf.zeros(shape, tf.bool),
        valid=tf.constant(steps < lengths),
        next_observations=(),
        greedy_rewards=tf.constant(np.broadcast_to(greedy, shape), tf.float32),
    )


def expected_gradient(trainer: Any, count: int) -> list[np.ndarray]:
    """Enumerates what `count` words drawn at once teach."""
    of = gradients(trainer, count)
    total: Any = 0.0
    probabilities = np.exp(log_probabilities(trainer.policy).numpy())
    for drawn in itertools.product(range(len(WORDS)), repeat=count):
        rows = written(trainer.policy, [WORDS[index] for index in drawn])
        parts = of(rows)
        weight = np.prod(probabilities[list(drawn)])
        total = total + weight * np.concatenate([part.ravel() for part in parts])
    return [-total]


def log_probabilities(policy: Any) -> tf.Tensor:
    """Returns the log-probability of each word."""
    tokens = tf.nn.log_softmax(policy(np.eye(4, dtype=np.float32)[:3]))
    return tf.stack(
        [
            tf.add_n([tokens[STATES[word[:i]], token] for i, token in enumerate(word)])
            for word in WORDS
        ]
    )


def exact_gradient(policy: Any) -> np.ndarray:
    """Returns the derivative of Σ π(word) · R(word)."""
    variables = [variable.value for variable in policy.trainable_variables]
    with tf.GradientTape() as tape:
        log_probs = log_probabilities(policy)
        value = tf.reduce_sum(tf.exp(log_probs) * tf.constant(REWARDS, tf.float32))
    parts = [tf.convert_to_tensor(p).numpy() for p in tape.gradient(value, variables)]
    return np.concatenate([part.ravel() for part in parts])


def plain_trainer(baseline: str, normalization: str) -> Any:
    settings: dict[str, Any] = {"baseline": baseline, "max_grad_norm": None, **WHOLE}
    trainer = trainer_of("REINFORCE", loss_normalization=normalization, **settings)
    trainer.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    if baseline == "moving_average":
        trainer.baseline_state.assign([0.6, 0.8])
    return trainer


# What has no baseline is tested with texts, and one bias shows what it looks like.
@pytest.mark.parametrize(
    "baseline",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in [*UNBIASED, *BIASED]
    ],
)
def test_which_baselines_leave_the_expected_gradient(baseline: str) -> None:
    trainer = plain_trainer(baseline, "constant")
    (found,) = expected_gradient(trainer, 2)
    exact = exact_gradient(trainer.policy)
    error = np.linalg.norm(LENGTH * found - exact) / np.linalg.norm(exact)
    assert (error < 1e-4) if baseline in UNBIASED else (error > 0.1)


@pytest.mark.parametrize(
    "normalization", [pytest.param("rows", marks=pytest.mark.slow), "episodes"]
)
def test_lengths_that_were_sampled_bend_the_gradient(normalization: str) -> None:
    """Also in direction, not in size alone; a constant is why Dr. GRPO has it."""
    trainer = plain_trainer("none", normalization)
    (found,) = expected_gradient(trainer, 2)
    exact = exact_gradient(trainer.policy)
    cosine = found @ exact / np.linalg.norm(found) / np.linalg.norm(exact)
    assert cosine < 0.999


@pytest.mark.parametrize("normalization", ["rows", "episodes", "constant"])
def test_the_loss_is_the_mean_that_is_named(
    normalization: str, make_trainer: Make
) -> None:
    trainer = without_critic(
        make_trainer, baseline="none", loss_normalization=normalization, **WHOLE
    )
    rows = fragment(trainer.policy, whole=True)
    oracle, valid = Oracle(trainer, rows), rows.valid.numpy()
    gains, _ = credited(rows, "total")
    lengths = valid.sum(axis=0)
    divisors: Any = {
        "rows": valid.sum(),
        "episodes": len(lengths) * lengths,
        "constant": valid.size,
    }[normalization]
    weights = oracle.constant(np.where(valid, gains / divisors, 0.0))
    expected = oracle.step(lambda: -tf.reduce_sum(oracle.log_probs() * weights), 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)


def test_the_moving_average_is_that_of_the_iterations_before(
    make_trainer: Make, tmp_path: Path
) -> None:
    decay = 0.7
    options = {"baseline": "moving_average", "baseline_decay": decay, **WHOLE}
    trainer = without_critic(make_trainer, **options)
    means: list[float] = []
    rows = fragment(trainer.policy, whole=True)
    for number in range(3):
        rows = fragment(trainer.policy, whole=True)
        rows = rows._replace(rewards=rows.rewards + number)
        gains, _ = credited(rows, "total")
        powers = decay ** np.arange(number)[::-1]
        before = powers @ np.array(means) / powers.sum() if number else 0.0
        oracle = Oracle(trainer, rows)
        weights = oracle.constant(gains - before)
        expected = oracle.step(
            lambda o=oracle, w=weights: o.mean(-o.log_probs() * w), 0.1
        )
        learn(trainer, rows)
        assert_weights(trainer, expected)
        means.append(gains[rows.valid.numpy()].mean())
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    np.testing.assert_array_equal(loaded.baseline_state, trainer.baseline_state)
    learn(trainer, rows._replace(rewards=rows.rewards * float("nan")))
    np.testing.assert_array_equal(loaded.baseline_state, trainer.baseline_state)


def test_the_greedy_episode_has_the_same_start() -> None:
    rewards = np.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    transitions = np.zeros([3, 2, 3])
    transitions[..., 2] = 1.0
    table = TabularMDP(transitions, rewards, 1.0, [0.5, 0.5, 0.0], 1)
    env = GraphEnvironment(table, num_envs=32, seed=0)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    collector = GraphCollector(env, policy, 2, 32, restart=True, compare=True)
    carry = collector.start(tf.constant([1, 2]))
    _, rows, _ = tf.function(collector.collect, autograph=False)(
        carry, tf.constant([3, 4])
    )
    starts = np.argmax(rows.observations[0], axis=-1)
    greedy = rewards[starts, policy.mode(rows.observations[0])]
    sampled = rewards[starts, rows.actions[0]]
    np.testing.assert_array_equal(rows.rewards[0], sampled)
    np.testing.assert_array_equal(rows.greedy_rewards, [greedy, np.zeros(32)])
    assert len(np.unique(starts)) == 2 and (sampled != greedy).any()


# Its gradient is enumerated, and its episodes are played in a graph above.
@pytest.mark.slow
def test_being_self_critical_in_the_graph() -> None:
    settings: dict[str, Any] = {"baseline": "self_critical", **WHOLE}
    trainer = trainer_of("REINFORCE", **settings)
    trainer.fit(language(), steps_per_epoch=200, verbose=0)
    assert traces(trainer) == 1
    result = trainer.evaluate(language(), episodes=100, deterministic=False)
    assert result["return"] > 0.9 * REWARDS.max()


def test_being_self_critical_of_texts(one_by_one: None) -> None:
    made = small_policy("abc")
    trainer = kpg.trainers.REINFORCE(
        made, num_steps=3, gamma=1.0, seed=0, baseline="self_critical", returns="total"
    )
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    env = task([vowels], num_envs=6, group_size=2)
    rows, episodes = collected(trainer, env)
    indices = env.chosen(0)
    texts = made.generate([env.prompts[i] for i in indices], 3, deterministic=True)
    greedy = rows.greedy_rewards.numpy().sum(0)
    np.testing.assert_allclose(greedy, np.array(vowels([], texts)), rtol=1e-5)
    assert env.measured()["reward/vowels"] == pytest.approx(episodes.returns / 6)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    # The greedy texts are measured apart.
    assert history["reward/vowels"] == pytest.approx(history["return"])


def test_an_environment_that_cannot_begin_twice_is_refused(make_trainer: Make) -> None:
    trainer = without_critic(make_trainer, baseline="self_critical", **WHOLE)
    env = kpg.make("CartPole-v1", num_envs=4, backend="gymnasium", max_episode_steps=6)
    with pytest.raises(ValueError, match="start twice in one state.*CartPole-v1"):
        trainer.fit(env, verbose=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"baseline": "self_critical"}, "needs returns='total'.*SelfCritical"),
        (
            {
                "baseline": "self_critical",
                "returns": "total",
                "normalize_rewards": True,
            },
            "omit `normalize_rewards`",
        ),
        ({"baseline": "moving_average"}, "no constant baseline.*set it to False"),
        ({"baseline_decay": 0.5}, "`baseline_decay` has no effect with baseline=None"),
        (
            {"baseline": "moving_average", "baseline_decay": 1.5},
            "`baseline_decay` must be",
        ),
        (
            {"baseline": "moving_average", "baseline_decay": 1.0},
            "`baseline_decay` must be",
        ),
        ({"loss_normalization": "sum"}, "must be one of rows, episodes, constant"),
        (
            {"loss_normalization": "constant", "whole_episodes": False},
            "`loss_normalization` has no effect with whole_episodes=False",
        ),
    ],
)
def test_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REINFORCESettings.make(settings)
