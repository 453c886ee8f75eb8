"""Top-k, top-p and min-p: against sorting, and consistent in all methods."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from kpg.distributions import TruncatedFamily

N = 12
CUTS: list[dict[str, Any]] = [
    {"top_k": 1},
    {"top_k": 4},
    {"top_k": N + 5},
    {"top_p": 0.05},
    {"top_p": 0.7},
    {"top_p": 1.0},
    {"top_k": 6, "top_p": 0.6},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"top_k": 8, "top_p": 0.95, "min_p": 0.2},
]


def logits() -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 2.0, (5, 3, N)).astype("float32")


def sorted_cut(
    row: np.ndarray,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float = 0.0,
) -> np.ndarray:
    """Returns the kept choices of one row, by sorting."""
    order = np.argsort(-row)[: top_k or N]
    probs = np.exp(row[order] - row.max())
    probs /= probs.sum()
    if top_p is not None and top_p < 1.0:
        order = order[: np.searchsorted(np.cumsum(probs), top_p) + 1]
    kept = np.zeros(N, bool)
    kept[order] = True
    whole = np.exp(row - row.max())
    shares = whole / whole.sum()
    kept &= shares >= min_p * shares.max()
    return kept


@pytest.mark.parametrize("cut", CUTS)
def test_keeps_what_sorting_keeps(cut: dict[str, Any]) -> None:
    rows = logits()
    want = np.apply_along_axis(sorted_cut, -1, rows, **cut)
    family = TruncatedFamily(gym.spaces.Discrete(N), **cut)
    np.testing.assert_array_equal(family.kept(tf.constant(rows)), want)


def test_all_methods_are_about_what_is_left() -> None:
    rows = tf.constant(logits()[0])
    family = TruncatedFamily(gym.spaces.Discrete(N), top_k=4, top_p=0.9)
    kept = family.kept(rows).numpy()
    probs = np.where(kept, np.exp(rows), 0.0)
    probs /= probs.sum(-1, keepdims=True)
    actions = tf.argmax(rows, -1, output_type=tf.int32)
    want = np.log(np.take_along_axis(probs, actions.numpy()[:, None], -1)[:, 0])
    np.testing.assert_allclose(family.log_prob(rows, actions), want, atol=1e-6)
    entropy = -np.sum(probs * np.log(np.where(kept, probs, 1.0)), -1)
    np.testing.assert_allclose(family.entropy(rows), entropy, atol=1e-6)
    np.testing.assert_array_equal(family.mode(rows), actions)
    distribution = family.distribution(rows)
    np.testing.assert_allclose(distribution.probs_parameter(), probs, atol=1e-6)


def test_samples_follow_what_is_left() -> None:
    count = 20_000
    row = tf.constant(logits()[0, 0])
    family = TruncatedFamily(gym.spaces.Discrete(N), top_k=5)
    rows = tf.broadcast_to(row, [count, N])
    drawn = np.bincount(family.sample(rows, [3, 4]), minlength=N) / count
    probs = family.distribution(row).probs_parameter().numpy()
    error = np.sqrt(probs * (1.0 - probs) / count)
    assert (np.abs(drawn - probs) <= 4.0 * error + 1e-7).all()


def test_an_action_that_was_cut_can_come_back() -> None:
    family = TruncatedFamily(gym.spaces.Discrete(3), top_k=1)
    row = tf.Variable([1.0, 0.0, -1.0])
    with tf.GradientTape() as tape:
        log_prob = family.log_prob(row, 1)
    np.testing.assert_allclose(log_prob, -np.log1p(np.e), atol=1e-6)
    gradient = tape.gradient(log_prob, row).numpy()
    assert gradient[1] > 0.7 and gradient[2] == 0.0


def test_equal_choices_stay_together() -> None:
    family = TruncatedFamily(gym.spaces.Discrete(4), top_k=2)
    kept = family.kept(tf.constant([2.0, 1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(kept, [True, True, True, False])


def test_masks_hold() -> None:
    family = TruncatedFamily(gym.spaces.Discrete(3), top_k=2)
    row = family.masked(tf.constant([5.0, 1.0, 0.0]), tf.constant([0, 1, 1]))
    assert family.log_prob(row, 0) < -1e8
    np.testing.assert_allclose(
        family.log_prob(row, 1), -np.log1p(np.exp(-1.0)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"top_k": 0}, "top_k=0"),
        ({"top_k": 2.5}, "top_k=2.5"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"min_p": 0.0}, "min_p=0.0"),
        ({"min_p": 1.5}, "min_p=1.5"),
    ],
)
def test_refuses(cut: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"Received: {message}"):
        TruncatedFamily(gym.spaces.Discrete(3), **cut)
