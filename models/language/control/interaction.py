"""What a policy sees of the text that an executor writes for it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg.models.language.decoding.rowwise import Executor

Array = np.ndarray[Any, Any]

INTERACTIONS = ("one_way", "two_way")
_TOP = 8


class Interaction:
    """Observations of B texts, see `kpg.environments.ControlledGeneration`.

    Args:
        executor: What writes.
        actions: Space of one action.
        interaction: One of `INTERACTIONS`.

    Attributes:
        space: Of one observation, a `Dict`.
        two_way: Whether the executor's output is shown.

    Raises:
        ValueError: If the interaction is unknown.
    """

    def __init__(
        self,
        executor: Executor,
        actions: gym.Space[Any],
        interaction: str,
    ) -> None:
        if interaction not in INTERACTIONS:
            raise ValueError(
                f"`interaction` must be one of {', '.join(INTERACTIONS)}. Received: "
                f"interaction={interaction!r}"
            )
        self.two_way = interaction == "two_way"
        self.actions = actions
        self._embed = executor.trunk.causal_lm.backbone.token_embedding
        size = executor.trunk.vocabulary_size
        self._top = min(_TOP, size)
        # Nothing was done before the first step: one more choice, or a row of zeros.
        last = actions
        if isinstance(actions, gym.spaces.Discrete):
            last = gym.spaces.Discrete(int(actions.n) + 1)
        entries: dict[str, gym.Space[Any]] = {
            "last_action": last,
            "prompt": _box(-np.inf, np.inf, self._embed.output_dim),
            "step": _box(0.0, 1.0, 1),
        }
        if self.two_way:
            entries |= {
                "entropy": _box(0.0, np.inf, 1),
                "features": _box(-np.inf, np.inf, executor.trunk.width),
                "last_token": gym.spaces.Discrete(size),
                "log_likelihood": _box(-np.inf, 0.0, 1),
                "top_log_probs": _box(-np.inf, 0.0, self._top),
            }
        self.space = gym.spaces.Dict(entries)

    def view(self, features: tf.Tensor, parameters: tf.Tensor) -> dict[str, tf.Tensor]:
        """Builds graph that says what the executor thinks of the next token.

        Args:
            features: `[B, F]` behind each text.
            parameters: `[B, V]` float32, those of the executor's own distribution.
        """
        if not self.two_way:
            return {}
        log_probs = tf.nn.log_softmax(parameters)
        entropies = -tf.reduce_sum(tf.exp(log_probs) * log_probs, axis=1, keepdims=True)
        return {
            "entropy": tf.maximum(entropies, 0.0),
            "features": tf.cast(features, tf.float32),
            "top_log_probs": tf.math.top_k(log_probs, self._top).values,
        }

    def summary(self, prompts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
        """Builds graph: `[B, F]` float32, the mean of a prompt's embeddings.

        Args:
            prompts: `[B, P]` int32, padded on the right.
            lengths: `[B]` int32, tokens of each.
        """
        known = tf.sequence_mask(lengths, prompts.shape[1], tf.float32)
        embedded = tf.cast(self._embed(prompts), tf.float32)
        total = tf.einsum("bp,bpf->bf", known, embedded)
        return total / tf.cast(lengths, tf.float32)[:, tf.newaxis]

    def own(self, shares: Array, actions: Array) -> dict[str, Array]:
        """Returns what the policy knows without the executor, besides the summary.

        Args:
            shares: `[B]`, how much of the room for new tokens is used.
            actions: `[B, ...]`, the last actions as `last_action` has them.
        """
        return {
            "last_action": actions.copy(),
            "step": shares.astype(np.float32)[:, np.newaxis],
        }

    def no_actions(self, count: int) -> Array:
        """Returns `[count, ...]` actions of episodes that have just begun."""
        space = self.space["last_action"]
        return np.zeros([count, *(space.shape or ())], space.dtype)

    def as_last(self, actions: Array) -> Array:
        """Returns actions as `last_action` has them."""
        return actions + isinstance(self.actions, gym.spaces.Discrete)


def _box(low: float, high: float, size: int) -> gym.spaces.Box:
    return gym.spaces.Box(low, high, (size,), np.float32)
