"""Completions without learning."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.language.generation import TextGeneration
from kpg.models.language.language_policy import LanguagePolicy
from kpg.trainers.acting.evaluation import Evaluator
from kpg.trainers.language.writing import Writer
from kpg.types import Array


class TextEvaluator(Evaluator):
    """Completes the task's prompts in order, starting over if there are too few."""

    env: TextGeneration

    def __init__(
        self,
        env: TextGeneration,
        policy: LanguagePolicy,
        episodes: int,
        deterministic: bool,
        jit_compile: bool,
    ) -> None:
        super().__init__(env, policy, episodes, deterministic)
        self.episodes = episodes
        self._writer = Writer(env, policy, jit_compile, deterministic)

    @override
    def play(self, seed: int) -> tuple[Array, Array]:
        # The last call is filled up with prompts to come.
        size, total = self.env.num_envs, len(self.env.prompts)
        played = []
        for first in range(0, self.episodes, size):
            key = tf.constant([seed & 0x7FFFFFFF, first], tf.int32)
            indices = np.arange(first, first + size) % total
            written = self._writer.write(indices, key, self.episodes - first)
            played.append((written.returns, written.counts))
        returns, lengths = (np.concatenate(rows) for rows in zip(*played, strict=True))
        return returns, lengths
