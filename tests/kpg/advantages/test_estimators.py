"""Estimators as values are the functions that they are named after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg.advantages
from kpg.advantages import GAE, MonteCarlo, NStep, TDError, VTrace
from kpg.advantages.estimator import Estimates
from tests.mutants.subject import close
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    fragment,
    naive_gae,
    naive_n_step,
    naive_returns,
    naive_times,
    td_errors,
)
from tests.mutants.vtrace import naive as naive_vtrace

HALF: Any = (1.5,)
LOG_RATIOS = np.random.default_rng(5).normal(size=(12, 3))


def tensors(data: Fragment) -> list[tf.Tensor]:
    floats = [tf.constant(array, tf.float32) for array in data[:3]]
    return floats + [tf.constant(array) for array in data[3:]]


def test_estimators_compile() -> None:
    """All in one graph; the eager ones are compared with their oracles elsewhere."""

    @tf.function(jit_compile=True, autograph=False)
    def run(data: list[tf.Tensor], log_ratios: tf.Tensor) -> tuple[tf.Tensor, ...]:
        (rewards, _, *others), inputs = data, [*data, log_ratios]
        return (
            kpg.advantages.gae(*data, gamma=GAMMA, gae_lambda=0.95),
            kpg.advantages.n_step(*data, gamma=GAMMA, n=5),
            kpg.advantages.discounted_returns(rewards, *others, gamma=GAMMA),
            kpg.advantages.total_returns(rewards, *others, gamma=GAMMA),
            kpg.advantages.discount_weights(*others[1:], gamma=GAMMA),
            *kpg.advantages.vtrace(*inputs, gamma=GAMMA)[:2],
        )

    data = fragment()
    found = run(tensors(data), tf.constant(LOG_RATIOS, tf.float32))
    times = naive_times(data.ended, np.ones_like(data.ended))
    starts = np.arange(12)[:, np.newaxis] - times
    returns = naive_returns(data, GAMMA)
    expected = (
        naive_gae(data, GAMMA, 0.95),
        naive_n_step(data, GAMMA, 5),
        returns,
        np.take_along_axis(returns, starts, axis=0),
        GAMMA**times,
        *naive_vtrace(data, LOG_RATIOS, 1.0, 1.0)[::-1],
    )
    for left, right in zip(found, expected, strict=True):
        assert left.shape == (12, 3) and left.dtype == tf.float32
        close(left, right)


def estimates(data: Fragment) -> Estimates:
    made: list[Any] = [*tensors(data), tf.constant(LOG_RATIOS, tf.float32)]
    return Estimates(*made)


@pytest.mark.parametrize(
    ("estimator", "function", "arguments"),
    [
        (GAE(0.7), kpg.advantages.gae, {"gae_lambda": 0.7}),
        (MonteCarlo(), kpg.advantages.gae, {"gae_lambda": 1.0}),
        (NStep(3), kpg.advantages.n_step, {"n": 3}),
    ],
)
def test_targets_are_values_and_advantages(
    estimator: Any, function: Any, arguments: Any
) -> None:
    data = fragment()
    gains = estimator.gains(estimates(data), GAMMA)
    close(gains.advantages, function(*data, gamma=GAMMA, **arguments))
    close(gains.targets, gains.advantages + data.values)
    assert gains.weights is None and not estimator.uses_log_ratios


def test_one_step_ahead() -> None:
    data = fragment()
    gains = TDError().gains(estimates(data), GAMMA)
    close(gains.advantages, td_errors(data, GAMMA))
    close(gains.targets, gains.advantages + data.values)


def test_the_ratios_correct_for_what_was_done_meanwhile() -> None:
    data, estimator = fragment(), VTrace(clip_rho=0.9, clip_c=0.8)
    gains = estimator.gains(estimates(data), GAMMA)
    targets, advantages = naive_vtrace(data, LOG_RATIOS, 0.9, 0.8)
    close(gains.advantages, advantages)
    close(gains.targets, targets)
    assert estimator.uses_log_ratios


@pytest.mark.parametrize(
    "make",
    [
        lambda: GAE(1.5),
        lambda: GAE(True),
        lambda: NStep(0),
        lambda: NStep(*HALF),
        lambda: VTrace(clip_rho=0.0),
        lambda: VTrace(clip_c=-1.0),
    ],
)
def test_arguments_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="must .*Received: "):
        make()
