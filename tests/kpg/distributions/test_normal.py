"""Normal distributions against SciPy and quadrature."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kpg.distributions import for_space

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
