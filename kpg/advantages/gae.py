"""Advantages by temporal differences: TD error, n steps, GAE and V-trace."""

from __future__ import annotations

import tensorflow as tf

from kpg.advantages.estimator import Gains
from kpg.advantages.inputs import check_fractions, check_positive, flags, floats
from kpg.graph.scan import decayed_sums, scan, unless
from kpg.graph.shapes import assert_same_shape


def td_error(
    rewards: tf.Tensor,
    values: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    *,
    gamma: float,
) -> tf.Tensor:
    """Returns the one-step temporal-difference errors, `[T, B]` float32.

    δₜ = rₜ + γ(1 − terminatedₜ)V(sₜ₊₁) − V(sₜ), with the arrays of `kpg.advantages`.

    Reference: Sutton, "Learning to predict by the methods of temporal differences"
    (1988), https://doi.org/10.1007/BF00115009.

    Raises:
        ValueError: If shapes differ or `gamma` is out of range.
    """
    check_fractions(gamma=gamma)
    rewards, values, next_values = floats(rewards, values, next_values)
    (terminated,) = flags(terminated)
    assert_same_shape(
        rewards=rewards, values=values, next_values=next_values, terminated=terminated
    )
    return rewards + gamma * unless(terminated, next_values) - values


def n_step(
    rewards: tf.Tensor,
    values: tf.Tensor,
    next_values: tf.Tensor,
    terminated: tf.Tensor,
    truncated: tf.Tensor,
    *,
    gamma: float,
    n: int,
) -> tf.Tensor:
    """Returns `[T, B]` advantages from the rewards of n steps and the value after them.

    Aₜ = Σₖ₌₀…ₘ₋₁ γᵏrₜ₊ₖ + γᵐV(sₜ₊ₘ) − V(sₜ), with the arrays of `kpg.advantages`. m is
    n ≥ 1, or the steps to the end of the episode or fragment if they are fewer; after a
    termination V(sₜ₊ₘ) is 0. n = 1 gives `td_error`, n ≥ T `discounted_returns` minus
    the values. The work grows with min(n, T).

    Reference: Mnih et al., "Asynchronous methods for deep reinforcement learning"
    (2016), algorithm S3, https://arxiv.org/abs/1602.01783. The paper bootstraps all
    rows of a segment of n steps from its end; here each row looks n steps ahead.

    Raises:
        ValueError: If shapes differ, `gamma` is out of range or `n` < 1.
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1. Received: n={n}")
    rewards, values, next_values = floats(rewards, values, next_values)
    ends, cuts = flags(terminated, truncated)
    errors = td_error(rewards, values, next_values, ends, gamma=gamma)
    assert_same_shape(rewards=rewards, truncated=cuts)
    rounds = min(n, rewards.shape[0] or n) - 1
    if not rounds:
        return errors

    def longer(returns: tf.Tensor, _: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
        """Makes returns of m steps into returns of m + 1 steps."""
        following = tf.concat([returns[1:], next_values[-1:]], 0)
        following = tf.where(cuts, next_values, following)
        return rewards + gamma * unless(ends, following), ()

    return scan(longer, errors + values, None, length=rounds)[0] - values


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
    """Returns generalised advantage estimates, `[T, B]` float32.

    Âₜ = δₜ + γλÂₜ₊₁ within an episode, Âₜ = δₜ in its last row and in the fragment's,
    with δₜ of `td_error`. λ in [0, 1] is the decay of the trace: 0 gives the TD error,
    1 the Monte Carlo return minus the value. `Â + values` are λ-returns for the critic.

    Reference: Schulman et al., "High-dimensional continuous control using generalized
    advantage estimation" (2016), equation 16, https://arxiv.org/abs/1506.02438. The
    paper has no truncation, which here ends the trace while δₜ still bootstraps.

    Raises:
        ValueError: If shapes differ, or `gamma` or `gae_lambda` is out of range.
    """
    check_fractions(gae_lambda=gae_lambda)
    errors = td_error(rewards, values, next_values, terminated, gamma=gamma)
    ends, cuts = flags(terminated, truncated)
    assert_same_shape(rewards=errors, truncated=cuts)
    decay = gamma * gae_lambda
    return decayed_sums(errors, tf.where(ends | cuts, 0.0, decay), reverse=True)


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
) -> Gains:
    """Returns V-trace `Gains`, advantages and targets, for rows of an older policy.

    vₜ = Vₜ + δₜ + γcₜ(vₜ₊₁ − Vₜ₊₁), δₜ = ρₜ(rₜ + γVₜ₊₁ − Vₜ), with
    ρₜ = min(`clip_rho`, π/μ), cₜ = min(`clip_c`, π/μ) and `log_ratios` = log π/μ,
    `[T, B]` float32, where μ chose the actions. `clip_rho` > 0 decides whose value is
    learned, `clip_c` > 0 how long the trace is; both default to 1, as in the paper. The
    advantages are ρₜ(rₜ + γvₜ₊₁ − Vₜ). The other arrays are those of `kpg.advantages`.
    On the policy's own data the targets are `discounted_returns` and the advantages
    those minus the values.

    Reference: Espeholt et al., "IMPALA: scalable distributed deep-RL with importance
    weighted actor-learner architectures" (2018), section 4.1,
    https://arxiv.org/abs/1802.01561. The paper multiplies by ρₜ in the policy gradient;
    here that factor is inside the advantages.

    Raises:
        ValueError: If shapes differ or a number is out of range.
    """
    check_positive(clip_rho=clip_rho, clip_c=clip_c)
    values, next_values, log_ratios = floats(values, next_values, log_ratios)
    ends, cuts = flags(terminated, truncated)
    errors = td_error(rewards, values, next_values, ends, gamma=gamma)
    assert_same_shape(rewards=errors, truncated=cuts, log_ratios=log_ratios)
    ratios = tf.exp(tf.minimum(log_ratios, 20.0))  # finite without clips as well
    rhos = tf.minimum(ratios, clip_rho)
    traces = tf.where(ends | cuts, 0.0, gamma * tf.minimum(ratios, clip_c))
    corrections = decayed_sums(rhos * errors, traces, reverse=True)
    # vₜ₊₁ = Vₜ₊₁ + correctionₜ₊₁ within an episode; where it ends the correction is 0,
    # and `errors` holds γVₜ₊₁ already.
    following = tf.concat([corrections[1:], tf.zeros_like(corrections[:1])], 0)
    advantages = rhos * (errors + gamma * unless(ends | cuts, following))
    return Gains(advantages, values + corrections)
