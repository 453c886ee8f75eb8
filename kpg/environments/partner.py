"""What an environment with a model inside offers, so that the model learns, too."""

from __future__ import annotations

from typing import Any, Protocol

import tensorflow as tf


class Partner(Protocol):
    """A model inside an environment that acts after the policy, in the same step.

    Both lead to the same rewards, so that it can learn by the policy's advantages.

    Attributes:
        model: With the weights that learn.
        turn: What it did in the last step, and what it knew: a nest of arrays `[B,
            ...]`.
    """

    model: Any
    turn: Any

    def log_probs(self, turn: Any) -> tf.Tensor:
        """Builds graph: log-probabilities `[...]` float32 of turns `[..., ...]`.

        They are in nats, of the model as it now is; 0 where it had no choice.
        """
        ...

    def refresh(self) -> None:
        """Has what was remembered of the model as it was computed anew."""
        ...
