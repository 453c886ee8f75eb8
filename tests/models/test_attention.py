"""A transformer as a memory, against a naive one that reads each window anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import AttentionCell, Critic, Policy

SPACE = gym.spaces.Box(-1.0, 1.0, (3,))
ACTIONS = gym.spaces.Discrete(2)
T, B, W = 6, 3, 2

Array = np.ndarray[Any, Any]


def make(units: int = 8, seed: int = 0) -> Policy:
    policy = Policy(
        SPACE,
        ACTIONS,
        hidden_units=(4,),
        memory="transformer",
        memory_units=units,
        memory_steps=W,
        seed=seed,
    )
    random = np.random.default_rng(seed)
    for weight in cell_of(policy).weights:  # biases and gains that matter
        weight.assign(random.normal(size=weight.shape, scale=0.7))
    policy.head.kernel.assign(100.0 * policy.head.kernel)
    return policy


def cell_of(model: Policy | Critic) -> Any:
    return model.trunk.memory


def observations() -> Array:
    return np.random.default_rng(0).normal(size=(T, B, 3)).astype(np.float32)


def resets() -> Array:
    flags = np.zeros((T, B), bool)
    flags[0] = flags[3, 0] = flags[4, 1] = True
    return flags


def normed(layer: Any, rows: Array) -> Array:
    """Layer normalisation, as the paper has it."""
    centred = rows - rows.mean(-1, keepdims=True)
    deviations = np.sqrt((centred**2).mean(-1, keepdims=True) + layer.epsilon)
    gain, bias = layer.get_weights()
    shifted: Array = gain * centred / deviations + bias
    return shifted


def affine(layer: Any, rows: Array) -> Array:
    kernel, *biases = layer.get_weights()
    result: Array = rows @ kernel + sum(biases)
    return result


def block(cell: AttentionCell, window: Array) -> Array:
    """Returns the output `[U]` for the last of the embedded steps `[L, U]` it sees."""
    rows = normed(cell.norms[0], window + cell.ages.numpy()[-len(window) :])
    query, keys, values = (
        affine(layer, rows) for layer in (cell.queries, cell.keys, cell.values)
    )
    parts = []
    for part in np.split(np.arange(cell.units), cell.heads):
        scores = keys[:, part] @ query[-1, part] / math.sqrt(len(part))
        weights = np.exp(scores - scores.max())
        parts.append(weights / weights.sum() @ values[:, part])
    hidden = window[-1] + affine(cell.merge, np.concatenate(parts))
    inner = keras.activations.gelu(affine(cell.widen, normed(cell.norms[1], hidden)))
    hidden = hidden + affine(cell.narrow, np.asarray(inner))
    return normed(cell.norms[2], hidden)


def naive(policy: Policy, rows: Array, flags: Array) -> Array:
    """Returns `[T, B, P]`: each step sees its episode's last W steps and itself."""
    cell = cell_of(policy)
    embedded = [
        affine(cell.embed, np.asarray(policy.trunk(tf.constant(row)))) for row in rows
    ]
    outputs = np.zeros((T, B, 2), np.float32)
    for t in range(T):
        for b in range(B):
            begin = max(k for k in range(t + 1) if k == 0 or flags[k, b])
            window = [embedded[k][b] for k in range(max(begin, t - W), t + 1)]
            outputs[t, b] = affine(policy.head, block(cell, np.stack(window)))
    return outputs


@pytest.mark.parametrize("units", [8, 6])
def test_it_sees_the_last_steps_of_its_episode(units: int) -> None:
    policy = make(units)
    assert cell_of(policy).heads == (4 if units == 8 else 1)
    outputs, _ = policy.unroll(observations(), policy.initial_state(B), resets())
    expected = naive(policy, observations(), resets())
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_compiled_gradients_are_those_of_single_steps() -> None:
    policy = make()
    weights = np.random.default_rng(1).normal(size=(T, B, 2)).astype(np.float32)

    def unrolled() -> tf.Tensor:
        return policy.unroll(observations(), policy.initial_state(B), resets())[0]

    def one_by_one() -> tf.Tensor:
        outputs, state = [], policy.initial_state(B)
        for row, flags in zip(observations(), resets(), strict=True):
            keep = tf.constant(~flags[:, np.newaxis], tf.float32)
            output, state = policy.step(row, tuple(keep * part for part in state))
            outputs.append(output)
        return tf.stack(outputs)

    def gradients(outputs: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weights * outputs())
        return tape.gradient(loss, policy.trainable_variables)

    compiled = tf.function(
        lambda: gradients(unrolled), autograph=False, jit_compile=True
    )
    for mine, other in zip(compiled(), gradients(one_by_one), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)
        assert np.abs(other).max() > 1e-3


def test_nothing_passes_a_reset_or_leaves_the_window_late() -> None:
    policy = make()
    start = policy.initial_state(B)
    before, _ = policy.unroll(observations(), start, resets())
    rows = observations()
    rows[1] += 1.0
    after, _ = policy.unroll(rows, start, resets())
    changed = np.abs(after - before).max(-1) > 1e-5
    assert changed.tolist() == [
        [False] * B,
        [True] * B,
        [True] * B,
        [False, True, True],  # the first copy began anew
        [False] * B,
        [False] * B,
    ]


def test_states_are_described() -> None:
    policy = make()
    sizes = [8, W * 8, W]
    assert [spec.shape.as_list() for spec in policy.state_spec] == [[n] for n in sizes]
    _, states = policy.unroll(observations(), policy.initial_state(B), resets())
    assert states[2][:, 0].numpy().tolist() == [
        [0, 1],
        [1, 1],
        [1, 1],
        [0, 1],
        [1, 1],
        [1, 1],
    ]


def test_saved_and_loaded(tmp_path: Path) -> None:
    policy = make()
    policy.save(tmp_path / "policy.keras")
    loaded: Any = keras.saving.load_model(tmp_path / "policy.keras")
    start = policy.initial_state(B)
    want, _ = policy.unroll(observations(), start, resets())
    got, _ = loaded.unroll(observations(), start, resets())
    np.testing.assert_array_equal(got, want)
    assert loaded.get_config() == policy.get_config()


def test_initial_weights_follow_the_seed_and_the_default_is_a_window_of_32() -> None:
    options: dict[str, Any] = {"memory": "transformer", "memory_units": 4}
    critics = [Critic(SPACE, seed=seed, **options) for seed in (0, 0, 1)]
    first, again, other = ([w.numpy() for w in cell_of(c).weights] for c in critics)
    for mine, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(mine, same)
    assert any(np.abs(a - b).max() > 0.01 for a, b in zip(first, other, strict=True))
    assert critics[0].state_spec[2].shape == (32,)
