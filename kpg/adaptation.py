"""Numbers that follow the KL divergence between the old and the new policy.

Both rules are TensorFlow and work on scalars inside the graph. A KL that is not
positive and finite moves nothing: 0 is the mean over no row (and what a policy that
stood still gives), and an estimate such as k1 may be negative. Bounds stop a move; a
number that starts outside them is not pulled inside.
"""

from __future__ import annotations

import tensorflow as tf


def learning_rate(
    rate: float | tf.Tensor,
    kl: float | tf.Tensor,
    *,
    target_kl: float,
    factor: float = 1.5,
    low: float = 1e-6,
    high: float = 1e-2,
) -> tf.Tensor:
    """Adapts a learning rate so that each update moves the policy by about `target_kl`.

    rate / `factor` if KL > 2 · target, rate · `factor` if KL < target / 2, else rate.

    Reference: Rudin et al., "Learning to walk in minutes using massively parallel deep
    reinforcement learning" (2021), https://arxiv.org/abs/2109.11978; the
    numbers 2, 1.5 and 10⁻² are those of its code,
    https://github.com/leggedrobotics/rsl_rl, and 10⁻⁶ is that of
    https://github.com/Denys88/rl_games.

    Note: descriptions of PPO often say only that a small difference between the old and
    the new policy raises the rate and a large one lowers it, and so name neither a
    target nor how far a move goes. The band in which nothing moves is from the code
    above: without it the rate would change after every update.

    Args:
        rate: float32 scalar > 0, the learning rate so far.
        kl: float32 scalar, KL(π_old ‖ π) in nats after the update.
        target_kl: KL > 0 in nats that an update should reach; 0.01 is usual.
        factor: What one move multiplies or divides by, > 1. Defaults to 1.5.
        low: Smallest rate that a move leads to, > 0. Defaults to 1e-6.
        high: Largest rate that a move leads to, at least `low`. Defaults to 1e-2.

    Returns:
        float32 scalar, the learning rate from now on.

    Raises:
        ValueError: If a Python number is out of range.
    """
    _check(target_kl, low, high)
    if not factor > 1.0:
        raise ValueError(f"`factor` must be above 1. Received: factor={factor}")
    faster = tf.less(kl, 0.5 * target_kl)
    slower = tf.greater(kl, 2.0 * target_kl)
    move = tf.where(faster, factor, tf.where(slower, 1.0 / factor, 1.0))
    return _moved(rate, kl, move, low, high)


def kl_coefficient(
    beta: float | tf.Tensor,
    kl: float | tf.Tensor,
    *,
    target_kl: float,
    low: float = 1e-6,
    high: float = 1e4,
) -> tf.Tensor:
    """Adapts the coefficient β of a KL penalty, −β · KL in the objective.

    β / 2 if KL < target / 1.5, β · 2 if KL > 1.5 · target, else β.

    Reference: Schulman et al., "Proximal policy optimization algorithms" (2017),
    section 4, https://arxiv.org/abs/1707.06347.

    Note: the paper has no bounds. Here they are wide, and only keep β away from 0 and
    from infinity, whence doubling and halving never return.

    Args:
        beta: float32 scalar > 0, the coefficient so far; the paper starts with 1.
        kl: float32 scalar, KL(π_old ‖ π) in nats after the update.
        target_kl: KL > 0 in nats that an update should reach; 0.003, 0.01 and 0.03 in
            the paper.
        low: Smallest coefficient that a move leads to, > 0. Defaults to 1e-6.
        high: Largest coefficient that a move leads to, at least `low`. Defaults to 1e4.

    Returns:
        float32 scalar, the coefficient from now on.

    Raises:
        ValueError: If a Python number is out of range.
    """
    _check(target_kl, low, high)
    weaker = tf.less(kl, target_kl / 1.5)
    stronger = tf.greater(kl, 1.5 * target_kl)
    move = tf.where(weaker, 0.5, tf.where(stronger, 2.0, 1.0))
    return _moved(beta, kl, move, low, high)


def _moved(
    number: float | tf.Tensor,
    kl: float | tf.Tensor,
    move: tf.Tensor,
    low: float,
    high: float,
) -> tf.Tensor:
    """Multiplies within the bounds, if the KL says anything."""
    number, kl = (tf.convert_to_tensor(value, tf.float32) for value in (number, kl))
    measured = tf.math.is_finite(kl) & (kl > 0.0)
    floor, ceiling = tf.minimum(number, low), tf.maximum(number, high)
    return tf.where(measured, tf.clip_by_value(number * move, floor, ceiling), number)


def _check(target_kl: float, low: float, high: float) -> None:
    """Refuses numbers that make no target or no interval."""
    if not target_kl > 0.0:
        raise ValueError(f"`target_kl` must be positive. Received: {target_kl}")
    if not 0.0 < low <= high:
        raise ValueError(
            "The bounds must satisfy 0 < `low` <= `high`. Received: "
            f"low={low}, high={high}"
        )
