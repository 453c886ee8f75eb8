"""What others did between the steps of the policy takes no time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.advantages import GAE, Estimates, Gains, NStep, VTrace
from kpg.trainers.learning.own_steps import side_by_side

VALID = np.array([[1, 1, 0, 0, 1, 1, 0, 0], [1, 0, 1, 1, 1, 0, 1, 1]], bool).T


def estimates(noise: float = 0.0) -> Estimates:
    """Returns two episodes; `noise` stands where nothing counts."""
    random = np.random.default_rng(0)
    parts = np.where(VALID, random.normal(size=(3, *VALID.shape)), noise)
    rewards, values, log_ratios = parts.astype("float32")
    last = VALID & (VALID[::-1].cumsum(0)[::-1] == 1)
    return Estimates(
        rewards=np.where(VALID, rewards, 0.0).astype("float32"),
        values=values,
        next_values=np.concatenate([values[1:], values[:1]]),
        terminated=last,
        truncated=np.zeros_like(last),
        log_ratios=0.3 * log_ratios,
        valid=VALID,
    )


@pytest.mark.parametrize("estimator", [GAE(0.7), NStep(2), VTrace(0.9, 0.8)])
def test_estimators_see_the_policys_own_steps_alone(estimator: Any) -> None:
    given = estimates(noise=9.0)
    moved, restored = side_by_side(given, tf.constant(VALID))
    found = [part.numpy() for part in restored(estimator.gains(moved, 0.9))[:2]]
    for column, own in enumerate(VALID.T):
        # The same episode without what lies between.
        alone: dict[str, Any] = {
            name: part[own, column : column + 1]
            for name, part in given._asdict().items()
            if isinstance(part, np.ndarray)
        }
        values = alone["values"]
        alone["next_values"] = np.concatenate([values[1:], np.zeros_like(values[:1])])
        want = estimator.gains(Estimates(**alone), 0.9)
        for got, exact in zip(found, want[:2], strict=True):
            np.testing.assert_allclose(got[own, column], exact[:, 0], atol=1e-5)
    # The mutant that lets the time of others pass.
    passing = estimator.gains(estimates(), 0.9).advantages.numpy()
    assert not np.allclose(passing[VALID], found[0][VALID], atol=0.1)


def test_what_has_no_gaps_stays_as_it_is() -> None:
    valid = np.arange(4)[:, np.newaxis] < [4, 2, 0]
    rows = tf.reshape(tf.range(12.0), [4, 3])
    given = Estimates(rows, rows, rows, valid, valid, valid=valid)
    moved, restored = side_by_side(given, tf.constant(valid))
    np.testing.assert_array_equal(moved.rewards, rows)
    back = restored(Gains(moved.values, moved.rewards))
    np.testing.assert_array_equal(back.advantages, rows)
    assert back.weights is None and moved.log_ratios is None
