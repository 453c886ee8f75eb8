"""Advantages from values: what the identities of `tests/mutants` do not say of them."""

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
    naive_n_step,
    naive_returns,
    td_errors,
)


def eager_gae(data: Fragment, gamma: float, gae_lambda: float) -> Any:
    return kpg.advantages.gae(*data, gamma=gamma, gae_lambda=gae_lambda).numpy()


def tensors(data: Fragment) -> list[tf.Tensor]:
    floats = [tf.constant(array, tf.float32) for array in data[:3]]
    return floats + [tf.constant(array) for array in data[3:]]


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
