"""What a policy sees of the text that an executor writes for it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import checks
from kpg.models.language.language_policy import LanguagePolicy
from kpg.types import Array, Space, Tensor

_TOP = 8


class Interaction:
    """Observations of B texts, see `kpg.environments.ControlledGeneration`.

    `space` is that of one observation, for actions of the space that is given.
    """

    def __init__(
        self, executor: LanguagePolicy, actions: Space, interaction: str
    ) -> None:
        checks.choice("interaction", interaction, ("one_way", "two_way"))
        self.two_way = interaction == "two_way"
        self._embed = executor.trunk.lm.backbone.token_embedding
        size = executor.trunk.vocabulary_size
        self._top = min(_TOP, size)
        # Nothing was done before the first step: one more choice, or a row of zeros.
        last, self._shift = actions, 0
        if isinstance(actions, gym.spaces.Discrete):
            last, self._shift = gym.spaces.Discrete(int(actions.n) + 1), 1
        entries: dict[str, Space] = {
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

    def view(self, features: Tensor, parameters: Tensor) -> dict[str, Tensor]:
        """Builds graph: what the executor thinks of the next token of each text.

        Features are `[B, F]`, parameters of its own distributions `[B, V]`.
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

    def summary(self, prompts: Tensor, lengths: Tensor) -> Tensor:
        """Builds graph: `[B, F]` float32, the mean embedding of each prompt.

        Prompts are `[B, P]` int32, padded on the right, of `[B]` tokens.
        """
        known = tf.sequence_mask(lengths, prompts.shape[1], tf.float32)
        embedded = tf.cast(self._embed(prompts), tf.float32)
        total = tf.einsum("bp,bpf->bf", known, embedded)
        return total / tf.cast(lengths, tf.float32)[:, tf.newaxis]

    def no_actions(self, count: int) -> Array:
        """Returns `[count, ...]` actions of episodes that have just begun."""
        space = self.space["last_action"]
        return np.zeros([count, *(space.shape or ())], space.dtype)

    def as_last(self, actions: Array) -> Array:
        """Returns actions as `last_action` has them."""
        return actions + self._shift


def _box(low: float, high: float, size: int) -> gym.spaces.Box:
    return gym.spaces.Box(low, high, (size,), np.float32)
