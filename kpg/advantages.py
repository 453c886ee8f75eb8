"""Advantages and returns: how much better than expected each step turned out.

All trajectories are time-major `[T, B]`. Two flags end an episode and differ in what
they cut: `terminated` says that nothing follows, so the value of what follows is 0;
`truncated` says that the episode went on unseen, so only the *trace* to the next row is
cut (that row belongs to another episode) and the value of what follows still counts.

`next_values[t]` is the value of the true next observation of step `t`: the final
observation where an episode ended, never that of the reset after it. It is not read
where `terminated` holds, so it may be anything there, even `nan`.

Rows that are no steps (the resets of a NEXT_STEP vector environment) need no care here:
the row before them ended its episode, so nothing of theirs flows into a valid row.

Gradients flow through every function; the losses of `kpg.losses` stop them.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from kpg.scan import scan
from kpg.shapes import assert_same_shape


class VTrace(NamedTuple):
    """What V-trace gives to the critic and to the actor.

    Attributes:
        targets: `[T, B]` the values vₛ that the critic is drawn towards.
        advantages: `[T, B]` ρₜ(rₜ + γvₜ₊₁ − Vₜ), for the policy gradient.
    """

    targets: tf.Tensor
    advantages: tf.Tensor


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
    _check_fractions(gamma=gamma)
    rewards, next_values = _floats(rewards, next_values)
    terminated, truncated = _flags(terminated, truncated)
    assert_same_shape(
        rewards=rewards,
        next_values=next_values,
        terminated=terminated,
        truncated=truncated,
    )

    def step(following: tf.Tensor, row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        reward, next_value, ends, cuts = row
        following = tf.where(cuts, next_value, following)
        total = reward + gamma * _unless(ends, following)
        return total, total

    rows = (rewards, next_values, terminated, truncated)
    return scan(step, next_values[-1], rows, reverse=True)[1]


def td_error(
    rewards: tf.Tensor,
    values: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    *,
    gamma: float,
) -> tf.Tensor:
    """Computes the one-step temporal-difference error.

    δₜ = rₜ + γ(1 − terminatedₜ)V(sₜ₊₁) − V(sₜ)

    Reference: Sutton, "Learning to predict by the methods of temporal differences"
    (1988), https://doi.org/10.1007/BF00115009.

    Args:
        rewards: `[T, B]` float32.
        values: `[T, B]` float32, V of the observation that was acted on.
        next_values: `[T, B]` float32, V of the true next observation of each step.
        terminated: `[T, B]` bool.
        gamma: Discount in [0, 1].

    Returns:
        `[T, B]` float32 errors.

    Raises:
        ValueError: If the shapes differ or `gamma` is out of range.
    """
    _check_fractions(gamma=gamma)
    rewards, values, next_values = _floats(rewards, values, next_values)
    (terminated,) = _flags(terminated)
    assert_same_shape(
        rewards=rewards,
        values=values,
        next_values=next_values,
        terminated=terminated,
    )
    return rewards + gamma * _unless(terminated, next_values) - values


def gae(
    rewards: tf.Tensor,
    values: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> tf.Tensor:
    """Computes generalised advantage estimates.

    Âₜ = δₜ + γλÂₜ₊₁ within an episode, Âₜ = δₜ in its last row and in the last row of
    the fragment, with δₜ of `td_error`. `Â + values` are the λ-returns that the critic
    may learn.

    Reference: Schulman et al., "High-dimensional continuous control using generalized
    advantage estimation" (2016), equation 16, https://arxiv.org/abs/1506.02438.

    Note: the paper knows no truncation; the trace ends there as at a termination, while
    δₜ still bootstraps.

    Args:
        rewards: `[T, B]` float32.
        values: `[T, B]` float32, V of the observation that was acted on.
        next_values: `[T, B]` float32, V of the true next observation of each step.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        gamma: Discount in [0, 1].
        gae_lambda: Decay λ of the trace in [0, 1]; 0 is the TD error, 1 the Monte Carlo
            return minus the value.

    Returns:
        `[T, B]` float32 advantages.

    Raises:
        ValueError: If the shapes differ, or `gamma` or `gae_lambda` is out of range.
    """
    _check_fractions(gae_lambda=gae_lambda)
    errors = td_error(rewards, values, next_values, terminated, gamma=gamma)
    ends, cuts = _flags(terminated, truncated)
    assert_same_shape(rewards=errors, truncated=cuts)
    decay = gamma * gae_lambda
    return _decayed_sum(errors, tf.where(ends | cuts, 0.0, decay))


def vtrace(
    rewards: tf.Tensor,
    values: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    log_ratios: tf.Tensor,
    *,
    gamma: float,
    clip_rho: float = 1.0,
    clip_c: float = 1.0,
) -> VTrace:
    """Computes V-trace targets and advantages for rows that an older policy chose.

    vₜ = Vₜ + δₜ + γcₜ(vₜ₊₁ − Vₜ₊₁), δₜ = ρₜ(rₜ + γVₜ₊₁ − Vₜ), with
    ρₜ = min(`clip_rho`, π/μ) and cₜ = min(`clip_c`, π/μ). On data of the policy itself
    the targets are `discounted_returns` and the advantages those minus the values.

    Reference: Espeholt et al., "IMPALA: scalable distributed deep-RL with importance
    weighted actor-learner architectures" (2018), section 4.1,
    https://arxiv.org/abs/1802.01561.

    Note: the paper multiplies the advantage by ρₜ in the policy gradient; here that
    factor is inside `advantages`.

    Args:
        rewards: `[T, B]` float32.
        values: `[T, B]` float32, V of the observation that was acted on.
        next_values: `[T, B]` float32, V of the true next observation of each step.
        terminated: `[T, B]` bool.
        truncated: `[T, B]` bool.
        log_ratios: `[T, B]` float32, log π(aₜ|sₜ) − log μ(aₜ|sₜ), where μ chose aₜ.
        gamma: Discount in [0, 1].
        clip_rho: Upper bound of ρₜ, > 0; which policy's value is learned. Defaults to
            1.0, as in the paper.
        clip_c: Upper bound of cₜ, > 0; how long the trace is. Defaults to 1.0, as in
            the paper.

    Returns:
        A `VTrace` of `targets` and `advantages`, both `[T, B]` float32.

    Raises:
        ValueError: If the shapes differ or a number is out of range.
    """
    _check_positive(clip_rho=clip_rho, clip_c=clip_c)
    values, next_values, log_ratios = _floats(values, next_values, log_ratios)
    ends, cuts = _flags(terminated, truncated)
    errors = td_error(rewards, values, next_values, ends, gamma=gamma)
    assert_same_shape(rewards=errors, truncated=cuts, log_ratios=log_ratios)
    ratios = tf.exp(log_ratios)
    rhos = tf.minimum(ratios, clip_rho)
    traces = tf.where(ends | cuts, 0.0, gamma * tf.minimum(ratios, clip_c))
    corrections = _decayed_sum(rhos * errors, traces)
    # vₜ₊₁ = Vₜ₊₁ + correctionₜ₊₁ within an episode; where it ends the correction is 0,
    # and `errors` holds γVₜ₊₁ already.
    following = tf.concat([corrections[1:], tf.zeros_like(corrections[:1])], 0)
    advantages = rhos * (errors + gamma * _unless(ends | cuts, following))
    return VTrace(values + corrections, advantages)


def leave_one_out(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Subtracts from each reward the mean of the *other* rewards of its group.

    Aᵢ = rᵢ − Σⱼ≠ᵢ rⱼ / (G − 1): a baseline that does not depend on sample i, hence
    unbiased.

    Reference: Ahmadian et al., "Back to basics: revisiting REINFORCE style optimization
    for learning from human feedback in LLMs" (2024), https://arxiv.org/abs/2402.14740.

    Args:
        rewards: `[N]` float32; `group_size` consecutive rewards answer one prompt.
        group_size: G ≥ 2, a divisor of N.

    Returns:
        `[N]` float32 advantages.

    Raises:
        ValueError: If `rewards` is no vector or `group_size` does not fit it.
    """
    groups = _groups(rewards, group_size)
    means = tf.reduce_mean(groups, axis=1, keepdims=True)
    return tf.reshape((groups - means) * (group_size / (group_size - 1)), [-1])


def group_normalized(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Standardises each reward within its group, as GRPO does.

    Aᵢ = (rᵢ − mean) / (std + 10⁻⁴), with the population's std (divided by G). A group
    of equal rewards has advantages 0. The small number is that of TRL's `GRPOTrainer`.

    Reference: Shao et al., "DeepSeekMath: pushing the limits of mathematical reasoning
    in open language models" (2024), section 4.1, https://arxiv.org/abs/2402.03300.

    Args:
        rewards: `[N]` float32; `group_size` consecutive rewards answer one prompt.
        group_size: G ≥ 2, a divisor of N.

    Returns:
        `[N]` float32 advantages.

    Raises:
        ValueError: If `rewards` is no vector or `group_size` does not fit it.
    """
    groups = _groups(rewards, group_size)
    centred = groups - tf.reduce_mean(groups, axis=1, keepdims=True)
    std = tf.sqrt(tf.reduce_mean(tf.square(centred), axis=1, keepdims=True))
    return tf.reshape(centred / (std + 1e-4), [-1])


def _decayed_sum(terms: tf.Tensor, decays: tf.Tensor) -> tf.Tensor:
    """Returns sₜ = termsₜ + decaysₜ · sₜ₊₁, computed from the last row to the first."""

    def step(following: tf.Tensor, row: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
        term, decay = row
        # Not `decay * following`: a masked row after an episode may hold nan or inf.
        total = term + _unless(tf.equal(decay, 0.0), decay * following)
        return total, total

    return scan(step, tf.zeros_like(terms[0]), (terms, decays), reverse=True)[1]


def _unless(condition: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Returns `values`, with 0 where the condition holds; 0 · nan would be nan."""
    return tf.where(condition, 0.0, values)


def _floats(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return tuple(tf.convert_to_tensor(array, tf.float32) for array in arrays)


def _flags(*arrays: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return tuple(tf.convert_to_tensor(array, tf.bool) for array in arrays)


def _groups(rewards: tf.Tensor, group_size: int) -> tf.Tensor:
    """Reshapes `[N]` rewards to `[N / group_size, group_size]`."""
    (rewards,) = _floats(rewards)
    length = rewards.shape[0] if rewards.shape.rank == 1 else None
    if rewards.shape.rank != 1 or group_size < 2 or (length or 0) % group_size:
        raise ValueError(
            "`rewards` must be a vector of whole groups, and a group needs at least 2 "
            f"members. Received: rewards.shape={rewards.shape}, "
            f"group_size={group_size}. Drop the rest or choose a divisor."
        )
    return tf.reshape(rewards, [-1, group_size])


def _check_fractions(**numbers: float) -> None:
    """Refuses Python numbers outside [0, 1]; a tensor's value is not known here."""
    for name, number in numbers.items():
        if not tf.is_tensor(number) and not 0.0 <= number <= 1.0:
            raise ValueError(f"`{name}` must lie in [0, 1]. Received: {name}={number}")


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not tf.is_tensor(number) and not number > 0.0:
            raise ValueError(
                f"`{name}` must be positive. Received: {name}={number}. Give "
                "`math.inf` not to clip."
            )
