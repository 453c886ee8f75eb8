"""What is asked of every policy, whatever it observes."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import tensorflow as tf

from kpg.distributions.family import Family
from kpg.graph import probability as tfp
from kpg.models.tracked_model import TrackedModel
from kpg.types import Nest, Tensor

Entropies: TypeAlias = Literal["unknown", "constant", "learned"]


class Judged(NamedTuple):
    """What a model says of rows `[N]` or `[T, B]` and the actions in them, all float32.

    Log-probabilities and entropies are in nats, entropies 0 if they were not asked for;
    `values` are a critic's on the same trunk, `None` without one.
    """

    log_probs: Tensor
    entropies: Tensor
    values: Tensor | None


class ActionModel(TrackedModel):
    """A model whose outputs are parameters for `family`, which derived classes set."""

    family: Family

    def distribution(self, observations: Nest) -> tfp.distributions.Distribution:
        """Returns a TFP distribution of batch shape `[B]`; one event is one action."""
        return self.family.distribution(self(observations))

    def sample(self, observations: Nest, seed: Tensor) -> tuple[Nest, Tensor]:
        """Draws raw actions `[B, ...]`; also returns their log-probabilities, in nats.

        Equal seeds, which are `[2]` int32, give equal actions.
        """
        parameters = self(observations)
        actions = self.family.sample(parameters, seed)
        return actions, self.family.log_prob(parameters, actions)

    def mode(self, observations: Nest) -> Nest:
        """Returns the most likely raw action `[B, ...]` for each observation."""
        return self.family.mode(self(observations))

    def log_prob(self, observations: Nest, actions: Nest) -> Tensor:
        """Returns `[B]` log-probabilities of raw actions, in nats."""
        return self.family.log_prob(self(observations), actions)

    def entropy(self, observations: Nest) -> Tensor:
        """Returns `[B]` entropies, in nats."""
        return self.family.entropy(self(observations))

    def judge(
        self,
        observations: Nest,
        actions: Nest,
        state: Nest,
        resets: Tensor | None,
        critic: TrackedModel | None = None,
        training: bool = False,
        entropies: Entropies = "learned",
        alike: int = 1,
    ) -> Judged:
        """Says how likely raw actions are.

        Args:
            observations: Nest of `[N, ...]`, or of `[T, B, ...]` with `resets`.
            actions: Nest of as many.
            state: State before the first row.
            resets: See `unroll`; `None` for rows in no order.
            critic: One on this policy's trunk; needs `resets`. Defaults to none.
            training: Whether the call is part of an update. Defaults to `False`.
            entropies: Whether entropies are asked for, and whether gradients flow to
                them. Defaults to "learned".
            alike: How many neighbouring columns have the same state each time, which a
                language model then reads once. Defaults to 1.
        """
        values = None
        if resets is None:
            parameters = self(observations, training=training)
        elif critic is None:
            parameters = self.unroll(observations, state, resets, training=training)[0]
        else:
            parameters, values = self.unroll_with(
                critic, observations, state, resets, training=training
            )
        return Judged(*self.judgement(parameters, actions, entropies), values)

    def judgement(
        self, parameters: Tensor, actions: Nest, entropies: Entropies
    ) -> tuple[Tensor, Tensor]:
        """Returns log-probabilities and entropies by parameters; see `judge`."""
        log_probs = self.family.log_prob(parameters, actions)
        if entropies == "unknown":
            return log_probs, tf.zeros_like(log_probs)
        if entropies == "constant":
            parameters = tf.stop_gradient(parameters)
        return log_probs, self.family.entropy(parameters)
