"""Losses: what the identities of `tests/mutants` do not say about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf

import kpg.losses
from tests.mutants.policy_gradient import LOGITS
from tests.mutants.reference import exact, paid
from tests.mutants.subject import Array, close, gradient

Loss: TypeAlias = Callable[..., tf.Tensor]

# What every loss has in common. Each case: the loss, and the names of its arguments in
# the order of the call, first the one that is learned.


def clipped_value(values: Array, targets: Array, old: Array, **kwargs: Any) -> Array:
    return kpg.losses.value(values, targets, old_values=old, clip_range=0.2, **kwargs)


def clipped_surrogate(a: Array, b: Array, c: Array, **kwargs: Any) -> Array:
    return kpg.losses.clipped_surrogate(a, b, c, clip_range=0.2, **kwargs)


def dual_clipped(a: Array, b: Array, c: Array, **kwargs: Any) -> Array:
    options: dict[str, Any] = {"clip_range": 0.2, "dual_clip": 1.5}
    return kpg.losses.clipped_surrogate(a, b, c, **options, **kwargs)


def unclipped(a: Array, b: Array, c: Array, **kwargs: Any) -> Array:
    return kpg.losses.clipped_surrogate(a, b, c, clip_range=None, **kwargs)


def k1(a: Array, b: Array, **kwargs: Any) -> Array:
    return kpg.losses.approximate_kl(a, b, estimator="k1", **kwargs)


def k2(a: Array, b: Array, **kwargs: Any) -> Array:
    return kpg.losses.approximate_kl(a, b, estimator="k2", **kwargs)


CASES = [
    (kpg.losses.policy_gradient, 2),
    (clipped_surrogate, 3),
    (dual_clipped, 3),
    (unclipped, 3),
    (kpg.losses.value, 2),
    (clipped_value, 3),
    (k1, 2),
    (k2, 2),
    (kpg.losses.approximate_kl, 2),
    (kpg.losses.reference_kl, 3),
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
    compiled = tf.function(loss, autograph=False, jit_compile=True)
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


@pytest.mark.parametrize("jit_compile", [False, True])
def test_k3_is_never_negative(jit_compile: bool) -> None:
    log_ratios = np.concatenate([np.linspace(-3.0, 3.0, 301), np.logspace(-9, -1, 200)])
    run = tf.function(
        kpg.losses.approximate_kl, autograph=False, jit_compile=jit_compile
    )
    for log_ratio in [*log_ratios, *-log_ratios[-200:]]:
        found = run(tf.constant([log_ratio], tf.float32), tf.constant([0.0])).numpy()
        # Not below what float32 rounds away.
        assert found >= -1e-7 * abs(log_ratio)


# Other bad input.


@pytest.mark.parametrize("clip_range", [0.0, -0.2, float("nan")])
def test_clip_range_out_of_range_is_refused(clip_range: float) -> None:
    with pytest.raises(ValueError, match="`clip_range` must be positive. Received"):
        kpg.losses.clipped_surrogate([0.0], [0.0], [1.0], clip_range=clip_range)
    with pytest.raises(ValueError, match="`clip_range` must be positive. Received"):
        kpg.losses.value([0.0], [0.0], old_values=[0.0], clip_range=clip_range)


@pytest.mark.parametrize("dual_clip", [1.0, 0.5, -3.0, np.inf, np.nan])
def test_dual_clip_out_of_range_is_refused(dual_clip: float) -> None:
    with pytest.raises(ValueError, match="`dual_clip` must be .* above 1.* Received: "):
        kpg.losses.clipped_surrogate(
            [0.0], [0.0], [1.0], clip_range=0.2, dual_clip=dual_clip
        )


@pytest.mark.parametrize("high", [0.1, -1.0, float("nan")])
def test_the_higher_end_is_not_below_the_other(high: float) -> None:
    rows: Any = ([0.0], [0.0], [1.0])
    with pytest.raises(ValueError, match="must be at least clip_range=0.2. Received"):
        kpg.losses.clipped_surrogate(*rows, clip_range=0.2, clip_range_high=high)
    with pytest.raises(ValueError, match="`clip_range_high` has no effect with"):
        kpg.losses.clipped_surrogate(*rows, clip_range=None, clip_range_high=0.3)


def test_a_sequence_has_one_ratio_and_each_step_its_gradient() -> None:
    rows = tf.constant([[1.0, 5.0], [2.0, np.nan], [-6.0, np.inf]])
    valid = tf.constant([[True, True], [True, False], [True, False]])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        found = kpg.losses.sequence_log_ratios(rows, valid)
        total = tf.reduce_sum(found * tf.constant([[1.0, 2.0], [3.0, 0.0], [5.0, 0.0]]))
    np.testing.assert_allclose(found[:, 0], [-1.0] * 3, rtol=1e-6)
    np.testing.assert_allclose(found[:, 1], [5.0] * 3)
    np.testing.assert_allclose(
        tape.gradient(total, rows), [[1.0, 2.0], [3.0, 0.0], [5.0, 0.0]]
    )
    whole = kpg.losses.sequence_log_ratios(tf.constant([[1.0], [2.0]]))
    np.testing.assert_allclose(whole, [[1.5], [1.5]])
    nothing = kpg.losses.sequence_log_ratios(rows, tf.zeros_like(valid))
    np.testing.assert_array_equal(nothing, np.zeros([3, 2]))


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
    with pytest.raises(ValueError, match="must be one of .*k3.* Received.*'k4'"):
        kpg.losses.approximate_kl([0.0], [0.0], estimator="k4")
    with pytest.raises(ValueError, match="must be one of .*k3.* Received.*'k4'"):
        kpg.losses.reference_kl([0.0], [0.0], [0.0], estimator="k4")


@pytest.mark.parametrize("estimator", kpg.losses.KL_ESTIMATORS)
def test_only_k1_gives_rewards_the_gradient_of_the_divergence(estimator: str) -> None:
    right = np.allclose(paid(estimator), gradient(exact, LOGITS), atol=1e-5)
    assert right == (estimator == "k1")


def test_mean_over_valid_rows() -> None:
    terms = tf.constant([1.0, np.nan, 3.0])
    assert kpg.losses.mean(terms, tf.constant([True, False, True])) == 2.0
    assert kpg.losses.mean(terms, tf.constant([False] * 3)) == 0.0
    assert kpg.losses.mean(terms[:1], None) == 1.0


def through(log_ratios: Any, loss: Any) -> tuple[Any, Any]:
    """Returns a loss of log-ratios and its gradient."""
    x = tf.constant(log_ratios, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    return value.numpy(), tape.gradient(value, x).numpy()


SIGNS = tf.constant([1.0, -1.0, 1.0, -1.0])
LOSSES_OF_RATIOS = {
    "clipped": lambda x: kpg.losses.clipped_surrogate(
        x, tf.zeros_like(x), SIGNS, clip_range=0.2
    ),
    "unclipped": lambda x: kpg.losses.clipped_surrogate(
        x, tf.zeros_like(x), SIGNS, clip_range=None
    ),
    "k3": lambda x: kpg.losses.approximate_kl(x, tf.zeros_like(x)),
    "reference": lambda x: kpg.losses.reference_kl(x, tf.zeros_like(x), -x),
}


@pytest.mark.parametrize("name", [*LOSSES_OF_RATIOS])
def test_large_log_ratios_stay_finite(name: str) -> None:
    """The exponential of 89 is infinite, and 0 times that is no gradient."""
    value, gradient = through([89.0, 200.0, 1e9, -1e9], LOSSES_OF_RATIOS[name])
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_an_action_that_became_likely_and_is_bad_keeps_its_penalty() -> None:
    """A clip of the log-ratio alone would take the gradient away."""
    _, gradient = through([89.0, 200.0, -1.0, 0.0], LOSSES_OF_RATIOS["clipped"])
    assert gradient[0] == 0.0  # good, and likelier than the clip rewards
    assert gradient[1] > 1.0


@pytest.mark.parametrize("jit_compile", [False, True])
def test_below_twenty_nothing_changes(jit_compile: bool) -> None:
    """To the last bit, and so does the gradient."""
    x = np.linspace(-20.0, 20.0, 4001, dtype=np.float32)

    @tf.function(autograph=False, jit_compile=jit_compile)
    def both(x: Any) -> Any:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            ours, plain = tf.exp(kpg.losses.capped(x)), tf.exp(x)
        return ours, plain, tape.gradient(ours, x), tape.gradient(plain, x)

    ours, plain, slope, plain_slope = both(tf.constant(x))
    np.testing.assert_array_equal(ours, plain)
    np.testing.assert_array_equal(slope, plain_slope)
    np.testing.assert_array_equal(kpg.losses.capped(tf.constant(x)), x)
