"""Recurrent models: the loop over time against one step after the other."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import (
    GRU,
    LSTM,
    Critic,
    Memory,
    Policy,
    RecurrentCritic,
    RecurrentPolicy,
    Transformer,
)

SPACE = gym.spaces.Box(-1.0, 1.0, (3,))
ACTIONS = gym.spaces.Discrete(2)
MEMORIES = ["gru", "lstm"]
T, B = 5, 4


def make(memory: str | None, seed: int = 0) -> Policy:
    units: dict[str, Any] = {} if memory is None else {"memory_units": 3}
    policy = Policy(
        SPACE, ACTIONS, hidden_units=(4,), memory=memory, seed=seed, **units
    )
    # A head of gain 0.01 would hide errors of the memory from absolute tolerances.
    policy.head.kernel.assign(100.0 * policy.head.kernel)
    return policy


def observations() -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(size=(T, B, 3)), tf.float32)


def state_of(policy: Policy) -> tuple[tf.Tensor, ...]:
    random = np.random.default_rng(1)
    shapes = [(B, *spec.shape) for spec in policy.state_spec]
    return tuple(tf.constant(random.normal(size=s), tf.float32) for s in shapes)


def resets() -> np.ndarray[Any, Any]:
    flags = np.zeros((T, B), bool)
    flags[0, 1] = flags[2, 0] = flags[2, 1] = flags[4, 1] = True
    return flags


def one_by_one(
    policy: Policy, rows: tf.Tensor, state: Any, flags: np.ndarray[Any, Any]
) -> tuple[tf.Tensor, list[Any]]:
    outputs, states = [], []
    for row, flag in zip(tf.unstack(rows), flags, strict=True):
        keep = tf.constant(~flag[:, np.newaxis], tf.float32)
        output, state = policy.step(row, tuple(keep * part for part in state))
        outputs.append(output)
        states.append(state)
    return tf.stack(outputs), [tf.stack(part) for part in zip(*states, strict=True)]


@pytest.mark.parametrize("memory", MEMORIES)
def test_unrolling_is_one_step_after_the_other(memory: str) -> None:
    policy = make(memory)
    outputs, states = policy.unroll(observations(), state_of(policy), resets())
    expected = one_by_one(policy, observations(), state_of(policy), resets())
    np.testing.assert_allclose(outputs, expected[0], atol=1e-6)
    assert len(states) == len(expected[1])
    for mine, other in zip(states, expected[1], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    without, _ = policy.unroll(observations(), state_of(policy), np.zeros((T, B), bool))
    assert np.abs(without - outputs).max() > 1e-3


@pytest.mark.parametrize("memory", MEMORIES)
def test_compiled_gradients_are_those_of_the_naive_loop(memory: str) -> None:
    policy = make(memory)
    weights = tf.random.stateless_normal([T, B, 2], [0, 1])

    def gradients(unroll: Any, rows: tf.Tensor, state: Any) -> Any:
        variables = policy.trainable_variables
        with tf.GradientTape() as tape:
            tape.watch((rows, state))
            loss = tf.reduce_sum(weights * unroll(rows, state)[0])
        return tape.gradient(loss, [*variables, rows, state])

    @tf.function(autograph=False, jit_compile=True)
    def compiled(rows: tf.Tensor, state: Any) -> Any:
        return gradients(lambda x, s: policy.unroll(x, s, resets()), rows, state)

    naive = gradients(
        lambda x, s: one_by_one(policy, x, s, resets()),
        observations(),
        state_of(policy),
    )
    mine = compiled(observations(), state_of(policy))
    for one, other in zip(tf.nest.flatten(mine), tf.nest.flatten(naive), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        assert np.abs(other).max() > 1e-3


@pytest.mark.parametrize("memory", MEMORIES)
def test_nothing_passes_a_reset(memory: str) -> None:
    policy = make(memory)
    flags = resets()
    rows, state = observations(), state_of(policy)
    with tf.GradientTape() as tape:
        tape.watch((rows, state))
        outputs, _ = policy.unroll(rows, state, flags)
        after = tf.reduce_sum(outputs[3] ** 2)
    by_row, by_state = tape.gradient(after, (rows, state))
    fresh = flags[2]
    assert fresh.any() and not fresh.all()
    for part in (*by_row.numpy()[:2], *(part.numpy() for part in by_state)):
        np.testing.assert_array_equal(part[fresh], 0.0)
        assert (np.abs(part[~fresh]).max(-1) > 1e-6).all()
    noisy = tf.concat([rows[:2] + 1.0, rows[2:]], axis=0)
    changed = np.abs(policy.unroll(noisy, state, flags)[0] - outputs)[2:]
    assert changed[:, fresh].max() == 0.0
    assert changed[0, ~fresh].max() > 1e-4


@pytest.mark.parametrize("memory", MEMORIES)
def test_two_halves_are_the_whole(memory: str) -> None:
    policy = make(memory)
    rows, flags = observations(), resets()
    whole, states = policy.unroll(rows, state_of(policy), flags)
    first, between = policy.unroll(rows[:2], state_of(policy), flags[:2])
    carried = tuple(part[-1] for part in between)
    second, last = policy.unroll(rows[2:], carried, flags[2:])
    np.testing.assert_allclose(tf.concat([first, second], 0), whole, atol=1e-6)
    np.testing.assert_allclose(last[0][-1], states[0][-1], atol=1e-6)


def test_a_call_is_the_first_step_of_an_episode() -> None:
    policy = make("lstm")
    first, state = policy.step(observations()[0], policy.initial_state(B))
    np.testing.assert_array_equal(policy(observations()[0]), first)
    second, _ = policy.step(observations()[1], state)
    assert np.abs(second - policy(observations()[1])).max() > 1e-4


def test_states_are_described() -> None:
    specs = {memory: make(memory).state_spec for memory in (None, *MEMORIES)}
    vector = tf.TensorSpec([3], tf.float32)
    assert specs == {None: (), "gru": (vector,), "lstm": (vector, vector)}
    for part in make("lstm").initial_state(2):
        np.testing.assert_array_equal(part, np.zeros((2, 3)))
    assert make(None).initial_state(2) == ()


def test_a_model_without_memory_unrolls_at_once() -> None:
    policy = make(None)
    assert not policy.recurrent
    outputs, states = policy.unroll(observations(), (), resets())
    np.testing.assert_allclose(outputs[3], policy(observations()[3]), atol=1e-6)
    assert states == ()
    assert policy.step(observations()[0], ())[1] == ()


def test_a_critic_remembers_too() -> None:
    critic = Critic(SPACE, memory="gru", memory_units=3, hidden_units=(4,), seed=0)
    rows, state = observations(), critic.initial_state(B)
    outputs, (states,) = critic.unroll(rows, state, resets())
    assert outputs.shape == (T, B) and states.shape == (T, B, 3)
    for t in range(2):
        values, state = critic.step(rows[t], state)
        np.testing.assert_allclose(outputs[t], values, atol=1e-6)


def test_recurrent_models_have_an_lstm_unless_told_otherwise() -> None:
    assert len(RecurrentPolicy(SPACE, ACTIONS, memory_units=2).state_spec) == 2
    assert len(RecurrentCritic(SPACE, memory_units=2).state_spec) == 2
    assert len(RecurrentCritic(SPACE, memory="gru").state_spec) == 1


def test_initial_weights_are_kerass_and_follow_the_seed() -> None:
    cells: list[Any] = [make("lstm", seed).trunk.memory for seed in (0, 0, 1)]
    cell, again, other = cells
    np.testing.assert_array_equal(cell.bias, [0.0] * 3 + [1.0] * 3 + [0.0] * 6)
    recurrent = cell.recurrent_kernel.numpy()
    np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(3), atol=1e-5)
    np.testing.assert_array_equal(cell.kernel, again.kernel)
    np.testing.assert_array_equal(recurrent, again.recurrent_kernel)
    assert np.abs(cell.kernel - other.kernel).max() > 0.01


def test_refuses_what_is_no_memory() -> None:
    with pytest.raises(ValueError, match=r"gru, lstm, transformer.*memory='rnn'"):
        make("rnn")
    with pytest.raises(ValueError, match=r"Did you mean transformer"):
        make("transfomer")
    with pytest.raises(ValueError, match=r"whole number of at least 1.*units=0"):
        Policy(SPACE, ACTIONS, memory="gru", memory_units=0)
    with pytest.raises(ValueError, match=r"whole number of at least 1.*steps=0"):
        Policy(SPACE, ACTIONS, memory="transformer", memory_steps=0)
    with pytest.raises(ValueError, match=r"`memory_units` has no effect without"):
        Policy(SPACE, ACTIONS, memory_units=8)
    with pytest.raises(ValueError, match=r"`memory_steps` has no effect without"):
        Policy(SPACE, ACTIONS, memory_steps=8)
    with pytest.raises(ValueError, match=r"GRU has no argument.*takes units.*steps=8"):
        Policy(SPACE, ACTIONS, memory="gru", memory_steps=8)
    with pytest.raises(ValueError, match=r"finished value.*Received: memory=LSTM"):
        Policy(SPACE, ACTIONS, memory=LSTM(3), memory_units=8)


@keras.saving.register_keras_serializable(package="test_memory")
@dataclasses.dataclass(frozen=True)
class Simple(Memory):
    """A memory of one's own: Elman's network."""

    units: int = 5

    def cell(self, seed: int | None) -> keras.layers.Layer:
        return keras.layers.SimpleRNNCell(self.units, seed=seed)


def test_values_and_names_make_the_same_models() -> None:
    for value, name, sizes in (
        (GRU(3), "gru", {"memory_units": 3}),
        (LSTM(3), "lstm", {"memory_units": 3}),
        (Transformer(4, 2), "transformer", {"memory_units": 4, "memory_steps": 2}),
    ):
        options: dict[str, Any] = {"memory": name, **sizes}
        one = Policy(SPACE, ACTIONS, memory=value, seed=0)
        other = Policy(SPACE, ACTIONS, seed=0, **options)
        assert one.get_config()["memory"] == other.get_config()["memory"]
        np.testing.assert_array_equal(one(observations()[0]), other(observations()[0]))


@pytest.mark.parametrize("memory", [Simple(5), Simple, f"{__name__}:Simple"], ids=str)
def test_a_memory_of_ones_own(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Simple.__module__])
    policy = Policy(SPACE, ACTIONS, memory=memory, seed=0)
    assert [spec.shape.as_list() for spec in policy.state_spec] == [[5]]
    outputs, _ = policy.unroll(observations(), policy.initial_state(B), resets())
    expected, _ = one_by_one(policy, observations(), policy.initial_state(B), resets())
    np.testing.assert_allclose(outputs, expected, atol=1e-6)
    config = json.loads(json.dumps(policy.get_config()))
    assert Policy.from_config(config).state_spec == policy.state_spec


def test_refuses_memories_without_a_cell_and_with_a_misspelt_one() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (Memory,), {})()
    with pytest.raises(TypeError, match=r"Did you mean cell\?.*Received: cells"):
        type("Misspelt", (Memory,), {"cells": lambda self, seed: None})


@pytest.mark.parametrize("shape", [(T,), (B, T), (T, B, 1)])
def test_refuses_resets_of_another_shape(shape: tuple[int, ...]) -> None:
    policy = make("gru")
    with pytest.raises(ValueError, match=r"`resets` must be \[T, B\].*Received"):
        policy.unroll(observations(), policy.initial_state(B), np.zeros(shape, bool))
