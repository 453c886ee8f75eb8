"""Returns, and the weights that a discount gives to the time of a step."""

from __future__ import annotations

import tensorflow as tf

from kpg.advantages.inputs import check_fractions, flags, floats
from kpg.graph.scan import scan, unless
from kpg.graph.shapes import assert_same_shape


def discounted_returns(
    rewards: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    *,
    gamma: float,
) -> tf.Tensor:
    """Computes Monte Carlo returns to the end of the episode or of the fragment.

    Gₜ = rₜ + γGₜ₊₁, where Gₜ₊₁ is 0 after termination and `next_values[t]` after
    truncation and in the last row. Give zeros as `next_values` for returns without
    bootstrapping.

    Reference: Williams, "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning" (1992), https://doi.org/10.1007/BF00992696.

    Args:
        rewards: `[T, B]` float32.
        next_values: `[T, B]` float32, V of the true next observation of each step.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        gamma: Discount in [0, 1].

    Returns:
        `[T, B]` float32 returns.

    Raises:
        ValueError: If the shapes differ or `gamma` is out of range.
    """
    check_fractions(gamma=gamma)
    rewards, next_values = floats(rewards, next_values)
    terminated, truncated = flags(terminated, truncated)
    assert_same_shape(
        rewards=rewards,
        next_values=next_values,
        terminated=terminated,
        truncated=truncated,
    )

    def step(following: tf.Tensor, row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        reward, next_value, ends, cuts = row
        following = tf.where(cuts, next_value, following)
        total = reward + gamma * unless(ends, following)
        return total, total

    rows = (rewards, next_values, terminated, truncated)
    return scan(step, next_values[-1], rows, reverse=True)[1]


def total_returns(
    rewards: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    *,
    gamma: float,
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Gives every row the return of its whole episode, from the episode's first row.

    R = Σₜ γᵗrₜ with t counted from the start: `discounted_returns` of the first row of
    the episode (the first row of the fragment starts one), repeated down to its last
    row. It weights every action of an episode alike: also with the rewards that came
    before it, whose gradient is 0 on average and whose variance is not.

    Reference: Williams, "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning" (1992), section 4,
    https://doi.org/10.1007/BF00992696.

    Args:
        rewards: `[T, B]` float32.
        next_values: `[T, B]` float32, V of the true next observation of each step.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        gamma: Discount in [0, 1].
        valid: `[T, B]` bool; rows where it is false, between two episodes or after the
            last one, are no steps, start no episode, and get 0. Defaults to `None`,
            every row.

    Returns:
        `[T, B]` float32 returns.

    Raises:
        ValueError: If the shapes differ or `gamma` is out of range.
    """
    returns = discounted_returns(
        rewards, next_values, terminated, truncated, gamma=gamma
    )
    ended, valid = _ends_and_steps(terminated, truncated, valid)
    assert_same_shape(returns=returns, valid=valid)

    def step(
        carry: tuple[tf.Tensor, tf.Tensor], row: tuple[tf.Tensor, ...]
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], tf.Tensor]:
        fresh, total = carry
        to_go, ends, counts = row
        total = tf.where(fresh & counts, to_go, total)
        return (ends | fresh & ~counts, total), tf.where(counts, total, 0.0)

    start = tf.ones_like(ended[0]), tf.zeros_like(returns[0])
    return scan(step, start, (returns, ended, valid))[1]


def discount_weights(
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    *,
    gamma: float,
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes γᵗ, with t counted from the start of each row's episode.

    The policy gradient theorem for the discounted return weights the t-th step of an
    episode by γᵗ. Nearly every implementation leaves that out, and so follows another
    direction, which is the gradient of no objective; multiply the advantages by these
    weights to follow the theorem. The first row of the fragment starts an episode.

    Reference: Nota and Thomas, "Is the policy gradient a gradient?" (2020),
    https://arxiv.org/abs/1906.07073.

    Args:
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        gamma: Discount in [0, 1].
        valid: `[T, B]` bool; rows where it is false are no steps: time stands still.
            Defaults to `None`, every row.

    Returns:
        `[T, B]` float32 weights in [0, 1].

    Raises:
        ValueError: If the shapes differ or `gamma` is out of range.
    """
    check_fractions(gamma=gamma)
    ended, valid = _ends_and_steps(terminated, truncated, valid)

    def step(weight: tf.Tensor, row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        ends, counts = row
        following = tf.where(counts, gamma * weight, weight)
        return tf.where(ends, 1.0, following), weight

    return scan(step, tf.ones_like(ended[0], tf.float32), (ended, valid))[1]


def _ends_and_steps(
    terminated: tf.Tensor, truncated: tf.Tensor, valid: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns which rows end an episode, and which are steps of one."""
    terminated, truncated = flags(terminated, truncated)
    valid = tf.ones_like(terminated) if valid is None else flags(valid)[0]
    assert_same_shape(terminated=terminated, truncated=truncated, valid=valid)
    return terminated | truncated, valid
