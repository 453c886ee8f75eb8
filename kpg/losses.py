"""Losses of policies and critics: float32 scalars to minimise, means over valid rows.

All tensors of a call must have one shape, usually `[T, B]` or a minibatch `[N]`, else a
`ValueError` is raised. They are float32, except `valid`, a bool mask; `None` stands for
every row. Rows where it is false do not count, and what they hold (even `inf` and
`nan`) reaches neither the loss nor its gradient. Without a valid row the loss is 0.

`log_probs` are log-probabilities (nats) of the actions taken, `old_log_probs` the same
when they were taken. Gradients flow only to `log_probs` and `values`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from kpg import checks
from kpg.graph.gradients import with_gradient
from kpg.graph.shapes import assert_same_shape

KL_ESTIMATORS = ("k1", "k2", "k3")


def policy_gradient(
    log_probs: tf.Tensor, advantages: tf.Tensor, valid: tf.Tensor | None = None
) -> tf.Tensor:
    """Computes the loss whose negative gradient is the policy gradient.

    L = −mean(log π(aₜ|sₜ) · Aₜ); returns work as advantages as well.

    Reference: Sutton et al., "Policy gradient methods for reinforcement learning with
    function approximation" (1999), theorem 1,
    https://papers.nips.cc/paper/1713-policy-gradient-methods-for-reinforcement-learning-with-function-approximation.

    Note: the theorem weights step t by γᵗ. Like nearly every implementation, this loss
    does not, so it does not follow the exact gradient of the discounted return.
    """
    (log_probs, advantages), valid = _masked(
        valid, log_probs=log_probs, advantages=advantages
    )
    return -mean(log_probs * tf.stop_gradient(advantages), valid)


def clipped_surrogate(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    advantages: tf.Tensor,
    *,
    clip_range: float | tf.Tensor | None,
    clip_range_high: float | tf.Tensor | None = None,
    dual_clip: float | None = None,
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes PPO's clipped surrogate objective, negated so that it is minimised.

    L = −mean(min(ρₜAₜ, clip(ρₜ, 1 − ε, 1 + ε)Aₜ)), ρₜ = π(aₜ|sₜ) / π_old(aₜ|sₜ). The
    minimum removes the reward for moving further than ε, but never the penalty. With
    `dual_clip` c the penalty is bounded, too: where Aₜ < 0 the mean is over
    max(min(…), cAₜ).

    ε = `clip_range` > 0 is 0.2 in the first paper; a scheduled tensor may reach 0. With
    `None` there is no clip: L = −mean(ρₜAₜ), the conservative policy iteration of its
    equation 6, to which a KL penalty is added. `clip_range_high` ≥ ε, by default equal
    to it, is another ε above 1, so that unlikely actions may gain more. c > 1 is
    finite, 3 in the second paper. Other numbers raise a `ValueError`.

    Reference: Schulman et al., "Proximal policy optimization algorithms" (2017),
    equation 7, https://arxiv.org/abs/1707.06347; Ye et al., "Mastering complex control
    in MOBA games with deep reinforcement learning" (2020), equation 5,
    https://arxiv.org/abs/1912.09729; Yu et al., "DAPO" (2025), equation 10,
    https://arxiv.org/abs/2503.14476, for the other ε above 1.
    """
    _check_clip_range(clip_range, clip_range_high)
    if dual_clip is not None and not 1.0 < dual_clip < math.inf:
        wanted = "must be a finite number above 1, or None for no bound"
        checks.refuse("dual_clip", wanted, dual_clip)
    (log_probs, old_log_probs, advantages), valid = _masked(
        valid, log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages
    )
    advantages = tf.stop_gradient(advantages)
    ratios = tf.exp(capped(log_probs - tf.stop_gradient(old_log_probs)))
    gains = ratios * advantages
    if clip_range is not None:
        high = clip_range if clip_range_high is None else clip_range_high
        clipped = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + high)
        gains = tf.minimum(gains, clipped * advantages)
    if dual_clip is not None:
        bounded = tf.maximum(gains, dual_clip * advantages)
        gains = tf.where(advantages < 0.0, bounded, gains)
    return -mean(gains, valid)


def sequence_log_ratios(
    log_ratios: tf.Tensor, valid: tf.Tensor | None = None
) -> tf.Tensor:
    """Gives every step the log-ratio of its whole sequence, per step of it.

    log sₜ = sg[mean(x)] + xₜ − sg[xₜ] of a column's log-ratios x = log π − log π_old in
    nats, with sg[·] no gradient: the value is the length-normalised ratio of the whole
    text, and the gradient is that of the step. `log_ratios` and the result are
    `[T, N]`, a sequence in each column, `valid` the same in bool; no valid step is 0.

    Reference: Zheng et al., "Group sequence policy optimization" (2025), equations 7
    and 14 (GSPO-token), https://arxiv.org/abs/2507.18071.
    """
    (log_ratios,), valid = _masked(valid, log_ratios=log_ratios)
    ones = tf.ones_like(log_ratios) if valid is None else tf.cast(valid, tf.float32)
    lengths = tf.maximum(tf.reduce_sum(ones, axis=0), 1.0)
    fixed = tf.stop_gradient(log_ratios)
    return tf.reduce_sum(fixed, axis=0) / lengths + (log_ratios - fixed)


def value(
    values: tf.Tensor,
    targets: tf.Tensor,
    *,
    old_values: tf.Tensor | None = None,
    clip_range: float | tf.Tensor | None = None,
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Computes half the mean squared error of the critic.

    L = ½ mean((Vₜ − Rₜ)²) of the targets Rₜ, or, with `old_values` V_old of the time of
    collection and ε = `clip_range` > 0, in units of the values,
    L = ½ mean(max((Vₜ − Rₜ)², (V_old + clip(Vₜ − V_old, −ε, ε) − Rₜ)²)). One of them
    without the other, or another ε, raises a `ValueError`.

    Reference: Mnih et al., "Asynchronous methods for deep reinforcement learning"
    (2016), https://arxiv.org/abs/1602.01783; the clipping is from OpenAI Baselines,
    https://github.com/openai/baselines/blob/master/baselines/ppo2/model.py.

    Note: the factor ½ is that of Baselines and CleanRL. Stable-Baselines3 and the PPO
    paper omit it: their `vf_coef` of 0.5 is 1.0 here.
    """
    if (old_values is None) != (clip_range is None):
        missing = "old_values" if old_values is None else "clip_range"
        raise ValueError(
            "`old_values` and `clip_range` clip the values together: pass both or "
            f"neither. Received: {missing}=None"
        )
    if old_values is None or clip_range is None:
        (values, targets), valid = _masked(valid, values=values, targets=targets)
        return 0.5 * mean(tf.square(values - tf.stop_gradient(targets)), valid)
    _check_clip_range(clip_range)
    (values, targets, old_values), valid = _masked(
        valid, values=values, targets=targets, old_values=old_values
    )
    targets, old_values = tf.stop_gradient(targets), tf.stop_gradient(old_values)
    moves = tf.clip_by_value(values - old_values, -clip_range, clip_range)
    losses = tf.square(values - targets)
    return 0.5 * mean(
        tf.maximum(losses, tf.square(old_values + moves - targets)), valid
    )


def approximate_kl(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    *,
    estimator: str = "k3",
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Estimates KL(π_old ‖ π) in nats from actions that π_old chose.

    It is the mean of `kl_estimates` of x = log π − log π_old. Schulman's note writes
    r = π/π_old as here, and calls the policies p and q.
    """
    (log_probs, old_log_probs), valid = _masked(
        valid, log_probs=log_probs, old_log_probs=old_log_probs
    )
    log_ratios = log_probs - tf.stop_gradient(old_log_probs)
    return mean(kl_estimates(log_ratios, estimator), valid)


def reference_kl(
    log_probs: tf.Tensor,
    old_log_probs: tf.Tensor,
    reference_log_probs: tf.Tensor,
    *,
    estimator: str = "k3",
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Estimates KL(π ‖ π_ref) in nats, with the gradient of that divergence.

    L = mean(ρₜ kₜ), ρ = π(aₜ|sₜ) / π_old(aₜ|sₜ), k of x = log π_ref − log π as in
    `kl_estimates`. The actions are from π_old while π is learned: the ratio turns the
    mean into the divergence of π, whose gradient flows through the ratio as well.
    Without it the gradient of k1 has mean 0, and that of k3 is the gradient of
    KL(π_ref ‖ π), the other divergence. k2 has the right gradient by itself, so its
    ratio is a constant.

    Reference: Tang and Munos, "On a few pitfalls in KL divergence gradient estimation
    for RL" (2025), https://arxiv.org/abs/2506.09477, sections 3 and 4; DeepSeek-AI,
    "DeepSeek-V3.2" (2025), section 3.1, https://arxiv.org/abs/2512.02556, for the ratio
    with k3. GRPO (2024), https://arxiv.org/abs/2402.03300, has k3 without it.

    Note: it is the divergence in the visited states. Unlike a penalty in the reward,
    its gradient leaves out that actions may lead to where the policies differ more.
    """
    (log_probs, old_log_probs, reference_log_probs), valid = _masked(
        valid,
        log_probs=log_probs,
        old_log_probs=old_log_probs,
        reference_log_probs=reference_log_probs,
    )
    ratios = tf.exp(capped(log_probs - tf.stop_gradient(old_log_probs)))
    if estimator == "k2":
        ratios = tf.stop_gradient(ratios)
    log_ratios = tf.stop_gradient(reference_log_probs) - log_probs
    return mean(ratios * kl_estimates(log_ratios, estimator), valid)


def kl_estimates(log_ratios: tf.Tensor, estimator: str) -> tf.Tensor:
    """Estimates KL(p ‖ q) in nats from single actions, float32 of the shape of x.

    With x = log q − log p at an action of p, `estimator` is one of: k1 = −x (unbiased,
    may be negative), k2 = x²/2 (biased, small variance), k3 = eˣ − 1 − x (unbiased,
    never negative, and bounded by that of x = 20). Any other is a `ValueError`.

    Reference: Schulman, "Approximating KL divergence" (2020),
    http://joschu.net/blog/kl-approx.html.
    """
    checks.choice("estimator", estimator, KL_ESTIMATORS)
    if estimator == "k1":
        return -log_ratios
    if estimator == "k2":
        return 0.5 * tf.square(log_ratios)
    log_ratios = capped(log_ratios)
    # `exp(x) − 1` would be all rounding error for a policy that hardly moved.
    return tf.math.expm1(log_ratios) - log_ratios


@with_gradient
def capped(log_ratios: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Returns min(x, 20), with the gradient of x, so that exp(x) stays finite.

    The exponential of 88.8 is infinite, and its product with the gradient 0 of a clip
    is `nan`. Above 20 a penalty keeps a gradient, of the size that it has there.
    """
    return tf.minimum(log_ratios, 20.0), lambda gradient: gradient


def mean(terms: tf.Tensor, valid: tf.Tensor | None) -> tf.Tensor:
    """Averages float32 terms over the valid rows to a scalar; 0 if there are none."""
    if valid is None:
        return tf.reduce_mean(terms)
    count = tf.reduce_sum(tf.cast(valid, tf.float32))
    return tf.reduce_sum(tf.where(valid, terms, 0.0)) / tf.maximum(count, 1.0)


def _masked(
    valid: tf.Tensor | None, **tensors: tf.Tensor
) -> tuple[tuple[tf.Tensor, ...], tf.Tensor | None]:
    """Checks the shapes, and replaces the contents of masked rows by 0.

    Masking before the arithmetic and again after it is the double `where`: one alone
    keeps `nan` out of the loss, but not out of its gradient
    (https://docs.jax.dev/en/latest/faq.html#gradients-contain-nan-where-using-where).
    """
    arrays = {
        name: tf.convert_to_tensor(tensor, tf.float32)
        for name, tensor in tensors.items()
    }
    assert_same_shape(**arrays)
    if valid is None:
        return tuple(arrays.values()), None
    valid = tf.convert_to_tensor(valid, tf.bool)
    assert_same_shape(**arrays, valid=valid)
    return tuple(tf.where(valid, array, 0.0) for array in arrays.values()), valid


def _check_clip_range(
    clip_range: float | tf.Tensor | None, high: float | tf.Tensor | None = None
) -> None:
    """Refuses Python numbers out of range or order; a tensor has no value yet."""
    if clip_range is not None and not tf.is_tensor(clip_range) and not clip_range > 0:
        checks.refuse("clip_range", "must be positive", clip_range)
    if high is None:
        return
    if clip_range is None:
        checks.refuse("clip_range_high", "has no effect with clip_range=None", high)
    if (
        not tf.is_tensor(high)
        and not tf.is_tensor(clip_range)
        and not high >= clip_range
    ):
        wanted = f"must be at least clip_range={clip_range}"
        checks.refuse("clip_range_high", wanted, high)
