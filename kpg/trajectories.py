"""What the collectors hand to the trainers."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import tensorflow as tf

from kpg.types import Nest, Tensor

_N = TypeVar("_N")


class Trajectory(NamedTuple):
    """A fragment of experience of `B` environments over `T` steps, time first.

    Its first row follows the last row of the fragment before.

    Attributes:
        observations: Nest of `[T, B, ...]`, what the policy saw before each action.
        actions: Nest of `[T, B, ...]`, raw samples of the policy, before any clipping.
        log_probs: `[T, B]` float32, log-probability (density) of `actions` in nats.
        rewards: `[T, B]` float32.
        terminated: `[T, B]` bool; the MDP ended here: nothing is bootstrapped.
        truncated: `[T, B]` bool; a time limit cut the episode here: the trace is cut,
            and the value of the final observation is bootstrapped.
        valid: `[T, B]` bool, or `None` for every row; `False` rows must not train, such
            as the reset rows of NEXT_STEP autoreset, whose actions were ignored.
        next_observations: Nest of `[T, B, ...]`, the true next observation of each
            step, at an episode's end the final one, never that of the reset. `()` if
            each column is one terminating episode: nothing is bootstrapped.
        policy_state: Nest of `[B, ...]`, the state of a recurrent policy before the
            first row; `()` for others.
        values: `[T, B]` float32 of the critic, if it was asked on the way, else `()`.
        critic_state: As `policy_state`, of the critic, where every fragment brings its
            own; `()` where the state carries on from the fragment before.
        greedy_rewards: `[T, B]` float32, of the most likely actions' episode from each
            column's start, 0 after its end; `()` unless an algorithm needs them.
        turns: Nest of `[T, B, ...]`, what a `kpg.environments.Partner` did; `()` unless
            one learns. The learner pairs it with the log-probabilities `[T, B]`.
    """

    observations: Nest
    actions: Nest
    log_probs: Tensor
    rewards: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor | None
    next_observations: Nest
    policy_state: Nest = ()
    values: Tensor | tuple[()] = ()
    critic_state: Nest = ()
    greedy_rewards: Tensor | tuple[()] = ()
    turns: Nest = ()


def flatten(rows: _N) -> _N:
    """Joins time and batch axis of every tensor to `[T * B, ...]`; `None` stays."""

    def join(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tf.reshape(tensor, [-1, *tensor.shape[2:]])

    joined: _N = tf.nest.map_structure(join, rows)
    return joined


def ends(trajectory: Trajectory) -> Tensor:
    """Returns `[T, B]` bool: the last rows of episodes, however they ended."""
    return trajectory.terminated | trajectory.truncated


def cuts(trajectory: Trajectory) -> Tensor:
    """Returns `[T, B]` bool: after these rows a recurrent state starts from zero.

    They are the last rows of episodes, and rows that are not valid.
    """
    ended = ends(trajectory)
    return ended if trajectory.valid is None else ended | ~trajectory.valid


def resets(trajectory: Trajectory) -> Tensor:
    """Returns `[T, B]` bool: before these rows a recurrent state becomes zero.

    The first row never does: `policy_state` is what it starts from.
    """
    after = cuts(trajectory)
    return tf.concat([tf.zeros_like(after[:1]), after[:-1]], axis=0)


def zero_where(condition: Tensor, states: Nest) -> Nest:
    """Returns a nest of `[B, ...]` states, with zeros where `[B]` bool holds."""

    def zero(state: Tensor) -> Tensor:
        shape = [-1] + [1] * (state.shape.rank - 1)
        return tf.where(tf.reshape(condition, shape), tf.zeros_like(state), state)

    return tf.nest.map_structure(zero, states)
