"""Tanh-normal distributions against quadrature over the Box and float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import for_space

LOW, HIGH = -1.0, 3.0  # not symmetric, and not of the width of tanh
FAMILY = for_space(gym.spaces.Box(LOW, HIGH, (1,)), distribution="tanh_normal")
NORMAL = for_space(gym.spaces.Box(LOW, HIGH, (1,)))
CASES = [(0.0, 0.3), (-0.8, 1.0), (0.5, 1.5), (2.0, 0.5), (1.0, 3.0)]
LogProb = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def quadrature() -> tuple[Any, Any, Any]:
    """Actions in the open Box, as raw ones too, and weights.

    The midpoint rule in an angle, a = cos θ, which is dense at both ends.
    """
    angles = (np.arange(40_000) + 0.5) * np.pi / 40_000
    actions = 0.5 * (LOW + HIGH) + 0.5 * (HIGH - LOW) * np.cos(angles)
    weights = 0.5 * (HIGH - LOW) * np.sin(angles) * np.pi / 40_000
    raw = np.arctanh(np.cos(angles)).astype(np.float32)[:, np.newaxis]
    return actions, raw, weights


def log_densities(log_prob: LogProb, loc: float, scale: float) -> Any:
    _, raw, _ = quadrature()
    row = np.array([[loc, np.log(scale)]], np.float32)
    values = log_prob(tf.tile(row, [len(raw), 1]), tf.constant(raw))
    return values.numpy().astype(np.float64)


def check_density(log_prob: LogProb) -> None:
    """Over the Box of the environment, whatever σ, the density integrates to 1."""
    _, _, weights = quadrature()
    for loc, scale in CASES:
        total = np.exp(log_densities(log_prob, loc, scale)) @ weights
        np.testing.assert_allclose(total, 1.0, atol=1e-4)


def check_far_out(log_prob: LogProb) -> None:
    """Finite where 1 − tanh² is 0, and equal to float64: a = tanh 40 has its density.

    In float64 the derivative of tanh is 1 / cosh², which does not overflow at 40.
    """
    raw = np.array([-40.0, -9.0, -1.0, 0.0, 0.1, 9.0, 40.0])
    slopes = np.log(0.5 * (HIGH - LOW) / np.cosh(raw) ** 2)
    expected = -0.5 * (raw / 10.0) ** 2 - np.log(10.0 * np.sqrt(2 * np.pi)) - slopes
    rows = tf.tile(np.array([[0.0, np.log(10.0)]], np.float32), [len(raw), 1])
    points = tf.constant(raw[:, np.newaxis], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(points)
        actual = log_prob(rows, points)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    gradient = tape.gradient(actual, points)[:, 0]
    np.testing.assert_allclose(gradient, 2 * np.tanh(raw) - raw / 100.0, atol=1e-5)


def corrected(correction: Callable[[tf.Tensor], tf.Tensor]) -> LogProb:
    """A log-probability with a correction of its own for log(da/du)."""

    def log_prob(parameters: tf.Tensor, raw: tf.Tensor) -> tf.Tensor:
        return NORMAL.log_prob(parameters, raw) - correction(raw)[..., 0]

    return log_prob


HALF = np.float32(np.log(0.5 * (HIGH - LOW)))
WRONG_DENSITIES: dict[str, LogProb] = {
    "no correction": NORMAL.log_prob,
    "without the width": corrected(lambda u: tf.math.log1p(-(tf.tanh(u) ** 2) + 1e-9)),
    "wrong sign": corrected(lambda u: -HALF - tf.math.log(1 / tf.cosh(u) ** 2 + 1e-9)),
    "of the clipped action": corrected(
        lambda u: HALF + tf.math.log1p(-(tf.clip_by_value(u, -0.999, 0.999) ** 2))
    ),
}
WRONG_FAR_OUT: dict[str, LogProb] = {
    "log1p(-a²)": corrected(lambda u: HALF + tf.math.log1p(-(tf.tanh(u) ** 2))),
    "with an epsilon": corrected(
        lambda u: HALF + tf.math.log(1.0 - tf.tanh(u) ** 2 + 1e-6)
    ),
}


def test_the_density_integrates_to_one() -> None:
    check_density(FAMILY.log_prob)


def test_the_density_is_finite_far_out() -> None:
    check_far_out(FAMILY.log_prob)


@pytest.mark.parametrize("wrong", WRONG_DENSITIES)
def test_wrong_corrections_are_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_density(WRONG_DENSITIES[wrong])


@pytest.mark.parametrize("wrong", WRONG_FAR_OUT)
def test_unstable_corrections_are_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        check_far_out(WRONG_FAR_OUT[wrong])


@pytest.mark.parametrize(
    ("loc", "scale", "tolerance"), [(*case, 2e-4) for case in CASES] + [(-1, 5.0, 5e-3)]
)
def test_entropy_is_that_of_the_density(
    loc: float, scale: float, tolerance: float
) -> None:
    """H = −∫ p log p, by the same integral over u, which knows no bounds."""
    raw = loc + scale * np.linspace(-9, 9, 20_001)
    row = np.array([[loc, np.log(scale)]], np.float32)
    log_probs = FAMILY.log_prob(
        tf.tile(row, [len(raw), 1]), tf.constant(raw[:, np.newaxis], tf.float32)
    )
    weights = np.exp(-0.5 * ((raw - loc) / scale) ** 2)
    expected = -(weights @ log_probs.numpy().astype(np.float64)) / weights.sum()
    assert float(FAMILY.entropy(row)[0]) == pytest.approx(expected, abs=tolerance)


def test_entropy_is_minus_the_integral_of_p_log_p() -> None:
    _, _, weights = quadrature()
    for loc, scale in CASES[:4]:
        log_probs = log_densities(FAMILY.log_prob, loc, scale)
        expected = -(np.exp(log_probs) * log_probs) @ weights
        row = np.array([[loc, np.log(scale)]], np.float32)
        assert float(FAMILY.entropy(row)[0]) == pytest.approx(expected, abs=1e-3)


def test_the_widest_entropy_is_less_than_that_of_the_uniform() -> None:
    """Wide normal distributions gather at the bounds: entropy has a maximum."""
    rows = np.array([[0.0, np.log(scale)] for scale in (0.01, 0.9, 5.0)], np.float32)
    narrow, middle, wide = FAMILY.entropy(rows).numpy()
    assert narrow < middle < np.log(HIGH - LOW)
    assert wide < middle


def test_the_environment_gets_the_squashed_action() -> None:
    actions, raw, _ = quadrature()
    np.testing.assert_allclose(
        FAMILY.to_environment(raw)[:, 0], actions, rtol=1e-5, atol=1e-5
    )


def test_the_mode_is_the_median() -> None:
    row = np.array([[0.7, 0.2]], np.float32)
    median = FAMILY.to_environment(FAMILY.mode(row))
    raw = FAMILY.sample(tf.tile(row, [40_000, 1]), tf.constant([1, 2]))
    below = (FAMILY.to_environment(raw) < median).numpy().mean()
    assert abs(below - 0.5) < 4 * 0.5 / np.sqrt(40_000)
