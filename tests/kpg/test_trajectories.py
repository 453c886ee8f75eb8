"""Where episodes end in a fragment, and where memories start from zero."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kpg import trajectories
from kpg.trajectories import Trajectory

# One environment a column: an end, a cut, a row that is no step, and nothing at all.
TERMINATED = np.array([[0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], bool)
TRUNCATED = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
VALID = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 1]], bool)


def rows(valid: bool) -> Trajectory:
    zeros = tf.zeros([3, 4])
    return Trajectory(
        observations={"a": tf.zeros([3, 4, 5]), "b": zeros},
        actions=zeros,
        log_probs=zeros,
        rewards=tf.reshape(tf.range(12.0), [3, 4]),
        terminated=tf.constant(TERMINATED),
        truncated=tf.constant(TRUNCATED),
        valid=tf.constant(VALID) if valid else None,
        next_observations=(),
    )


@pytest.mark.parametrize("valid", [False, True])
def test_a_memory_starts_after_an_end_and_after_what_is_no_step(valid: bool) -> None:
    ended = TERMINATED | TRUNCATED
    np.testing.assert_array_equal(trajectories.ends(rows(valid)), ended)
    cut = ended | ~VALID if valid else ended
    np.testing.assert_array_equal(trajectories.cuts(rows(valid)), cut)
    resets = trajectories.resets(rows(valid)).numpy()
    assert not resets[0].any()
    np.testing.assert_array_equal(resets[1:], cut[:-1])


def test_time_and_batch_become_one_axis() -> None:
    flat = trajectories.flatten(rows(False))
    assert flat.observations["a"].shape == (12, 5)
    np.testing.assert_array_equal(flat.rewards, np.arange(12.0))
    assert flat.valid is None and flat.next_observations == ()


def test_states_become_zero_where_they_are_told_to() -> None:
    states = (tf.ones([2]), {"memory": tf.ones([2, 3, 1])})
    zeroed = trajectories.zero_where(tf.constant([True, False]), states)
    np.testing.assert_array_equal(zeroed[0], [0.0, 1.0])
    memory = zeroed[1]["memory"].numpy()
    assert not memory[0].any() and memory[1].all()
    assert trajectories.zero_where(tf.constant([True]), ()) == ()
