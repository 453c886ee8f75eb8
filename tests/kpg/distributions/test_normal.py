"""Normal distributions against SciPy and quadrature."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import kpg
from kpg.distributions import Normal, for_space
from kpg.environments import as_environment
from kpg.models import Policy
from kpg.testing import check_family
from tests.environments import Walk

FAMILY = for_space(gym.spaces.Box(-9, 9, (1,)))
ROW = np.array([[0.5, np.log(2.0)]], np.float32)


def test_samples() -> None:
    rows = tf.tile(ROW, [40_000, 1])
    raw = FAMILY.sample(rows, tf.constant([5, 6])).numpy()[:, 0]
    assert scipy.stats.kstest(raw, scipy.stats.norm(0.5, 2.0).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(raw, scipy.stats.norm(0.5, 2.1).cdf).pvalue < 1e-3


def test_density_and_entropy() -> None:
    """The density integrates to 1, and the entropy is −∫ p log p."""
    grid = np.linspace(-20, 20, 20_001, dtype=np.float32)[:, np.newaxis]
    rows = tf.tile(ROW, [len(grid), 1])
    log_probs = FAMILY.log_prob(rows, grid).numpy().astype(np.float64)
    step = 40 / 20_000
    assert np.exp(log_probs).sum() * step == pytest.approx(1.0, abs=1e-4)
    entropy = -(np.exp(log_probs) * log_probs).sum() * step
    assert float(FAMILY.entropy(ROW)[0]) == pytest.approx(entropy, abs=1e-3)


def test_means_come_before_log_stds() -> None:
    space = gym.spaces.Box(-1, 1, (2, 2))
    named = for_space(space).named_parameters(tf.range(8.0))
    np.testing.assert_array_equal(named["loc"], [[0, 1], [2, 3]])
    np.testing.assert_allclose(named["scale"], np.exp([[4, 5], [6, 7]]), rtol=1e-6)


def test_constants() -> None:
    """NaN is an output of the network, a number the start of a weight."""
    space = gym.spaces.Box(-1, 1, (2,))
    for distribution in ("normal", "tanh_normal"):
        family = for_space(space, distribution=distribution)
        np.testing.assert_array_equal(family.constants, [np.nan, np.nan, 0, 0])
        family = for_space(space, distribution=distribution, log_std_init=-0.5)
        np.testing.assert_array_equal(family.constants, [np.nan, np.nan, -0.5, -0.5])
        family = for_space(space, distribution=distribution, state_dependent_std=True)
        assert np.isnan(family.constants).all()


def extremes(space: gym.spaces.Box, **options: Any) -> np.ndarray:
    """Returns what the environment gets for the raw actions −1, 0, ½ and 1."""
    family = for_space(space, **options)
    raw = np.stack([np.full(space.shape, x, np.float32) for x in (-1, 0, 0.5, 1)])
    actions = family.to_environment(raw)
    assert actions.dtype == space.dtype
    return np.asarray(actions)


@pytest.mark.parametrize(
    ("low", "high"),
    [(100, 200), (0, 1000), (-0.01, 0.01), (-2, 2), (1e6, 1e6 + 1), (5, 5), (-9, -3)],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bounded_box_has_a_unit_of_its_own(
    low: float, high: float, dtype: Any
) -> None:
    space = gym.spaces.Box(low, high, (2,), dtype)
    expected = np.array([low, (low + high) / 2, low + (high - low) * 0.75, high])
    got = extremes(space)
    np.testing.assert_allclose(got, np.stack([expected] * 2, axis=1), rtol=1e-6)
    for action in (*got, *extremes(space) + 1e-9):
        assert space.contains(np.clip(action, low, high).astype(dtype))
    # What was before: the environment's own numbers.
    got = extremes(space, distribution=Normal(scaled=False))
    clipped = np.clip([-1.0, 0.0, 0.5, 1.0], low, high)
    np.testing.assert_allclose(got[:, 0], clipped, rtol=1e-6)


def test_numbers_without_two_bounds_are_their_own() -> None:
    most = np.finfo(np.float32).max
    low = np.array([-1.0, 0.0, -np.inf, -3.4e38, -most, 100.0], np.float32)
    high = np.array([1.0, np.inf, 5.0, 3.4e38, most, 200.0], np.float32)
    got = extremes(gym.spaces.Box(low, high))
    free, positive = [-1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.5, 1.0]
    columns = [free, positive, free, free, free, [100.0, 150.0, 175.0, 200.0]]
    np.testing.assert_array_equal(got, np.stack(columns, axis=1))


def test_the_unit_box_stays_the_same_to_the_bit() -> None:
    space = gym.spaces.Box(-1.0, 1.0, (3,))
    one, before = (
        for_space(space, distribution=Normal(scaled=own)) for own in (True, False)
    )
    raw = tf.random.stateless_normal([200, 3], [1, 2])
    for family in (one, before):
        operations = tf.function(family.to_environment).get_concrete_function(raw)
        kinds = {x.type for x in operations.graph.get_operations()}
        assert not {"Mul", "AddV2", "Cast"} & kinds
    np.testing.assert_array_equal(one.to_environment(raw), before.to_environment(raw))


def test_a_new_policy_tries_all_of_a_box() -> None:
    space = gym.spaces.Box(100.0, 200.0, (1,))
    check_family(for_space(space))
    policy = Policy(gym.spaces.Box(-1, 1, (2,)), space, hidden_units=(4,), seed=0)
    raw, _ = policy.sample(tf.ones([4000, 2]), tf.constant([1, 2]))
    actions = policy.family.to_environment(raw).numpy()
    inside = (actions > 100.0) & (actions < 200.0)
    assert inside.mean() == pytest.approx(0.683, abs=0.03)
    assert actions[inside].mean() == pytest.approx(150.0, abs=2.0)
    narrow = Policy(gym.spaces.Box(-1, 1, (2,)), space, log_std_init=-3.0, seed=0)
    raw, _ = narrow.sample(tf.ones([4000, 2]), tf.constant([1, 2]))
    actions = narrow.family.to_environment(raw).numpy()
    assert actions.std() == pytest.approx(50.0 * np.exp(-3.0), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high"), [(100, 200), (0, 1000), (-0.01, 0.01), (-1, 1)]
)
def test_a_place_in_any_box_is_learned(low: float, high: float) -> None:
    """One step, and the reward is −|x − 0.7| where x is the share of the range."""
    bandit = Walk(
        lambda time, action: -tf.abs((action[:, 0] - low) / (high - low) - 0.7),
        length=1,
        action_space=gym.spaces.Box(low, high, (1,)),
    )
    env = as_environment(bandit, 64, seed=0)
    spaces = env.observation_space, env.action_space
    trainer = kpg.trainers.PPO(
        Policy(*spaces, hidden_units=(8,), seed=0),
        kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=0),
        seed=0,
        num_steps=16,
        num_epochs=4,
        minibatch_size=256,
    )
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    trainer.fit(env, steps_per_epoch=60, verbose=0)
    assert trainer.evaluate(env, 64)["return"] > -0.03
