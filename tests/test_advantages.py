"""Advantages: what the identities of `tests/mutants` do not say about them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg.advantages
from tests.mutants.subject import Array, close
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    fragment,
    naive_gae,
    naive_n_step,
    naive_returns,
    naive_times,
    td_errors,
)
from tests.mutants.vtrace import naive as naive_vtrace

LOG_RATIOS = np.random.default_rng(5).normal(size=(12, 3))


def eager_gae(data: Fragment, gamma: float, gae_lambda: float) -> Any:
    return kpg.advantages.gae(*data, gamma=gamma, gae_lambda=gae_lambda).numpy()


def tensors(data: Fragment) -> list[tf.Tensor]:
    floats = [tf.constant(array, tf.float32) for array in data[:3]]
    return floats + [tf.constant(array) for array in data[3:]]


def test_estimators_compile() -> None:
    """All in one graph; the eager ones are compared with their oracles elsewhere."""

    @tf.function(jit_compile=True, autograph=False)
    def run(data: list[tf.Tensor], log_ratios: tf.Tensor) -> tuple[tf.Tensor, ...]:
        (rewards, _, *others), inputs = data, [*data, log_ratios]
        return (
            kpg.advantages.gae(*data, gamma=GAMMA, gae_lambda=0.95),
            kpg.advantages.n_step(*data, gamma=GAMMA, n=5),
            kpg.advantages.discounted_returns(rewards, *others, gamma=GAMMA),
            kpg.advantages.total_returns(rewards, *others, gamma=GAMMA),
            kpg.advantages.discount_weights(*others[1:], gamma=GAMMA),
            *kpg.advantages.vtrace(*inputs, gamma=GAMMA)[1::-1],
        )

    data = fragment()
    found = run(tensors(data), tf.constant(LOG_RATIOS, tf.float32))
    times = naive_times(data.ended, np.ones_like(data.ended))
    starts = np.arange(12)[:, np.newaxis] - times
    returns = naive_returns(data, GAMMA)
    expected = (
        naive_gae(data, GAMMA, 0.95),
        naive_n_step(data, GAMMA, 5),
        returns,
        np.take_along_axis(returns, starts, axis=0),
        GAMMA**times,
        *naive_vtrace(data, LOG_RATIOS, 1.0, 1.0),
    )
    for left, right in zip(found, expected, strict=True):
        assert left.shape == (12, 3) and left.dtype == tf.float32
        close(left, right)


def normalized(advantages: Array) -> Any:
    return (advantages - advantages.mean()) / advantages.std()


def test_scale_of_rewards_does_not_matter_after_normalisation() -> None:
    data = fragment()
    scaled = data._replace(
        rewards=100.0 * data.rewards,
        values=100.0 * data.values,
        next_values=100.0 * data.next_values,
    )
    close(
        normalized(eager_gae(scaled, GAMMA, 0.95)),
        normalized(eager_gae(data, GAMMA, 0.95)),
    )


def test_gae_of_one_step_and_of_one_environment() -> None:
    data = Fragment(*(array[:1, :1] for array in fragment()))
    close(eager_gae(data, GAMMA, 0.95), td_errors(data, GAMMA))


def test_gae_is_traced_once() -> None:
    run = tf.function(kpg.advantages.gae)
    for seed in range(3):
        run(*tensors(fragment(seed)), gamma=GAMMA, gae_lambda=0.95)
    assert run.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("mutation", ["terminated", "next_values", "truncated"])
def test_returns_depend_on_each_argument(mutation: str) -> None:
    data = fragment()
    changed = data._replace(**{mutation: np.zeros_like(getattr(data, mutation))})
    returns = kpg.advantages.discounted_returns(
        changed.rewards, *changed[2:], gamma=GAMMA
    )
    with pytest.raises(AssertionError):
        close(returns, naive_returns(data, GAMMA))


def test_td_error_by_hand() -> None:
    found = kpg.advantages.td_error(
        [[1.0, 1.0]], [[2.0, 2.0]], [[10.0, 10.0]], [[False, True]], gamma=0.5
    )
    close(found, [[4.0, -1.0]])


@pytest.mark.parametrize("garbage", [np.nan, np.inf])
def test_what_follows_a_termination_is_not_read(garbage: float) -> None:
    data = fragment()
    dirty = data._replace(next_values=data.next_values.copy())
    dirty.next_values[data.terminated] = garbage
    close(eager_gae(dirty, GAMMA, 0.95), eager_gae(data, GAMMA, 0.95))
    ratios = np.zeros((12, 3))
    close(
        kpg.advantages.vtrace(*dirty, ratios, gamma=GAMMA).advantages,
        kpg.advantages.vtrace(*data, ratios, gamma=GAMMA).advantages,
    )
    close(
        kpg.advantages.discounted_returns(data.rewards, *dirty[2:], gamma=GAMMA),
        naive_returns(data, GAMMA),
    )


def test_garbage_in_the_row_after_an_episode_stays_there() -> None:
    # Row 4 of column 0 comes after a termination: a NEXT_STEP reset, say.
    data = fragment()
    dirty = Fragment(*(array.copy() for array in data))
    for array in dirty[:3]:
        array[4, 0] = np.nan
    log_ratios = np.zeros((12, 3))
    log_ratios[4, 0] = np.inf
    rest = np.arange(12) != 4
    close(
        eager_gae(dirty, GAMMA, 0.9)[rest],
        eager_gae(data._replace(next_values=dirty.next_values), GAMMA, 0.9)[rest],
    )
    found = kpg.advantages.vtrace(*dirty, log_ratios, gamma=GAMMA)
    assert np.isfinite(found.targets.numpy()[rest]).all()
    assert np.isfinite(found.advantages.numpy()[rest]).all()


@pytest.mark.parametrize("n", [1, 3, 12])
def test_n_steps_do_not_read_garbage(n: int) -> None:
    data = fragment()
    clean = kpg.advantages.n_step(*data, gamma=GAMMA, n=n).numpy()
    dirty = Fragment(*(array.copy() for array in data))
    dirty.next_values[data.terminated] = np.nan
    for array in dirty[:3]:
        array[4, 0] = np.inf  # the row after a termination
    found = kpg.advantages.n_step(*dirty, gamma=GAMMA, n=n).numpy()
    rest = np.arange(12) != 4
    close(found[rest], clean[rest])


def test_n_steps_may_be_more_than_the_graph_knows_of() -> None:
    """With an unknown T the rounds beyond it change nothing."""
    floats = [tf.TensorSpec([None, 3])] * 3
    flags = [tf.TensorSpec([None, 3], tf.bool)] * 2

    @tf.function(input_signature=floats + flags, autograph=False)
    def run(*data: tf.Tensor) -> tf.Tensor:
        return kpg.advantages.n_step(*data, gamma=GAMMA, n=20)

    data = fragment()
    close(run(*tensors(data)), naive_n_step(data, GAMMA, 20))


def test_garbage_in_resets_reaches_no_total() -> None:
    data = fragment()
    rewards, valid = data.rewards.copy(), np.ones((12, 3), bool)
    rewards[4, 0], valid[4, 0] = np.nan, False
    arguments = rewards, *data[2:]
    found = kpg.advantages.total_returns(*arguments, gamma=GAMMA, valid=valid).numpy()
    assert found[4, 0] == 0.0
    close(found[5:9, 0], np.full(4, naive_returns(data, GAMMA)[5, 0]))
    close(found[:4, 0], np.full(4, naive_returns(data, GAMMA)[0, 0]))


def test_gradients_flow_through_every_estimator() -> None:
    data, (rewards, *others) = fragment(), tensors(fragment())
    flags = others[2:]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rewards)
        results = [
            kpg.advantages.n_step(rewards, *others, gamma=GAMMA, n=3),
            kpg.advantages.total_returns(rewards, others[1], *flags, gamma=GAMMA),
        ]
    slopes = [tape.gradient(result, rewards).numpy() for result in results]
    # An episode of four steps: each reward counts in the rows up to two before it; or
    # in all four, by its own discount.
    close(slopes[0][:4, 0], [1.0, 1.9, 2.71, 2.71])
    close(slopes[1][:4, 0], 4.0 * GAMMA ** np.arange(4))
    assert data.terminated[3, 0]


# Bad input.


@pytest.mark.parametrize("field", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(12, 3, 1), (12, 1), (1, 3), (12,)])
def test_shapes_that_would_broadcast_are_refused(
    field: int, shape: tuple[int, ...]
) -> None:
    data = fragment()
    wrong = np.zeros(shape, data[field].dtype)
    arrays = data._replace(**{Fragment._fields[field]: wrong})
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.gae(*arrays, gamma=GAMMA, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.vtrace(*arrays, np.zeros((12, 3)), gamma=GAMMA)
    with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
        kpg.advantages.n_step(*arrays, gamma=GAMMA, n=3)
    if field != 1:
        for function in (
            kpg.advantages.discounted_returns,
            kpg.advantages.total_returns,
        ):
            with pytest.raises(ValueError, match=r"must have the shape .* Received"):
                function(arrays.rewards, *arrays[2:], gamma=GAMMA)
    if field > 2:
        with pytest.raises(ValueError, match=r"must have the shape of .* Received"):
            kpg.advantages.discount_weights(*arrays[3:], gamma=GAMMA)


@pytest.mark.parametrize("shape", [(12, 3, 1), (12, 1), (12,)])
def test_a_mask_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    data, valid = fragment(), np.ones(shape, bool)
    with pytest.raises(ValueError, match=r"`valid` must have the shape .* Received"):
        kpg.advantages.discount_weights(*data[3:], gamma=GAMMA, valid=valid)
    with pytest.raises(ValueError, match=r"`valid` must have the shape .* Received"):
        kpg.advantages.total_returns(data.rewards, *data[2:], gamma=GAMMA, valid=valid)


def test_wrong_shapes_are_refused_while_the_graph_is_built() -> None:
    run = tf.function(kpg.advantages.discounted_returns)
    with pytest.raises(ValueError, match=r"\(8, 4\).*\(8, 1\)"):
        run.get_concrete_function(
            tf.TensorSpec([8, 4]),
            tf.TensorSpec([8, 1]),
            tf.TensorSpec([8, 4], tf.bool),
            tf.TensorSpec([8, 4], tf.bool),
            gamma=GAMMA,
        )


@pytest.mark.parametrize("gamma", [-0.1, 1.1, float("nan")])
def test_gamma_out_of_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"`gamma` must lie in \[0, 1\]. Received"):
        kpg.advantages.gae(*fragment(), gamma=gamma, gae_lambda=0.95)
    with pytest.raises(ValueError, match=r"`gamma` must lie in \[0, 1\]. Received"):
        kpg.advantages.discount_weights(*fragment()[3:], gamma=gamma)


@pytest.mark.parametrize("n", [0, -1])
def test_fewer_than_one_step_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="`n` must be at least 1. Received: n="):
        kpg.advantages.n_step(*fragment(), gamma=0.9, n=n)


def test_lambda_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`gae_lambda` must lie in .* Received"):
        kpg.advantages.gae(*fragment(), gamma=0.9, gae_lambda=2.0)


def test_clips_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="`clip_c` must be positive. Received"):
        kpg.advantages.vtrace(*fragment(), np.zeros((12, 3)), gamma=0.9, clip_c=0.0)


@pytest.mark.parametrize(
    ("shape", "group_size"), [((12,), 5), ((12,), 1), ((3, 4), 4), ((12,), 0)]
)
def test_broken_groups_are_refused(shape: tuple[int, ...], group_size: int) -> None:
    with pytest.raises(ValueError, match="whole groups.* Received"):
        kpg.advantages.leave_one_out(np.zeros(shape), group_size)
