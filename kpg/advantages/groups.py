"""Advantages of answers within the group that shares a prompt."""

from __future__ import annotations

import tensorflow as tf

from kpg.advantages.inputs import floats


def leave_one_out(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Subtracts from each reward the mean of the *other* rewards of its group.

    Aᵢ = rᵢ − Σⱼ≠ᵢ rⱼ / (G − 1): the baseline does not depend on sample i, so it is
    unbiased.

    Reference: Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization
    for learning from human feedback in LLMs" (2024), https://arxiv.org/abs/2402.14740.

    Args:
        rewards: `[N]` float32; `group_size` consecutive rewards answer one prompt.
        group_size: G ≥ 2, a divisor of N; a `ValueError` says if it is not.

    Returns:
        `[N]` float32 advantages.
    """
    groups = _groups(rewards, group_size)
    means = tf.reduce_mean(groups, axis=1, keepdims=True)
    return tf.reshape((groups - means) * (group_size / (group_size - 1)), [-1])


def group_normalized(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Standardises each reward within its group, as GRPO does.

    Aᵢ = (rᵢ − mean) / (std + 10⁻⁴), with the population's std (divided by G); 0 in a
    group of equal rewards. The 10⁻⁴ is that of TRL's `GRPOTrainer`. Arguments, result
    and errors are those of `leave_one_out`.

    Reference: Shao et al., "DeepSeekMath: pushing the limits of mathematical reasoning
    in open language models" (2024), section 4.1, https://arxiv.org/abs/2402.03300.
    """
    groups = _groups(rewards, group_size)
    centred = groups - tf.reduce_mean(groups, axis=1, keepdims=True)
    std = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=1, keepdims=True))
    return tf.reshape(centred / (std + 1e-4), [-1])


def _groups(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Reshapes `[N]` rewards to `[N / group_size, group_size]`."""
    (rewards,) = floats(rewards)
    length = rewards.shape[0] if rewards.shape.rank == 1 else None
    if rewards.shape.rank != 1 or group_size < 2 or (length or 0) % group_size:
        raise ValueError(
            "`rewards` must be a vector of whole groups, and a group needs at least 2 "
            f"members. Received: rewards.shape={rewards.shape}, "
            f"group_size={group_size}. Drop the rest or choose a divisor."
        )
    return tf.reshape(rewards, [-1, group_size])
