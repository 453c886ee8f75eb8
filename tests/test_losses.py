"""Identities of the losses against exact gradients, and the bugs they must kill."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf

import kpg.losses

Array: TypeAlias = Any
Loss: TypeAlias = Callable[..., tf.Tensor]

LOGITS = np.array([0.3, -0.7, 1.1], np.float32)
REWARDS = np.array([1.0, -2.0, 0.5], np.float32)


def close(left: Array, right: Array, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def softmax(logits: Array) -> Array:
    weights = np.exp(logits - np.max(logits))
    return weights / weights.sum()


def gradient(function: Callable[[tf.Tensor], tf.Tensor], at: Array) -> Array:
    point = tf.constant(at, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(point)
        result = function(point)
    return tape.gradient(result, point)


def expected_loss_gradient(loss: Loss, advantages: Array) -> Array:
    """Enumerates the actions of a softmax bandit: Σ π(a) ∇ loss(log π(a), A(a))."""

    def of_action(logits: tf.Tensor, action: int) -> tf.Tensor:
        row = slice(action, action + 1)
        advantage = tf.constant(advantages[row], tf.float32)
        return loss(tf.nn.log_softmax(logits)[row], advantage)

    return sum(
        probability * gradient(partial(of_action, action=action), LOGITS).numpy()
        for action, probability in enumerate(softmax(LOGITS))
    )


# Policy gradient: the identities take the loss, so that mutants can be put in.


def bandit_gradient_is_exact(loss: Loss) -> None:
    probabilities = softmax(LOGITS)
    exact = probabilities * (REWARDS - probabilities @ REWARDS)
    step = 1e-3
    differences = [
        (softmax(LOGITS + shift) @ REWARDS - softmax(LOGITS - shift) @ REWARDS)
        / (2 * step)
        for shift in step * np.eye(3)
    ]
    close(exact, differences, 1e-4)
    close(-expected_loss_gradient(loss, REWARDS), exact)


def baseline_adds_nothing(loss: Loss) -> None:
    close(
        expected_loss_gradient(loss, REWARDS + 10.0),
        expected_loss_gradient(loss, REWARDS),
    )


def loss_is_a_mean(loss: Loss) -> None:
    log_probs = tf.constant([[-1.0, -2.0], [-3.0, -0.5]])
    advantages = tf.constant([[1.0, 2.0], [-1.0, 4.0]])
    twice = loss(tf.concat([log_probs] * 2, 0), tf.concat([advantages] * 2, 0))
    close(twice, loss(log_probs, advantages))


POLICY_IDENTITIES = (bandit_gradient_is_exact, baseline_adds_nothing, loss_is_a_mean)


@pytest.mark.parametrize("identity", POLICY_IDENTITIES)
def test_policy_gradient_identity(identity: Callable[[Loss], None]) -> None:
    identity(kpg.losses.policy_gradient)


def wrong_sign(log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(log_probs * advantages)


def probability_not_its_log(log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_mean(tf.exp(log_probs) * advantages)


def sum_not_mean(log_probs: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(log_probs * advantages)


@pytest.mark.parametrize(
    ("mutant", "identity"),
    [
        (wrong_sign, bandit_gradient_is_exact),
        (probability_not_its_log, bandit_gradient_is_exact),
        (probability_not_its_log, baseline_adds_nothing),
        (sum_not_mean, loss_is_a_mean),
    ],
)
def test_policy_gradient_mutant_is_killed(
    mutant: Loss, identity: Callable[[Loss], None]
) -> None:
    with pytest.raises(AssertionError):
        identity(mutant)


# The clipped surrogate.


def worked_example(loss: Loss) -> None:
    # min(1.2 · 5, 1.2 · 5) = 6, on the edge of the clip.
    close(loss(np.log([1.2]), [0.0], [5.0], clip_range=0.2), -6.0)
    # Above the edge nothing more is gained, below it everything counts.
    close(loss(np.log([1.5]), [0.0], [5.0], clip_range=0.2), -6.0)
    close(loss(np.log([0.5]), [0.0], [5.0], clip_range=0.2), -2.5)
    # With a negative advantage the other way round.
    close(loss(np.log([1.5]), [0.0], [-5.0], clip_range=0.2), 7.5)
    close(loss(np.log([0.5]), [0.0], [-5.0], clip_range=0.2), 4.0)


def at_ratio_one_it_is_the_policy_gradient(loss: Loss) -> None:
    log_probs = np.log([0.2, 0.5, 0.3]).astype(np.float32)
    close(
        gradient(lambda x: loss(x, log_probs, REWARDS, clip_range=0.2), log_probs),
        gradient(lambda x: kpg.losses.policy_gradient(x, REWARDS), log_probs),
    )


def outside_the_clip_only_the_penalty_has_a_gradient(loss: Loss) -> None:
    for ratio, advantage, flows in (
        (1.73, 1.0, False),
        (1.73, -1.0, True),
        (0.5, 1.0, True),
        (0.5, -1.0, False),
    ):
        bound = partial(
            loss, old_log_probs=[0.0], advantages=[advantage], clip_range=0.2
        )
        expected = -ratio * advantage if flows else 0.0
        close(gradient(bound, np.log([ratio])), [expected])


SURROGATE_IDENTITIES = (
    worked_example,
    at_ratio_one_it_is_the_policy_gradient,
    outside_the_clip_only_the_penalty_has_a_gradient,
)


@pytest.mark.parametrize("identity", SURROGATE_IDENTITIES)
def test_clipped_surrogate_identity(identity: Callable[[Loss], None]) -> None:
    identity(kpg.losses.clipped_surrogate)


def surrogate(choose: Callable[..., tf.Tensor], sign: float = -1.0) -> Loss:
    """Builds the loss with something else in place of its minimum."""

    def loss(
        log_probs: Array, old_log_probs: Array, advantages: Array, *, clip_range: float
    ) -> tf.Tensor:
        ratios = tf.exp(tf.cast(log_probs, tf.float32) - old_log_probs)
        clipped = tf.clip_by_value(ratios, 1.0 - clip_range, 1.0 + clip_range)
        return sign * tf.reduce_mean(choose(ratios, clipped, tf.constant(advantages)))

    return loss


@pytest.mark.parametrize(
    ("mutant", "identity"),
    [
        (surrogate(lambda r, c, a: tf.maximum(r * a, c * a)), worked_example),
        (surrogate(lambda r, c, a: c * a), worked_example),
        (
            surrogate(lambda r, c, a: c * a),
            outside_the_clip_only_the_penalty_has_a_gradient,
        ),
        (
            surrogate(lambda r, c, a: r * a),
            outside_the_clip_only_the_penalty_has_a_gradient,
        ),
        (
            surrogate(lambda r, c, a: tf.minimum(r, c) * a),
            outside_the_clip_only_the_penalty_has_a_gradient,
        ),
        (
            surrogate(lambda r, c, a: tf.minimum(r * a, c * a), 1.0),
            at_ratio_one_it_is_the_policy_gradient,
        ),
    ],
)
def test_clipped_surrogate_mutant_is_killed(
    mutant: Loss, identity: Callable[[Loss], None]
) -> None:
    with pytest.raises(AssertionError):
        identity(mutant)


def test_the_mutants_differ_from_the_loss_only_where_they_are_meant_to() -> None:
    right = surrogate(lambda r, c, a: tf.minimum(r * a, c * a))
    for identity in SURROGATE_IDENTITIES:
        identity(right)


# The critic's loss.


def half_squared_error(loss: Loss) -> None:
    close(loss([1.0, 4.0], [0.0, 2.0]), 0.5 * (1.0 + 4.0) / 2)
    close(gradient(lambda x: loss(x, [0.0, 2.0]), [1.0, 4.0]), [0.5, 1.0])


def clipped_values_take_the_larger_error(loss: Loss) -> None:
    old = {"old_values": [0.0], "clip_range": 0.2}
    # Moved by 1 towards the target 1: as if only by 0.2, an error of 0.8 is left.
    close(loss([1.0], [1.0], **old), 0.5 * 0.8**2)
    # Moved away from the target −1: the true error, 2, is the larger one.
    close(loss([1.0], [-1.0], **old), 0.5 * 2.0**2)
    # Moved by less than the clip: no difference.
    close(loss([0.1], [1.0], **old), 0.5 * 0.9**2)


@pytest.mark.parametrize(
    "identity", [half_squared_error, clipped_values_take_the_larger_error]
)
def test_value_identity(identity: Callable[[Loss], None]) -> None:
    identity(kpg.losses.value)


def value_without_half(values: Array, targets: Array, **_: Any) -> tf.Tensor:
    return tf.reduce_mean(tf.square(tf.constant(values) - targets))


def value_with_minimum(
    values: Array, targets: Array, old_values: Array, clip_range: float
) -> tf.Tensor:
    moves = tf.clip_by_value(tf.constant(values) - old_values, -clip_range, clip_range)
    losses = tf.square(tf.constant(values) - targets)
    return 0.5 * tf.reduce_mean(
        tf.minimum(losses, tf.square(old_values + moves - targets))
    )


@pytest.mark.parametrize(
    ("mutant", "identity"),
    [
        (value_without_half, half_squared_error),
        (value_without_half, clipped_values_take_the_larger_error),
        (value_with_minimum, clipped_values_take_the_larger_error),
    ],
)
def test_value_mutant_is_killed(mutant: Loss, identity: Callable[[Loss], None]) -> None:
    with pytest.raises(AssertionError):
        identity(mutant)


# KL.


def enumerated_kl(estimator: str) -> tuple[float, float]:
    """Returns the mean of the estimator over all actions, and the exact KL."""
    old, new = softmax(LOGITS), softmax(LOGITS + [0.4, -0.3, 0.2])
    mean = sum(
        old[a]
        * kpg.losses.approximate_kl(
            np.log(new[a : a + 1]), np.log(old[a : a + 1]), estimator=estimator
        ).numpy()
        for a in range(3)
    )
    return mean, float(np.sum(old * np.log(old / new)))


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(estimator: str) -> None:
    mean, exact = enumerated_kl(estimator)
    assert mean == pytest.approx(exact, rel=1e-5)


def test_k2_is_biased_but_near() -> None:
    mean, exact = enumerated_kl("k2")
    assert mean == pytest.approx(exact, rel=0.2)
    assert mean != pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_k3_is_never_negative(jit_compile: bool) -> None:
    log_ratios = np.concatenate([np.linspace(-3.0, 3.0, 301), np.logspace(-9, -1, 200)])
    run = tf.function(kpg.losses.approximate_kl, jit_compile=jit_compile)
    for log_ratio in [*log_ratios, *-log_ratios[-200:]]:
        found = run(tf.constant([log_ratio], tf.float32), tf.constant([0.0])).numpy()
        # Not below what float32 rounds away.
        assert found >= -1e-7 * abs(log_ratio)


def test_k3_keeps_its_digits_for_a_small_step() -> None:
    found = kpg.losses.approximate_kl([1e-4], [0.0]).numpy()
    assert found == pytest.approx(0.5e-8, rel=0.01)
    naive = np.exp(np.float32(1e-4)) - np.float32(1.0) - np.float32(1e-4)
    assert naive != pytest.approx(0.5e-8, rel=0.01)


def test_entropy_gradient() -> None:
    """−p(log p + H): what an entropy bonus, added to these losses, pushes towards."""

    def entropy(logits: tf.Tensor) -> tf.Tensor:
        log_probs = tf.nn.log_softmax(logits)
        return -tf.reduce_sum(tf.exp(log_probs) * log_probs)

    p = softmax(LOGITS)
    exact = -p * (np.log(p) - p @ np.log(p))
    close(gradient(entropy, LOGITS), exact)
    # As a policy gradient with the advantage −log p: the same direction in expectation.
    close(-expected_loss_gradient(kpg.losses.policy_gradient, -np.log(p)), exact)


# What every loss has in common. Each case: the loss, and the names of its arguments in
# the order of the call, first the one that is learned.


def clipped_value(values: Array, targets: Array, old: Array, **kwargs: Any) -> Array:
    return kpg.losses.value(values, targets, old_values=old, clip_range=0.2, **kwargs)


def clipped_surrogate(a: Array, b: Array, c: Array, **kwargs: Any) -> Array:
    return kpg.losses.clipped_surrogate(a, b, c, clip_range=0.2, **kwargs)


def k1(a: Array, b: Array, **kwargs: Any) -> Array:
    return kpg.losses.approximate_kl(a, b, estimator="k1", **kwargs)


def k2(a: Array, b: Array, **kwargs: Any) -> Array:
    return kpg.losses.approximate_kl(a, b, estimator="k2", **kwargs)


CASES = [
    (kpg.losses.policy_gradient, 2),
    (clipped_surrogate, 3),
    (kpg.losses.value, 2),
    (clipped_value, 3),
    (k1, 2),
    (k2, 2),
    (kpg.losses.approximate_kl, 2),
]


def tensors(count: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(3)
    return [tf.constant(rng.normal(size=(4, 3)), tf.float32) for _ in range(count)]


@pytest.mark.parametrize(("loss", "count"), CASES)
def test_gradients_flow_to_the_first_argument_alone(loss: Loss, count: int) -> None:
    arguments = tensors(count)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        result = loss(*arguments)
    first, *others = tape.gradient(result, arguments)
    assert np.abs(first).max() > 0.0
    assert others == [None] * (count - 1)


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize(("loss", "count"), CASES)
def test_masked_rows_reach_neither_loss_nor_gradient(
    loss: Loss, count: int, garbage: float
) -> None:
    arguments = tensors(count)
    valid = np.ones((4, 3), bool)
    valid[1, 2] = valid[3, 0] = False
    kept = [tf.boolean_mask(argument, valid) for argument in arguments]
    expected = loss(*kept)
    dirty = [tf.where(valid, argument, garbage) for argument in arguments]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([dirty[0], kept[0]])
        found = loss(*dirty, valid=valid)
        expected = loss(*kept)
    close(found, expected)
    slope = tape.gradient(found, dirty[0]).numpy()
    close(slope[valid], tape.gradient(expected, kept[0]))
    assert (slope[~valid] == 0.0).all()


@pytest.mark.parametrize(("loss", "count"), CASES)
def test_without_a_valid_row_the_loss_is_zero(loss: Loss, count: int) -> None:
    assert loss(*tensors(count), valid=tf.zeros([4, 3], tf.bool)).numpy() == 0.0


@pytest.mark.parametrize(("loss", "count"), CASES)
def test_losses_compile_to_a_scalar(loss: Loss, count: int) -> None:
    compiled = tf.function(loss, jit_compile=True)
    result = compiled(*tensors(count), valid=tf.ones([4, 3], tf.bool))
    assert result.shape == ()
    close(result, loss(*tensors(count)))


@pytest.mark.parametrize("shape", [(4, 3, 1), (4, 1), (1, 3), (4,)])
@pytest.mark.parametrize(("loss", "count"), CASES)
def test_shapes_that_would_broadcast_are_refused(
    loss: Loss, count: int, shape: tuple[int, ...]
) -> None:
    for position in range(count):
        arguments = tensors(count)
        arguments[position] = tf.zeros(shape)
        with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
            loss(*arguments)
    with pytest.raises(ValueError, match=r"`valid` must have the shape .* Received"):
        loss(*tensors(count), valid=tf.ones(shape, tf.bool))


# Other bad input.


@pytest.mark.parametrize("clip_range", [0.0, -0.2, float("nan")])
def test_clip_range_out_of_range_is_refused(clip_range: float) -> None:
    with pytest.raises(ValueError, match="`clip_range` must be positive. Received"):
        kpg.losses.clipped_surrogate([0.0], [0.0], [1.0], clip_range=clip_range)
    with pytest.raises(ValueError, match="`clip_range` must be positive. Received"):
        kpg.losses.value([0.0], [0.0], old_values=[0.0], clip_range=clip_range)


def test_a_scheduled_clip_range_may_reach_zero() -> None:
    found = kpg.losses.clipped_surrogate(
        [0.0], [0.0], [2.0], clip_range=tf.constant(0.0)
    )
    close(found, -2.0)


def test_old_values_without_a_clip_range_are_refused() -> None:
    with pytest.raises(ValueError, match="both or neither. Received: clip_range=None"):
        kpg.losses.value([0.0], [0.0], old_values=[0.0])
    with pytest.raises(ValueError, match="both or neither. Received: old_values=None"):
        kpg.losses.value([0.0], [0.0], clip_range=0.2)


def test_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one of .*'k3'.* Received.*'k4'"):
        kpg.losses.approximate_kl([0.0], [0.0], estimator="k4")


def test_mean_over_valid_rows() -> None:
    terms = tf.constant([1.0, np.nan, 3.0])
    assert kpg.losses.mean(terms, tf.constant([True, False, True])) == 2.0
    assert kpg.losses.mean(terms, tf.constant([False] * 3)) == 0.0
    assert kpg.losses.mean(terms[:1], None) == 1.0
