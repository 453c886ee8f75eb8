"""What the collectors hand to the trainers."""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf


class Trajectory(NamedTuple):
    """A fragment of experience of `B` environments over `T` steps, time first.

    Fragments carry on: the first row of one follows the last row of the one before.

    Attributes:
        observations: `[T, B, ...]`, what the policy saw before each action.
        actions: `[T, B, ...]`, raw samples of the policy, before any clipping.
        log_probs: `[T, B]` float32, log-probability (density) of `actions` in nats.
        rewards: `[T, B]` float32.
        terminated: `[T, B]` bool; the MDP ended here: nothing is bootstrapped.
        truncated: `[T, B]` bool; a time limit cut the episode here: the trace is cut,
            and the value of the final observation is bootstrapped.
        valid: `[T, B]` bool, or `None` if every row counts; `False` marks rows that
            must not train, such as the reset rows of Gymnasium's NEXT_STEP autoreset,
            whose actions were ignored.
        next_observations: `[T, B, ...]`, the true next observation of each step: where
            an episode ended it is the final observation, never that of the reset.
    """

    observations: Any
    actions: Any
    log_probs: Any
    rewards: Any
    terminated: Any
    truncated: Any
    valid: Any
    next_observations: Any


def flatten(tensor: tf.Tensor) -> tf.Tensor:
    """Joins the time and the batch axis: `[T, B, ...]` becomes `[T * B, ...]`."""
    return tf.reshape(tensor, [-1, *tensor.shape[2:]])
