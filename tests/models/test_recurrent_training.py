"""Training with a memory, against replays by hand from the start of each episode."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import Probe
from kpg.trainers.acting.graph import GraphCollector
from kpg.trainers.acting.host import HostCollector
from kpg.trainers.learning.estimation import Estimation
from kpg.trajectories import Trajectory, resets
from tests.claims import BOX, CHOICE, MODES, NUMBER, Pair, make_environment
from tests.claims import make_trainer as claimed_trainer
from tests.fragments import values_of

B, T = 2, 6
GRU = Pair(BOX, CHOICE, memory="gru")
LSTM = Pair(BOX, CHOICE, memory="lstm")
MASKED = Pair(NUMBER, CHOICE, masked=True, memory="lstm")


def probe_of(pair: Pair) -> Probe:
    return Probe("memory", pair.observation[1], pair.action[1], pair.masked)


def environment(mode: str, pair: Pair = LSTM, limit: int = 4, num_envs: int = B) -> Any:
    """A probe of four steps; in the graph, a limit may cut it before."""
    return make_environment(probe_of(pair), mode, num_envs, limit)


def make_trainer(env: Any, pair: Pair = LSTM, **settings: Any) -> Any:
    chosen: dict[str, Any] = {
        "num_steps": T,
        "num_epochs": 2,
        "minibatch_size": T * B,
        "compile_arguments": {"jit_compile": False},
    }
    return claimed_trainer("PPO", env, pair, **{**chosen, **settings})


def fragments(trainer: Any, env: Any, count: int = 2) -> list[Trajectory]:
    """Collects fragments that carry on, without learning."""
    if isinstance(env, kpg.environments.GraphEnvironment):
        collector = GraphCollector(env, trainer.policy, T, env.num_envs)
        collect = tf.function(collector.collect, autograph=False)
        carry, found = collector.start(tf.constant([3, 4])), []
        for number in range(count):
            carry, rows, _ = collect(carry, tf.constant([5, number]))
            found.append(rows)
        return found
    host = HostCollector(env, trainer.policy, T)
    return [
        tf.nest.map_structure(tf.constant, host.collect(np.array([5, number]))[0])
        for number in range(count)
    ]


def joined(parts: list[Trajectory]) -> Any:
    """Joins fragments in time, as NumPy arrays."""
    without = [part._replace(policy_state=()) for part in parts]
    return tf.nest.map_structure(
        lambda *rows: None if rows[0] is None else np.concatenate(rows), *without
    )


def replay(model: Any, rows: Any) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """Steps a model through rows one environment at a time; episodes start from zero.

    Returns its outputs on the observations and on the true next ones `[T, B, ...]`,
    and the states before the rows.
    """
    length, count = rows.rewards.shape
    outputs: list[list[Any]] = [[None] * count for _ in range(length)]
    following: list[list[Any]] = [[None] * count for _ in range(length)]
    states: list[list[Any]] = [[None] * count for _ in range(length)]
    step = tf.function(model.step, autograph=False, reduce_retracing=True)
    for column in range(count):
        state = model.initial_state(1)
        for row in range(length):
            here = (slice(row, row + 1), column)
            pair = (rows.observations, rows.next_observations)
            at, then = (
                tf.nest.map_structure(operator.itemgetter(here), part) for part in pair
            )
            states[row][column] = [part.numpy()[0] for part in state]
            output, after = step(at, state)
            outputs[row][column] = output.numpy()[0]
            following[row][column] = step(then, after)[0].numpy()[0]
            over = rows.terminated[row, column] or rows.truncated[row, column]
            skipped = rows.valid is not None and not rows.valid[row, column]
            state = model.initial_state(1) if over or skipped else after
    return np.array(outputs), np.array(following), states


# Memories are replayed alike in every mode: the fast tests take them in turn.
@pytest.mark.parametrize(
    ("mode", "pair"),
    [
        pytest.param(
            *(mode, pair),
            marks=() if number % 2 == own else pytest.mark.slow,
            id=f"{mode}-{name}",
        )
        for number, mode in enumerate(MODES)
        for own, (name, pair) in enumerate((("gru", GRU), ("masked-lstm", MASKED)))
    ],
)
def test_state_and_log_probabilities_are_those_of_a_replay(
    mode: str, pair: Pair
) -> None:
    env = environment(mode, pair)
    trainer = make_trainer(env, pair)
    policy = trainer.policy
    move_weights(policy)
    parts = fragments(trainer, env)
    rows = joined(parts)
    ended = rows.terminated | rows.truncated
    assert ended[: T - 1].any() and not ended[T - 1].all()
    parameters, _, states = replay(policy, rows)
    valid = np.ones_like(ended) if rows.valid is None else rows.valid
    log_probs = policy.family.log_prob(parameters, rows.actions).numpy()
    np.testing.assert_allclose(rows.log_probs[valid], log_probs[valid], atol=1e-5)
    for number, part in enumerate(parts):
        for index, state in enumerate(part.policy_state):
            naive = np.stack([column[index] for column in states[number * T]])
            np.testing.assert_allclose(state, naive, atol=1e-5)
        outputs, _ = policy.unroll(part.observations, part.policy_state, resets(part))
        again = policy.family.log_prob(outputs, part.actions)
        ratios = np.exp(again - part.log_probs)[valid[number * T : (number + 1) * T]]
        np.testing.assert_allclose(ratios, 1.0, atol=1e-5)
    # The last step of an episode shows a blank: without what is remembered,
    # one would say something else.
    blind, _ = policy.unroll(
        parts[1].observations,
        policy.initial_state(B),
        tf.ones([T, B], tf.bool),
    )
    gaps = np.abs(blind - parameters[T:])[valid[T:]]
    assert gaps[np.isfinite(gaps)].max() > 1e-3


def move_weights(model: Any) -> None:
    """Takes the weights away from their start, where outputs hardly differ."""
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(0.5 * random.normal(size=variable.shape))


@pytest.mark.parametrize("mode", MODES)
def test_values_are_those_of_a_replay(mode: str) -> None:
    """Cut rows ask the critic about the final observation, in the state of that row."""
    limit = 3 if mode == "in-graph" else 4
    env = environment(mode, limit=limit)
    trainer = make_trainer(env)
    move_weights(trainer.critic)
    parts = [truncated_somewhere(part) for part in fragments(trainer, env)]
    rows = joined(parts)
    values, next_values, _ = replay(trainer.critic, rows)
    state = trainer.critic.initial_state(B)
    estimation = Estimation(trainer.training_on(B))
    for number, part in enumerate(parts):
        own = slice(number * T, (number + 1) * T)
        valid = np.ones((T, B), bool) if part.valid is None else part.valid.numpy()
        got, following, state = estimation._values(part, state)
        np.testing.assert_allclose(got, values[own], atol=1e-5)
        alive = valid & ~part.terminated.numpy()
        assert (alive & part.truncated.numpy()).any()
        np.testing.assert_allclose(
            following.numpy()[alive], next_values[own][alive], atol=1e-5
        )


def truncated_somewhere(part: Trajectory) -> Trajectory:
    """Takes the ends in the first environment for those of a time limit."""
    first = tf.range(B) == 0
    return part._replace(
        terminated=part.terminated & ~first,
        truncated=part.truncated | (part.terminated & first),
    )


@pytest.mark.parametrize("mode", ["in-graph", "NEXT_STEP"])
def test_minibatches_that_cut_sequences_are_refused(mode: str) -> None:
    env = environment(mode)
    for size in (1, T // 2, T * B // 3):
        trainer = make_trainer(env, minibatch_size=size)
        with pytest.raises(
            ValueError, match=rf"whole sequences.*minibatch_size={size}"
        ):
            trainer.fit(env, verbose=0)


@pytest.mark.slow
def test_loaded_models_predict_the_same(tmp_path: Path) -> None:
    env = environment("in-graph", MASKED)
    trainer = make_trainer(env, MASKED)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    (rows,) = fragments(trainer, env, 1)
    for ours, theirs in (
        (trainer.policy, loaded.policy),
        (trainer.critic, loaded.critic),
    ):
        state = ours.initial_state(B)
        got, after = theirs.unroll(rows.observations, state, resets(rows))
        want, before = ours.unroll(rows.observations, state, resets(rows))
        np.testing.assert_array_equal(got, want)
        tf.nest.map_structure(np.testing.assert_array_equal, after, before)
    want = trainer.evaluate(env, episodes=6)["returns"]
    np.testing.assert_array_equal(loaded.evaluate(env, episodes=6)["returns"], want)
    before = values_of(loaded.learned_variables())
    loaded.fit(env, steps_per_epoch=1, verbose=0)
    moved = zip(before, values_of(loaded.learned_variables()), strict=True)
    assert any(not np.array_equal(*both) for both in moved)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["in-graph", "NEXT_STEP"])
def test_two_replicas_run(mode: str) -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    env = environment(mode, num_envs=4)
    with strategy.scope():
        trainer = make_trainer(env, minibatch_size=2 * T)
    history = trainer.fit(env, steps_per_epoch=2, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert trainer.function.experimental_get_tracing_count() == 1
    for variable in trainer.trainable_variables:
        copies = strategy.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*copies)
    with strategy.scope():
        cut = make_trainer(env, minibatch_size=T)
    with pytest.raises(ValueError, match="2 replicas"):
        cut.fit(env, verbose=0)
