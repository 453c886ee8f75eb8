"""Whether the methods of a functional environment are pure functions of a batch."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kpg.environments.graph.functional import GraphEnvironment, Rng
from kpg.graph.compiling import traceable
from kpg.testing.finding import Finding
from kpg.testing.membership import same
from kpg.testing.random_actions import Actor, find_mask
from kpg.types import Nest, Tensor

_ROWS = 3
_STEPS = 30
# What XLA's other order of operations may change in one step.
_ROUNDING = 1e-3


class _Outcome(NamedTuple):
    states: Nest
    observations: Nest
    rewards: Tensor
    terminal: Tensor


class _Move(NamedTuple):
    states: Nest
    actions: Nest
    key: Tensor
    outcome: _Outcome


def findings(env: GraphEnvironment) -> Iterator[Finding]:
    """Yields the first thing that is wrong with the functions; it explains the rest."""
    try:
        finding = _shapes(env)
        if finding is None:
            moves, others = _play(env, 0), _play(env, 1)
            finding = _purity(env, moves) or _compilation(env, moves)
            finding = finding or _independence(env, moves, others)
    except Exception as error:  # any code of a user may run here
        text = " ".join(str(error).split())[:300]
        finding = Finding(
            "crash",
            f"A method of the environment raised {type(error).__name__}: {text}. It "
            "must be made of TensorFlow operations and take any batch size.",
        )
    if finding is not None:
        yield finding


def _shapes(env: GraphEnvironment) -> Finding | None:
    states = env.initial(_rng(0, 0))
    observations = env.observation(states)
    for name, nest in (("initial", states), ("observation", observations)):
        leaves = map(tf.convert_to_tensor, tf.nest.flatten(nest))
        if any(leaf.shape[:1].as_list() != [_ROWS] for leaf in leaves):
            return _contract(
                f"`{name}` must return tensors of shape [B, ...], a row for each copy; "
                f"for a batch of {_ROWS} it returned {_described(nest)}."
            )
    outcome = _step(env, states, _choose(_actors(env), observations), _key(0, 1))
    before, after = _described(states), _described(outcome.states)
    if before != after:
        return _contract(
            "`transition` must return states of the structure, shapes and dtypes that "
            f"it receives, so that a loop can carry them; {before} became {after}."
        )
    flat = (
        ("reward", outcome.rewards, "float32"),
        ("terminal", outcome.terminal, "bool"),
    )
    for name, value, dtype in flat:
        if _described(value) != f"{dtype}[{_ROWS}]":
            return _contract(
                f"`{name}` must return a {dtype} tensor of shape [B]; for a batch of "
                f"{_ROWS} it returned {_described(value)}."
            )
    return None


def _purity(env: GraphEnvironment, moves: list[_Move]) -> Finding | None:
    """Plays the same episodes again; others were played in between."""
    pairs = zip(moves, _play(env, 0), strict=True)
    if all(same(one.outcome, other.outcome, 1e-6) for one, other in pairs):
        return None
    return Finding(
        "nondeterministic",
        "The same states, actions and seed led to something else the second time. Draw "
        "random numbers only from `rng`, and keep nothing in attributes between calls.",
    )


def _compilation(env: GraphEnvironment, moves: list[_Move]) -> Finding | None:
    def step(states: Nest, actions: Nest, key: Tensor) -> _Outcome:
        return _step(env, states, actions, key)

    compiled = traceable(step, jit_compile=True)
    for move in moves:
        outcome = compiled(move.states, move.actions, move.key)
        if not same(move.outcome, outcome, _ROUNDING):
            return Finding(
                "nondeterministic",
                "Compiled, the environment does something else than called directly. A "
                "graph keeps what Python or NumPy computed while it was traced: use "
                "TensorFlow operations on the arguments alone.",
            )
    if (traces := compiled.experimental_get_tracing_count()) != 1:
        return _contract(f"One trace must serve all steps; there were {traces}.")
    return None


def _independence(
    env: GraphEnvironment, moves: list[_Move], others: list[_Move]
) -> Finding | None:
    """Replaces the last row of each batch and looks whether the others notice."""
    for move, other in zip(moves, others, strict=True):
        states, actions = tf.nest.map_structure(
            lambda rows, strange: tf.concat([rows[:-1], strange[-1:]], axis=0),
            (move.states, move.actions),
            (other.states, other.actions),
        )
        outcomes = move.outcome, _step(env, states, actions, move.key)
        first, second = tf.nest.map_structure(lambda rows: rows[:-1], outcomes)
        if not same(first, second, _ROUNDING):
            return Finding(
                "rows_mixed",
                "Another state in the last row of a batch changed the rows before it. "
                "Each row is an environment of its own: do not reduce over the first.",
            )
    return None


def _actors(env: GraphEnvironment) -> list[Actor]:
    return [Actor(env.action_space, row) for row in range(_ROWS)]


def _choose(actors: list[Actor], observations: Nest) -> Nest:
    """Returns actions `[B, ...]`, legal ones where the observations hold a mask."""
    chosen = []
    for row, actor in enumerate(actors):
        seen = tf.nest.map_structure(lambda leaf, row=row: leaf[row], observations)
        chosen.append(actor.choose(find_mask(seen, {})))
    return tf.nest.map_structure(lambda *rows: tf.constant(np.stack(rows)), *chosen)


def _play(env: GraphEnvironment, seed: int) -> list[_Move]:
    """Plays as a trainer does: rows whose episode is over start again."""
    actors, states, moves = _actors(env), env.initial(_rng(seed, 0)), []
    for count in range(1, _STEPS + 1):
        key = _key(seed, count)
        actions = _choose(actors, env.observation(states))
        outcome = _step(env, states, actions, key)
        moves.append(_Move(states, actions, key, outcome))
        fresh = env.initial(_rng(seed, -count))
        ended = functools.partial(_rows, outcome.terminal)
        states = tf.nest.map_structure(ended, fresh, outcome.states)
    return moves


def _step(env: GraphEnvironment, states: Nest, actions: Nest, key: Tensor) -> _Outcome:
    after = env.transition(states, actions, Rng(key, _ROWS))
    rewards = env.call("reward", states, actions, after, None)
    terminal = env.call("terminal", after, None)
    return _Outcome(after, env.observation(after), rewards, terminal)


def _rows(condition: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """Takes the rows of `chosen` where `[B]` `condition` holds, else of `other`."""
    shape = [-1] + [1] * (chosen.shape.rank - 1)
    return tf.where(tf.reshape(condition, shape), chosen, other)


def _described(nest: Nest) -> Nest:
    """Returns the nest with a string such as "float32[3, 2]" for each tensor."""

    def described(leaf: Nest) -> str:
        tensor = tf.convert_to_tensor(leaf)
        return f"{tensor.dtype.name}{tensor.shape.as_list()}"

    return tf.nest.map_structure(described, nest)


def _contract(words: str) -> Finding:
    return Finding("step_contract", words)


def _key(seed: int, count: int) -> Tensor:
    return tf.constant([seed, count], tf.int32)


def _rng(seed: int, count: int) -> Rng:
    return Rng(_key(seed, count), _ROWS)
