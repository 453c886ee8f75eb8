"""What the models say about rows: parameters, log-probabilities and values."""

from __future__ import annotations

from typing import NamedTuple

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


def log_probs_of(policy: Policy, trajectory: Trajectory) -> Tensor:
    """Returns `[T, B]` log-probabilities of a trajectory's actions, in nats."""
    parameters, _ = policy.unroll(
        trajectory.observations, trajectory.policy_state, resets(trajectory)
    )
    return policy.family.log_prob(parameters, trajectory.actions)
