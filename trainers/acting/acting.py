"""One step of a policy: from observations to the environment's actions."""

from __future__ import annotations

from typing import NamedTuple

from kpg.models.policy import Policy
from kpg.types import Nest, Tensor


class Acted(NamedTuple):
    """What a policy did in one step.

    Attributes:
        actions: Nest of `[B, ...]`, raw actions.
        parameters: `[B, P]` float32, of their distributions.
        taken: Nest of `[B, ...]`, the actions as the environment takes them.
        state: Nest of `[B, ...]`, the recurrent policy's new state.
    """

    actions: Nest
    parameters: Tensor
    taken: Nest
    state: Nest


def act(
    policy: Policy, observations: Nest, state: Nest, seed: Tensor, greedy: bool = False
) -> Acted:
    """Chooses an action for each observation, given a `[2]` seed; builds graph."""
    family = policy.family
    parameters, state = policy.step(observations, state)
    if greedy:
        actions = family.mode(parameters)
    else:
        actions = family.sample(parameters, seed)
    return Acted(actions, parameters, family.to_environment(actions), state)
