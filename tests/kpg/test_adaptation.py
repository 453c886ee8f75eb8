"""Numbers that follow the KL divergence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.adaptation import kl_coefficient, learning_rate, proportional_kl_coefficient

TARGET = 0.01


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (0.0201, 2e-3),  # just above twice the target: divided by 1.5
        (0.02, 3e-3),  # the edges of the band belong to it
        (0.01, 3e-3),
        (0.005, 3e-3),
        (0.0049, 4.5e-3),  # just below half the target: multiplied by 1.5
        (1e30, 2e-3),
        (1e-30, 4.5e-3),
    ],
)
def test_learning_rate_moves_outside_the_band_only(kl: float, expected: float) -> None:
    found = learning_rate(3e-3, kl, target_kl=TARGET)
    assert found.dtype == tf.float32
    assert found.numpy() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (0.0151, 2.0),  # just above 1.5 times the target: doubled
        (0.0149, 1.0),
        (0.0067, 1.0),
        (0.0066, 0.5),  # just below the target divided by 1.5: halved
    ],
)
def test_kl_coefficient_is_doubled_and_halved(kl: float, expected: float) -> None:
    assert kl_coefficient(1.0, kl, target_kl=TARGET).numpy() == expected


@pytest.mark.parametrize("kl", [math.nan, math.inf, -math.inf, 0.0, -0.5])
@pytest.mark.parametrize("rule", [learning_rate, kl_coefficient])
def test_a_kl_that_says_nothing_moves_nothing(rule: Any, kl: float) -> None:
    number = tf.constant(3e-3)
    assert rule(number, kl, target_kl=TARGET).numpy() == number.numpy()


@pytest.mark.parametrize("rule", [learning_rate, kl_coefficient])
def test_moves_end_at_the_bounds_and_start_anywhere(rule: Any) -> None:
    bounds = {"target_kl": TARGET, "low": 1e-3, "high": 2e-3}
    small, large = (1e-4, 1.0) if rule is learning_rate else (1.0, 1e-4)
    up, down = (
        [rule(start, kl, **bounds).numpy() for start in (1.9e-3, 1e-2, 1.1e-3, 1e-4)]
        for kl in (small, large)
    )
    factor = 1.5 if rule is learning_rate else 2.0
    # Inside, up to the bound; above it no further; below it moves as usual.
    assert up == pytest.approx([2e-3, 1e-2, min(1.1e-3 * factor, 2e-3), 1e-4 * factor])
    assert down == pytest.approx(
        [1.9e-3 / 1.5 if factor == 1.5 else 1e-3] + [1e-2 / factor, 1e-3, 1e-4]
    )


def test_the_rate_settles_where_the_kl_is_near_the_target() -> None:
    """For a policy that moves by KL = c · rate², from far above and far below."""
    for start in (1e-6, 1e-2):
        rate = tf.constant(start)
        for _ in range(40):
            rate = learning_rate(rate, 1e4 * rate**2, target_kl=TARGET)
        assert 0.5 * TARGET <= float(1e4 * rate**2) <= 2.0 * TARGET


@pytest.mark.parametrize("rule", [learning_rate, kl_coefficient])
def test_rules_compile_and_are_traced_once(rule: Any) -> None:
    @tf.function(jit_compile=True, autograph=False)
    def run(number: tf.Tensor, kl: tf.Tensor) -> tf.Tensor:
        return rule(number, kl, target_kl=TARGET)

    for kl in (1e-4, 1.0, math.nan):
        arguments = tf.constant(3e-3), tf.constant(kl)
        found = run(*arguments)
        assert found.shape == ()
        assert found.numpy() == rule(*arguments, target_kl=TARGET).numpy()
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("rule", [learning_rate, kl_coefficient])
def test_numbers_out_of_range_are_refused(rule: Any) -> None:
    for target in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="`target_kl` must be positive. Received"):
            rule(1e-3, 0.01, target_kl=target)
    for low, high in ((0.0, 1.0), (2.0, 1.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match=r"0 < `low` <= `high`. Received: low="):
            rule(1e-3, 0.01, target_kl=TARGET, low=low, high=high)
    with pytest.raises(ValueError, match="`factor` must be above 1. Received: .*=1.0"):
        learning_rate(1e-3, 0.01, target_kl=TARGET, factor=1.0)


def controlled(kls: list[float], size: int, clip: float = 0.2) -> list[float]:
    """Ziegler et al., section 2.2, with a horizon of 2000 episodes, from β = 0.15."""
    beta, betas = 0.15, []
    for kl in kls:
        error = min(max((kl - 6.0) / 6.0, -clip), clip)
        beta = beta * (1.0 + error * size / 2000.0)
        betas.append(beta)
    return betas


def shipped(kls: list[float], size: int, **options: Any) -> list[float]:
    beta, betas = tf.constant(0.15), []
    for kl in kls:
        settings = {
            "target_kl": 6.0,
            "num_episodes": size,
            "horizon": 2000.0,
            **options,
        }
        beta = proportional_kl_coefficient(beta, kl, **settings)
        betas.append(float(beta))
    return betas


def test_the_proportional_coefficient_is_that_of_the_paper() -> None:
    kls = [*np.random.default_rng(0).gamma(4.0, 2.0, 60), 0.0, -1.0, 6.0, 1e6]
    for size in (1, 64, 512):
        assert shipped(kls, size) == pytest.approx(controlled(kls, size), rel=1e-5)
    wide = controlled(kls, 512, clip=0.5)
    assert shipped(kls, 512, clip=0.5) == pytest.approx(wide, rel=1e-5)
    assert wide != pytest.approx(controlled(kls, 512), rel=1e-2)


@pytest.mark.parametrize(
    ("kl", "factor"),
    [
        (6.0, 1.0),  # at the target
        (6.6, 1.01),  # a tenth above, for a tenth of the horizon
        (5.4, 0.99),
        (7.3, 1.02),  # clipped
        (0.0, 0.98),
        (-3.0, 0.98),
        (math.nan, 1.0),
        (math.inf, 1.0),
    ],
)
def test_the_proportional_coefficient_moves_by(kl: float, factor: float) -> None:
    assert shipped([kl], 200) == pytest.approx([0.15 * factor], rel=1e-6)


def test_the_proportional_coefficient_settles_at_the_target() -> None:
    """For a policy whose KL is c / β, from far above and far below."""
    settings: dict[str, Any] = {
        "target_kl": 6.0,
        "num_episodes": 512,
        "horizon": 2000.0,
    }
    for start in (0.01, 10.0):
        beta = tf.constant(start)
        for _ in range(150):
            beta = proportional_kl_coefficient(beta, 3.0 / beta, **settings)
        assert float(3.0 / beta) == pytest.approx(6.0, rel=1e-3)


def test_the_proportional_coefficient_stays_within_bounds_and_compiles() -> None:
    settings = {"target_kl": 6.0, "num_episodes": 64, "low": 0.1, "high": 0.2}
    rule = tf.function(proportional_kl_coefficient, jit_compile=True, autograph=False)
    for start, kl, expected in ((0.1999, 99.0, 0.2), (0.1001, 0.0, 0.1)):
        found = rule(tf.constant(start), tf.constant(kl), **settings)
        assert found.numpy() == pytest.approx(expected)
        assert found.dtype == tf.float32
    assert rule.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_episodes": 0},
        {"clip": 0.0},
        {"clip": math.nan},
        {"horizon": 12.8},
        {"horizon": -1.0},
    ],
)
def test_proportions_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    settings = {"target_kl": 6.0, "num_episodes": 64, **wrong}
    with pytest.raises(ValueError, match="`horizon` above their product. Received: cl"):
        proportional_kl_coefficient(0.15, 6.0, **settings)
    with pytest.raises(ValueError, match="`target_kl` must be positive"):
        proportional_kl_coefficient(0.15, 6.0, target_kl=0.0, num_episodes=64)
