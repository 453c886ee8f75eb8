"""Returns, and a discount's weights of the time of a step."""

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
    """Returns Monte Carlo returns to the end of the episode or fragment, `[T, B]`.

    Gₜ = rₜ + γGₜ₊₁, where Gₜ₊₁ is 0 after termination and `next_values[t]` after
    truncation and in the last row; zeros there give returns without bootstrapping. The
    arrays are those of `kpg.advantages`.

    Reference: Williams, "Simple statistical gradient-following algorithms for
    connectionist reinforcement learning" (1992), https://doi.org/10.1007/BF00992696.

    Raises:
        ValueError: If shapes differ or `gamma` is out of range.
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
    """Gives every row the return of its whole episode, `[T, B]` float32.

    R = Σₜ γᵗrₜ with t counted from the start: `discounted_returns` of the episode's
    first row (the fragment's first row starts one), repeated in all its rows. So an
    action is also credited with earlier rewards, which adds nothing to the expected
    gradient, but to its variance. See there for arguments, errors and the paper
    (section 4). Rows where `valid`, `[T, B]` bool, is false are no steps, start no
    episode, and get 0; `None` (the default) is true for all.
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
    """Returns γᵗ, with t counted from each episode's start: `[T, B]` in [0, 1].

    The policy gradient theorem for the discounted return weights step t by γᵗ. Nearly
    every implementation omits that and follows a direction that is the gradient of no
    objective; multiply advantages by these weights to follow the theorem. The
    fragment's first row starts an episode. Rows where `valid`, `[T, B]` bool, is false
    are no steps: time stands still. `None` (the default) is true for all.

    Reference: Nota and Thomas, "Is the policy gradient a gradient?" (2020),
    https://arxiv.org/abs/1906.07073.

    Raises:
        ValueError: If shapes differ or `gamma` is out of range.
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
