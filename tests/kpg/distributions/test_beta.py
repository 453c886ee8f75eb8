"""Beta distributions against SciPy."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kpg.distributions import for_space
from kpg.distributions.beta import BetaFamily

LOW, HIGH = -1.0, 3.0
FAMILY = for_space(gym.spaces.Box(LOW, HIGH, (1,)), distribution="beta")
# Inputs of the softplus: uniform, one-sided, of two sides, narrow.
INPUTS = [(-30.0, -30.0), (-3.0, 2.0), (1.0, 0.5), (300.0, 40.0)]
each = pytest.mark.parametrize("inputs", INPUTS, ids=str)


def oracle(inputs: tuple[float, float]) -> Any:
    alpha, beta = 1.0 + np.logaddexp(0.0, inputs)
    return scipy.stats.beta(alpha, beta, loc=LOW, scale=HIGH - LOW)


def rows(inputs: tuple[float, float], count: int) -> tf.Tensor:
    return tf.tile(tf.constant([inputs], tf.float32), [count, 1])


@each
def test_log_prob(inputs: tuple[float, float]) -> None:
    points = np.linspace(0.01, 0.99, 99, dtype=np.float32)[:, np.newaxis]
    actual = FAMILY.log_prob(rows(inputs, 99), points)
    expected = oracle(inputs).logpdf(LOW + (HIGH - LOW) * points[:, 0].astype("f8"))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


@each
def test_density_and_entropy_by_quadrature(inputs: tuple[float, float]) -> None:
    """The density integrates to 1 over the Box, and the entropy is −∫ p log p."""
    points = ((np.arange(20_000) + 0.5) / 20_000).astype(np.float32)[:, np.newaxis]
    log_probs = FAMILY.log_prob(rows(inputs, 20_000), points).numpy().astype("f8")
    densities, step = np.exp(log_probs), (HIGH - LOW) / 20_000
    assert densities.sum() * step == pytest.approx(1.0, abs=1e-3)
    entropy = float(FAMILY.entropy(rows(inputs, 1))[0])
    expected = -(densities * log_probs).sum() * step
    assert entropy == pytest.approx(expected, abs=2e-3)
    # Differences of numbers of the size of α, which float32 rounds, remain.
    assert entropy == pytest.approx(oracle(inputs).entropy(), abs=5e-4)


@each
def test_samples(inputs: tuple[float, float]) -> None:
    """Kolmogorov and Smirnov do not tell them from SciPy's, but from a neighbour's."""
    raw = FAMILY.sample(rows(inputs, 20_000), tf.constant([1, 2])).numpy()[:, 0]
    assert 0.0 < raw.min() and raw.max() < 1.0
    actions = LOW + (HIGH - LOW) * raw.astype("f8")
    exact = oracle(inputs)
    assert scipy.stats.kstest(actions, exact.cdf).pvalue > 1e-3
    wrong = scipy.stats.beta(
        exact.args[0] * 1.1, exact.args[1], loc=LOW, scale=HIGH - LOW
    )
    assert scipy.stats.kstest(actions, wrong.cdf).pvalue < 1e-3
    error = 4 * exact.std() / np.sqrt(20_000)
    assert abs(actions.mean() - exact.mean()) < error


def test_rows_are_drawn_independently() -> None:
    """What is drawn again after a rejection does not copy its neighbour."""
    raw = FAMILY.sample(rows((-30.0, -30.0), 20_000), tf.constant([1, 2])).numpy()[:, 0]
    assert len(np.unique(raw)) > 19_900
    lagged = np.corrcoef(raw[:-1], raw[1:])[0, 1]
    assert abs(lagged) < 4 / np.sqrt(20_000)


def test_concentrations_are_at_least_one() -> None:
    named = FAMILY.named_parameters(tf.constant([[-200.0, 2.0]]))
    np.testing.assert_array_equal(named["concentration1"], [[1.0]])
    np.testing.assert_allclose(
        named["concentration0"], [[1.0 + np.logaddexp(0.0, 2.0)]], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ((0.0, 0.0), 0.5),
        ((-200.0, -200.0), 0.5),
        ((np.log(np.e - 1), np.log(np.exp(3) - 1)), 0.25),
    ],
)
def test_mode(inputs: tuple[float, float], expected: float) -> None:
    """(α − 1) / (α + β − 2), for α = 2 and β = 4 in the last case."""
    mode = FAMILY.mode(rows(inputs, 1))
    np.testing.assert_allclose(mode, [[expected]], rtol=1e-6)
    assert np.isfinite(FAMILY.log_prob(rows(inputs, 1), mode)).all()


@pytest.mark.parametrize("inputs", [(-200.0, 50.0), (50.0, -200.0)])
def test_no_raw_action_is_a_bound(inputs: tuple[float, float]) -> None:
    for raw in (
        FAMILY.mode(rows(inputs, 1)),
        FAMILY.sample(rows(inputs, 100_000), tf.constant([1, 2])),
    ):
        assert np.all((raw > 0) & (raw < 1))
        values = FAMILY.log_prob(rows(inputs, len(raw)), raw)
        assert np.isfinite(values).all()


def test_nan_parameters_end_the_rejections() -> None:
    """A row without a legal choice makes all its parts NaN: this must come back."""
    inputs = tf.constant([[np.nan, np.nan], [0.0, 0.0]])
    raw = FAMILY.sample(inputs, tf.constant([1, 2]))
    assert np.isnan(FAMILY.log_prob(inputs, raw)[0])
    assert np.isfinite(FAMILY.log_prob(inputs, raw)[1])


def test_a_sample_has_no_gradient() -> None:
    inputs = rows((0.0, 0.0), 3)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        raw = FAMILY.sample(inputs, tf.constant([1, 2]))
    assert tape.gradient(raw, inputs) is None


def test_parameters_are_inputs_of_alpha_then_of_beta() -> None:
    family = BetaFamily(gym.spaces.Box(0, 1, (2, 2)))
    assert family.parameters_shape == (8,) and np.isnan(family.constants).all()
    named = family.named_parameters(tf.range(8.0))
    inputs = np.logaddexp(0.0, np.arange(8.0)).reshape(2, 2, 2)
    np.testing.assert_allclose(named["concentration1"], 1 + inputs[0], rtol=1e-6)
    np.testing.assert_allclose(named["concentration0"], 1 + inputs[1], rtol=1e-6)


@pytest.mark.parametrize("alpha", [3e2, 3e4, 1e6])
@pytest.mark.parametrize("ratio", [1.0, 0.2])
def test_large_concentrations_keep_their_digits(alpha: float, ratio: float) -> None:
    """In float32 the terms of the density, of the size of α, would leave few."""
    # Far from 0 the softplus is the identity, and float32 can tell the parameters.
    given = np.array([[alpha, ratio * alpha]], np.float32)
    exact = scipy.stats.beta(*(1.0 + given[0].astype("f8")))
    points = exact.mean() + exact.std() * np.linspace(-3.0, 3.0, 9)
    raw = points.astype(np.float32)[:, np.newaxis]
    parameters = tf.constant(given)
    volume = np.log(HIGH - LOW)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters)
        log_probs = FAMILY.log_prob(tf.tile(parameters, [9, 1]), raw)
        entropy = FAMILY.entropy(parameters)[0]
    expected = exact.logpdf(raw[:, 0].astype("f8")) - volume
    np.testing.assert_allclose(log_probs, expected, atol=1e-5, rtol=1e-6)
    assert float(entropy) == pytest.approx(entropy_of(given[0]) + volume, abs=1e-5)

    a, b = 1.0 + given[0].astype("f8")
    digamma: Any = scipy.special.digamma
    trigamma: Any = functools.partial(scipy.special.polygamma, 1)
    x = raw[:, 0].astype("f8")
    slopes = np.stack([np.log(x) - digamma(a), np.log1p(-x) - digamma(b)], axis=1)
    slopes = (slopes + digamma(a + b)).sum(axis=0)
    found = tape.gradient(log_probs, parameters)[0]
    np.testing.assert_allclose(found, slopes, rtol=1e-4, atol=1e-7)
    common = (a + b - 2.0) * trigamma(a + b)
    slopes = np.stack([common - (z - 1.0) * trigamma(z) for z in (a, b)])
    found = tape.gradient(entropy, parameters)[0]
    np.testing.assert_allclose(found, slopes, rtol=1e-4, atol=1e-9)


def entropy_of(excesses: np.ndarray) -> float:
    """Returns the entropy on (0, 1) by quadrature around the mean."""
    exact = scipy.stats.beta(*(1.0 + excesses.astype("f8")))
    width = 12.0 * exact.std()
    points = exact.mean() + width * (np.arange(20_000) + 0.5 - 10_000) / 10_000
    points = points[(points > 0.0) & (points < 1.0)]
    log_probs = exact.logpdf(points)
    return float(-(np.exp(log_probs) * log_probs).sum() * width / 10_000)
