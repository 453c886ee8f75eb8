"""Advantages of answers within the group that shares a prompt."""

from __future__ import annotations

import tensorflow as tf

from kpg import checks
from kpg.advantages.inputs import flags, floats
from kpg.graph.shapes import assert_same_shape
from kpg.graph.sums import all_sum

SCALES = ("group", "batch", "none")


def leave_one_out(
    rewards: tf.Tensor, group_size: int, valid: tf.Tensor | None = None
) -> tf.Tensor:
    """Subtracts from each reward the mean of the *other* rewards of its group.

    Aᵢ = rᵢ − Σⱼ≠ᵢ rⱼ / (G − 1): the baseline does not depend on sample i, so it is
    unbiased.

    Reference: Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization
    for learning from human feedback in LLMs" (2024), https://arxiv.org/abs/2402.14740.

    Args:
        rewards: `[N]` float32; `group_size` consecutive rewards answer one prompt.
        group_size: G ≥ 2, a divisor of N; a `ValueError` says if it is not.
        valid: `[N]` bool; what is not has no part in its group, whatever its reward,
            and G is the number of those that have. Defaults to `None`, all.

    Returns:
        `[N]` float32 advantages; 0 where not valid, or where nothing is left to compare
        with.
    """
    centred, count = _centred(rewards, group_size, valid)
    scale = tf.math.divide_no_nan(count, count - 1.0)
    return tf.reshape(centred * scale, [-1])


def group_normalized(
    rewards: tf.Tensor,
    group_size: int,
    valid: tf.Tensor | None = None,
    scale: str = "group",
) -> tf.Tensor:
    """Standardises each reward within its group, as GRPO does.

    Aᵢ = (rᵢ − mean) / (std + 10⁻⁴), with the population's std (divided by G); 0 in a
    group of equal rewards. The 10⁻⁴ is that of TRL's `GRPOTrainer`. Rewards, sizes,
    result and errors are those of `leave_one_out`.

    `scale` says whose std it is: "group" (the default) is the group's own. "batch" is
    that of all N rewards, of every replica, so that groups that nearly agree do not
    count as much as others. "none" does not divide, as in Dr. GRPO.

    Reference: Shao et al., "DeepSeekMath: pushing the limits of mathematical reasoning
    in open language models" (2024), section 4.1, https://arxiv.org/abs/2402.03300; Liu
    et al., "Part I: tricks or traps?" (2025), https://arxiv.org/abs/2508.08221, for the
    batch; Liu et al., "Understanding R1-Zero-like training" (2025),
    https://arxiv.org/abs/2503.20783, for none.
    """
    checks.choice("scale", scale, SCALES)
    centred, count = _centred(rewards, group_size, valid)
    if scale == "none":
        return tf.reshape(centred, [-1])
    if scale == "group":
        std = tf.sqrt(_mean(tf.square(centred), count))
    else:
        std = _std_of_all(rewards, valid)
    return tf.reshape(centred / (std + 1e-4), [-1])


def _std_of_all(rewards: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
    """Returns the population's std of the rewards of all replicas, a scalar."""
    (rewards,) = floats(rewards)
    known = tf.ones_like(rewards, tf.bool) if valid is None else flags(valid)[0]

    def mean(numbers: tf.Tensor) -> tf.Tensor:
        parts = (tf.where(known, numbers, 0.0), tf.cast(known, tf.float32))
        sums = [all_sum(tf.reduce_sum(part)) for part in parts]
        return tf.math.divide_no_nan(*sums)

    return tf.sqrt(mean(tf.square(rewards - mean(rewards))))


def _centred(
    rewards: tf.Tensor, group_size: int, valid: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `[N / G, G]` rewards less their group's mean, and `[N / G, 1]` counts."""
    (rewards,) = floats(rewards)
    length = rewards.shape[0] if rewards.shape.rank == 1 else None
    if rewards.shape.rank != 1 or group_size < 2 or (length or 0) % group_size:
        raise ValueError(
            "`rewards` must be a vector of whole groups, and a group needs at least 2 "
            f"members. Received: rewards.shape={rewards.shape}, "
            f"group_size={group_size}. Drop the rest or choose a divisor."
        )
    known = tf.ones_like(rewards, tf.bool) if valid is None else flags(valid)[0]
    assert_same_shape(rewards=rewards, valid=known)
    groups, known = (tf.reshape(part, [-1, group_size]) for part in (rewards, known))
    groups = tf.where(known, groups, 0.0)
    count = tf.reduce_sum(tf.cast(known, tf.float32), axis=1, keepdims=True)
    return tf.where(known, groups - _mean(groups, count), 0.0), count


def _mean(groups: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the mean of each row, of which so many are known and the others 0."""
    whole = tf.reduce_mean(groups, axis=1, keepdims=True)
    total = tf.reduce_sum(groups, axis=1, keepdims=True)
    part = tf.math.divide_no_nan(total, count)
    return tf.where(count == groups.shape[1], whole, part)
