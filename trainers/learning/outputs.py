"""What the models say about rows: parameters, log-probabilities and values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from kpg.graph.scan import scan
from kpg.models.action_model import Entropies, Judged
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.trainers.learning.batches import Batch
from kpg.trajectories import Trajectory, resets
from kpg.types import Nest, Tensor


class Outputs(NamedTuple):
    """What policy and critic say about a minibatch.

    Attributes:
        parameters: `[N, P]` float32, of the policy's distributions.
        log_probs: `[N]` float32, of the rows' actions, in nats.
        entropies: `[N]` float32, in nats.
        values: `[N]` float32, the critic's; `None` without one.
    """

    parameters: Tensor
    log_probs: Tensor
    entropies: Tensor
    values: Tensor | None


def outputs(policy: Policy, critic: Critic | None, rows: Batch) -> Outputs:
    """Asks the models about rows, as training does."""
    values = None
    if critic is None:
        parameters = output(policy, rows, rows.states[0])
    elif rows.resets is not None and critic.trunk is policy.trunk:
        # One pass through the trunk, and one back, for both of them.
        parameters, values = policy.unroll_with(
            critic, rows.observations, rows.states[0], rows.resets, training=True
        )[:2]
    else:
        parameters = output(policy, rows, rows.states[0])
        values = output(critic, rows, rows.states[1])
    family = policy.family
    log_probs = family.log_prob(parameters, rows.actions)
    return Outputs(parameters, log_probs, family.entropy(parameters), values)


def output(
    model: Policy | Critic, rows: Batch, state: Nest, training: bool = True
) -> Tensor:
    """Returns a model's output on rows, or on sequences from their first state."""
    if rows.resets is None:
        return model(rows.observations, training=training)
    return model.unroll(rows.observations, state, rows.resets, training=training)[0]


def judged(
    policy: Policy,
    critic: Critic | None,
    rows: Batch,
    entropies: Entropies,
    alike: int = 1,
) -> Judged:
    """Asks the models about rows, as training does, but not for the parameters.

    Those of a language model are the largest table of all; see `ActionModel.judge`.
    """
    companion = None
    if critic is not None and rows.resets is not None:
        companion = critic if critic.trunk is policy.trunk else None
    said = policy.judge(
        rows.observations,
        rows.actions,
        rows.states[0],
        rows.resets,
        companion,
        training=True,
        entropies=entropies,
        alike=alike,
    )
    if critic is None or companion is not None:
        return said
    return said._replace(values=output(critic, rows, rows.states[1]))


def log_probs_of(
    policy: Policy,
    trajectory: Trajectory,
    at_a_time: int | None = None,
    alike: int = 1,
) -> Tensor:
    """Returns `[T, B]` log-probabilities of a trajectory's actions, in nats.

    `at_a_time` columns are looked at together, by default all; `alike` neighbours begin
    alike, a divisor of them.
    """
    rows = (trajectory.observations, trajectory.actions, resets(trajectory))
    return _log_probs(policy, rows, trajectory.policy_state, at_a_time, alike)


def log_probs_now(policy: Policy, batch: Batch, at_a_time: int | None) -> Tensor:
    """Returns those of a batch's rows as they are now; see `log_probs_of`."""
    rows = (batch.observations, batch.actions, batch.resets)
    return _log_probs(policy, rows, batch.states[0], at_a_time)


def _log_probs(
    policy: Policy, rows: Nest, state: Nest, at_a_time: int | None, alike: int = 1
) -> Tensor:
    def ask(rows: Nest, state: Nest) -> Tensor:
        observations, actions, resets = rows
        said = policy.judge(
            observations, actions, state, resets, entropies="unknown", alike=alike
        )
        return said.log_probs

    return by_columns(ask, rows, state, at_a_time)


def by_columns(
    ask: Callable[[Nest, Nest], Tensor],
    rows: Nest,
    states: Nest,
    at_a_time: int | None,
) -> Tensor:
    """Returns `[T, B]` float32 answers about `[T, B, ...]`, some columns at a time.

    `ask` gets rows and `states` of `[B, ...]` of as many columns, a divisor of B.
    """
    if at_a_time is None:
        return ask(rows, states)
    length, count = tf.nest.flatten(rows)[0].shape[:2]

    def cut(part: Tensor, axis: int) -> Tensor:
        shape = [*part.shape[:axis], -1, at_a_time, *part.shape[axis + 1 :]]
        return tf.experimental.numpy.moveaxis(tf.reshape(part, shape), axis, 0)

    pieces = (
        tf.nest.map_structure(functools.partial(cut, axis=1), rows),
        tf.nest.map_structure(functools.partial(cut, axis=0), states),
    )
    _, said = scan(
        lambda none, piece: (none, ask(*piece)),
        (),
        pieces,
        like=tf.TensorSpec([length, at_a_time]),
        at_a_time=1,
    )
    return tf.reshape(tf.transpose(said, [1, 0, 2]), [length, count])
