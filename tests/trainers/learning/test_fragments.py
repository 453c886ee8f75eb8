"""A ring of fragments: which are kept, and how they are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.graph.scan import scan
from kpg.trainers.learning import fragments as module
from kpg.trainers.learning.fragments import Fragments
from kpg.trajectories import Trajectory


def fragment(number: float, length: int = 2) -> Trajectory:
    """Returns one with leaves of several kinds, and some that there are not."""
    rows = tf.fill([length, 1], number)
    flags = tf.fill([length, 1], number % 2 == 1)
    return Trajectory(
        observations={"seen": rows, "more": tf.cast(rows, tf.uint8)},
        actions=tf.cast(rows, tf.int32),
        log_probs=rows,
        rewards=rows,
        terminated=flags,
        truncated=flags,
        valid=None,
        next_observations=(),
        policy_state=(tf.fill([1, 3], number),),
    )


def ring_of(count: int, capacity: int = 3, first: int = 1) -> Fragments:
    """Returns a ring that was given fragments 1, 2, … of iterations 1, 2, …."""
    ring = Fragments(capacity)
    ring.shape(fragment(0.0))
    for number in range(first, first + count):
        keep(ring, number)
    return ring


def keep(ring: Fragments, number: int, healthy: bool = True) -> None:
    ring.keep(fragment(float(number)), tf.constant(number), tf.constant(healthy))


def drawn(ring: Fragments, times: int) -> dict[int, int]:
    """Returns how often each fragment is drawn, whose leaves must all be its own."""

    @tf.function(autograph=False)
    def draw(seeds: tf.Tensor) -> Any:
        def leaves(seed: tf.Tensor) -> list[tf.Tensor]:
            own, iteration = ring.draw(seed)
            parts = [part for part in tf.nest.flatten(own) if part is not None]
            return [iteration, *parts]

        return scan(lambda none, seed: (none, leaves(seed)), (), seeds)[1]

    seeds = tf.constant([[7, seed] for seed in range(times)])
    iterations, *stacked = (rows.numpy() for rows in draw(seeds))
    known = {own: fragment(float(own)) for own in np.unique(iterations)}
    for number, own in enumerate(iterations):
        parts = [part for part in tf.nest.flatten(known[own]) if part is not None]
        for got, want in zip(stacked, parts, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got[number], want)
    return dict(zip(*np.unique(iterations, return_counts=True), strict=True))


@pytest.mark.parametrize(
    ("count", "known"), [(1, {1}), (2, {1, 2}), (3, {1, 2, 3}), (5, {3, 4, 5})]
)
def test_the_last_ones_are_drawn_and_nothing_else(count: int, known: set[int]) -> None:
    assert {*drawn(ring_of(count), 30)} == known


def test_each_one_is_as_likely() -> None:
    counts = drawn(ring_of(4), 300)
    # 4.5 standard errors of a binomial with 300 draws of 1 in 3.
    assert max(abs(count - 100) for count in counts.values()) < 4.5 * np.sqrt(200 / 3)


def test_what_is_not_sound_leaves_no_trace() -> None:
    ring = ring_of(2)
    assert bool(ring.some)
    keep(ring, 9, healthy=False)
    assert {*drawn(ring, 20)} == {1, 2}
    keep(ring, 3)
    assert {*drawn(ring, 20)} == {1, 2, 3}
    ring = ring_of(0)
    ring.keep(fragment(float("nan")), tf.constant(1), tf.constant(False))
    assert not bool(ring.some)
    np.testing.assert_array_equal(ring.draw(tf.constant([1, 2]))[0].rewards, 0.0)


def test_its_state_is_all_that_it_keeps() -> None:
    """Also if it is told before the shapes are known, and once they are."""
    for late in (False, True):
        ring, other = ring_of(5), Fragments(3)
        if late:
            other.set_state(ring.state())
            assert other.state() is not None
        other.shape(fragment(0.0))
        if not late:
            other.set_state(ring.state())
        for own in (ring, other):
            keep(own, 6)
        assert drawn(ring, 20) == drawn(other, 20)
        other.set_state(None)
        assert not bool(other.some)
    assert Fragments(2).state() is None


def test_other_shapes_are_refused() -> None:
    ring = ring_of(1)
    ring.shape(fragment(2.0))
    with pytest.raises(ValueError, match="leave `prompt_buckets=1`.*Received: .*3, 1"):
        ring.shape(fragment(0.0, length=3))


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # A row has 4 numbers of 4 bytes, 3 of 1; a state 3 numbers.
    size = 2 * (4 * 4 + 3) + 3 * 4
    monkeypatch.setattr(module, "free_memory", lambda: 2 * size)
    Fragments(2).shape(fragment(0.0))
    with pytest.raises(ValueError, match="keep at most 2 of them.*num_fragments=3 of"):
        Fragments(3).shape(fragment(0.0))
