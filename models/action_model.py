"""What is asked of every policy, whatever it observes."""

from __future__ import annotations

from kpg.distributions.family import Family
from kpg.graph import probability as tfp
from kpg.models.tracked_model import TrackedModel
from kpg.types import Nest, Tensor


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
