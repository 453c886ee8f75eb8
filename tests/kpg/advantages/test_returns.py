"""Returns of episodes: what the identities of `tests/mutants` do not say of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import kpg.advantages
from tests.mutants.subject import close
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    fragment,
    naive_returns,
)


def tensors(data: Fragment) -> list[tf.Tensor]:
    floats = [tf.constant(array, tf.float32) for array in data[:3]]
    return floats + [tf.constant(array) for array in data[3:]]


@pytest.mark.parametrize("mutation", ["terminated", "next_values", "truncated"])
def test_returns_depend_on_each_argument(mutation: str) -> None:
    data = fragment()
    changed = data._replace(**{mutation: np.zeros_like(getattr(data, mutation))})
    returns = kpg.advantages.discounted_returns(
        changed.rewards, *changed[2:], gamma=GAMMA
    )
    with pytest.raises(AssertionError):
        close(returns, naive_returns(data, GAMMA))


def test_garbage_in_resets_reaches_no_total() -> None:
    data = fragment()
    rewards, valid = data.rewards.copy(), np.ones((12, 3), bool)
    rewards[4, 0], valid[4, 0] = np.nan, False
    arguments = rewards, *data[2:]
    found = kpg.advantages.total_returns(*arguments, gamma=GAMMA, valid=valid).numpy()
    assert found[4, 0] == 0.0
    close(found[5:9, 0], np.full(4, naive_returns(data, GAMMA)[5, 0]))
    close(found[:4, 0], np.full(4, naive_returns(data, GAMMA)[0, 0]))


def test_gradients_flow_through_every_estimator() -> None:
    data, (rewards, *others) = fragment(), tensors(fragment())
    flags = others[2:]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rewards)
        results = [
            kpg.advantages.n_step(rewards, *others, gamma=GAMMA, n=3),
            kpg.advantages.total_returns(rewards, others[1], *flags, gamma=GAMMA),
        ]
    slopes = [tape.gradient(result, rewards).numpy() for result in results]
    # An episode of four steps: each reward counts in the rows up to two before it; or
    # in all four, by its own discount.
    close(slopes[0][:4, 0], [1.0, 1.9, 2.71, 2.71])
    close(slopes[1][:4, 0], 4.0 * GAMMA ** np.arange(4))
    assert data.terminated[3, 0]


@pytest.mark.parametrize("shape", [(12, 3, 1), (12, 1), (12,)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    data, valid = fragment(), np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"`valid` must have the shape .* Received"):
        kpg.advantages.discount_weights(*data[3:], gamma=GAMMA, valid=valid)
    with pytest.raises(ValueError, match=r"`valid` must have the shape .* Received"):
        kpg.advantages.total_returns(data.rewards, *data[2:], gamma=GAMMA, valid=valid)


def test_wrong_shapes_are_refused_while_the_graph_is_built() -> None:
    run = tf.function(kpg.advantages.discounted_returns)
    with pytest.raises(ValueError, match=r"\(8, 4\).*\(8, 1\)"):
        run.get_concrete_function(
            tf.TensorSpec([8, 4]),
            tf.TensorSpec([8, 1]),
            tf.TensorSpec([8, 4], tf.bool),
            tf.TensorSpec([8, 4], tf.bool),
            gamma=GAMMA,
        )
