"""A model inside an environment that learns along with the policy."""

from __future__ import annotations

from typing import Protocol

import keras

from kpg.types import Nest, Tensor


class Partner(Protocol):
    """A model inside an environment that acts after the policy, in the same step.

    Both lead to the same rewards, so it can learn from the policy's advantages. `turn`
    is what it did in the last step and what it knew: a nest of arrays `[B, ...]`.
    """

    model: keras.Model
    turn: Nest

    def log_probs(self, turn: Nest) -> Tensor:
        """Builds graph: log-probabilities `[...]` float32, nats, of turns `[..., ...]`.

        They are those of the model as it is now; 0 where it had no choice.
        """
        ...

    def refresh(self) -> None:
        """Computes again what was cached from the model's weights."""
        ...
