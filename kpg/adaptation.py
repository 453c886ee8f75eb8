"""Numbers that adapt to the KL divergence between the old and the new policy.

The rules work on float32 scalars inside a TensorFlow graph and return the number from
now on; a Python number out of range raises a `ValueError`. A KL that is not finite
changes nothing, and for the two rules with a band neither does one that is not
positive: 0 is the mean over no rows (and that of an unchanged policy), and an estimate
such as k1 may be negative. The bounds 0 < `low` ≤ `high` limit each change; a number
that starts outside them is not pulled inside.
"""

from __future__ import annotations

import tensorflow as tf

from kpg import checks


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
    The KL is KL(π_old ‖ π) in nats after the update; a target of 0.01 is usual, and
    `factor` is above 1.

    Reference: Rudin et al., "Learning to walk in minutes using massively parallel deep
    reinforcement learning" (2021), https://arxiv.org/abs/2109.11978; the numbers 2, 1.5
    and 10⁻² are those of its code, https://github.com/leggedrobotics/rsl_rl, and 10⁻⁶
    is that of https://github.com/Denys88/rl_games.

    Note: descriptions of PPO often have no target, factor or band in which nothing
    changes. Without the band the rate would change after every update.
    """
    if not factor > 1.0:
        checks.refuse("factor", "must be above 1", factor)
    faster = tf.less(kl, 0.5 * target_kl)
    slower = tf.greater(kl, 2.0 * target_kl)
    move = tf.where(faster, factor, tf.where(slower, 1.0 / factor, 1.0))
    return _moved(rate, _positive(kl), move, target_kl, low, high)


def kl_coefficient(
    beta: float | tf.Tensor,
    kl: float | tf.Tensor,
    *,
    target_kl: float,
    low: float = 1e-6,
    high: float = 1e4,
) -> tf.Tensor:
    """Adapts the coefficient β of a KL penalty, −β · KL in the objective.

    β / 2 if KL < target / 1.5, β · 2 if KL > 1.5 · target, else β. The KL is
    KL(π_old ‖ π) in nats after the update.

    Reference: Schulman et al., "Proximal policy optimization algorithms" (2017),
    section 4, https://arxiv.org/abs/1707.06347. There β starts with 1, and the targets
    are 0.003, 0.01 and 0.03.

    Note: the paper has no bounds. Here they are wide and only keep β away from 0 and
    infinity, from which halving and doubling could not return.
    """
    weaker = tf.less(kl, target_kl / 1.5)
    stronger = tf.greater(kl, 1.5 * target_kl)
    move = tf.where(weaker, 0.5, tf.where(stronger, 2.0, 1.0))
    return _moved(beta, _positive(kl), move, target_kl, low, high)


def proportional_kl_coefficient(
    beta: float | tf.Tensor,
    kl: float | tf.Tensor,
    *,
    target_kl: float,
    num_episodes: int,
    horizon: float = 10_000.0,
    clip: float = 0.2,
    low: float = 1e-6,
    high: float = 1e4,
) -> tf.Tensor:
    """Adapts the coefficient β of a KL to a fixed reference in proportion to the error.

    β · (1 + e · `num_episodes` / `horizon`), e = clip(KL / target − 1, ±`clip`).

    Reference: Ziegler et al., "Fine-tuning language models from human preferences"
    (2019), section 2.2, https://arxiv.org/abs/1909.08593; the horizon, in place of the
    paper's K = 0.1, is that of its code,
    https://github.com/openai/lm-human-preferences.

    Note: unlike in the rules above, this KL is that of the policy to its start. It adds
    up over the training, so the coefficient follows slowly: at `clip` = 0.2 it takes
    about 5 · `horizon` episodes to change by a factor of e. The paper has no bounds.

    Args:
        beta: The coefficient so far, > 0; 0.15 is usual for text.
        kl: Mean KL(π ‖ π_ref) in nats: in the paper that of an episode, summed over its
            steps; that of a step works, too, with a target for a step. Estimates at or
            below 0 count as they are.
        target_kl: Desired KL > 0 in nats; 6 is usual for a text of 24 tokens.
        num_episodes: Episodes since the last change, at least 1.
        horizon: Episodes over which the error adds up, > `clip` · `num_episodes`.
            Defaults to 10000.
        clip: Largest error that counts, > 0. Defaults to 0.2.
        low: As in `kl_coefficient`.
        high: As in `kl_coefficient`.
    """
    if num_episodes < 1 or not 0.0 < clip * num_episodes < horizon:
        raise ValueError(
            "`clip` must be positive, `num_episodes` at least 1 and `horizon` above "
            f"their product. Received: clip={clip}, num_episodes={num_episodes}, "
            f"horizon={horizon}"
        )
    kl = tf.convert_to_tensor(kl, tf.float32)
    error = tf.clip_by_value(kl / target_kl - 1.0, -clip, clip)
    move = 1.0 + error * (num_episodes / horizon)
    return _moved(beta, tf.math.is_finite(kl), move, target_kl, low, high)


def _positive(kl: float | tf.Tensor) -> tf.Tensor:
    """Whether a KL carries information."""
    kl = tf.convert_to_tensor(kl, tf.float32)
    return tf.math.is_finite(kl) & (kl > 0.0)


def _moved(
    number: float | tf.Tensor,
    measured: tf.Tensor,
    move: tf.Tensor,
    target_kl: float,
    low: float,
    high: float,
) -> tf.Tensor:
    """Multiplies within the bounds, if the KL was measured; checks them first."""
    if not target_kl > 0.0:
        checks.refuse("target_kl", "must be positive", target_kl)
    if not 0.0 < low <= high:
        raise ValueError(
            "The bounds must satisfy 0 < `low` <= `high`. Received: "
            f"low={low}, high={high}"
        )
    number = tf.convert_to_tensor(number, tf.float32)
    floor, ceiling = tf.minimum(number, low), tf.maximum(number, high)
    return tf.where(measured, tf.clip_by_value(number * move, floor, ceiling), number)
