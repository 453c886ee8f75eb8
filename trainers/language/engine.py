"""Iterations on a text task: sampled in one compiled call, learned from in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from kpg.language.generation import TextGeneration
from kpg.models.language.text_model import TextModel
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.language.writing import GreedyWriter, Writer, Written
from kpg.trainers.learning.minibatches import log_probs_of
from kpg.trainers.running.engines import HostedEngine
from kpg.trajectories import Trajectory

if TYPE_CHECKING:
    from kpg.trainers.trainer import Trainer


class TextEngine(HostedEngine):
    """Writes completions, has them scored on the host, and learns from them.

    One device writes all of them; of several replicas each then learns from its share.
    Every iteration is one fragment of whole episodes.

    Raises:
        ValueError: If `num_steps` is not the task's `max_new_tokens`.
    """

    env: TextGeneration

    def __init__(self, trainer: Trainer, env: TextGeneration) -> None:
        super().__init__(trainer, env)
        if trainer.settings.num_steps != env.max_new_tokens:
            raise ValueError(
                "A trainer's `num_steps` must be the task's `max_new_tokens`: a "
                "fragment holds whole completions. Received: num_steps="
                f"{trainer.settings.num_steps}, max_new_tokens={env.max_new_tokens}"
            )
        self._greedy: GreedyWriter | None = None
        self.compile()

    def compile(self) -> None:
        """See `Engine.compile`."""
        trainer, env = self.trainer, self.env
        self.writer = Writer(env, trainer.policy, trainer.uses_xla)
        if trainer.compares_with_greedy:
            self._greedy = GreedyWriter(env, trainer.policy, trainer.uses_xla)
        super().compile()

    def restart(self) -> None:
        """See `Engine.restart`: every iteration begins new episodes anyway."""

    def collect(self, iteration: int, seed: tf.Tensor) -> tuple[Trajectory, Episodes]:
        """See `HostedEngine.collect`: the number says the prompts."""
        chosen = self.env.chosen(iteration)
        written = self.writer.write(chosen, seed)
        trajectory = self._trajectory(written)
        if self._greedy is not None:
            rewards = tf.constant(self._greedy.rewards(chosen).T)
            trajectory = trajectory._replace(greedy_rewards=rewards)
        return trajectory, written.episodes

    def _trajectory(self, written: Written) -> Trajectory:
        trainer, texts = self.trainer, written.completions
        first, state = trainer.policy.begin(written.prompts, written.lengths)
        state = tuple(map(tf.constant, state))
        observations = tf.concat([first[np.newaxis], texts.tokens[:-1]], axis=0)
        steps = np.arange(len(texts.tokens))[:, np.newaxis]
        terminated = tf.constant(steps == written.counts - 1)
        critic = trainer.critic
        own = critic is not None and critic is trainer.policy.critic
        return Trajectory(
            observations=observations,
            actions=texts.tokens,
            log_probs=texts.log_probs,
            rewards=tf.constant(written.scores.total.T),
            terminated=terminated,
            truncated=tf.zeros_like(terminated),
            # A completion that no reward scored teaches nothing.
            valid=texts.valid & written.scores.scored,
            next_observations=(),
            policy_state=state,
            values=texts.values if own else (),
            critic_state=state if isinstance(critic, TextModel) else (),
        )

    def _read_again(self, rows: Trajectory) -> Trajectory:
        """Replaces what the loop computed by what learning computes.

        In half precision a token that is read with a cache and the same one in a whole
        text differ so much that the first ratio would not be 1.
        """
        log_probs = log_probs_of(self.trainer.policy, rows)
        return rows._replace(log_probs=tf.where(rows.valid, log_probs, 0.0), values=())

    def _learn(
        self,
        trajectory: Any,
        carry: Any,
        key: tf.Tensor,
        progress: tf.Tensor,
        rates: tf.Tensor,
    ) -> tuple[Any, tf.Tensor]:
        if not self.trainer.policy.trunk.exact:
            trajectory = self.strategy.run(self._read_again, (trajectory,))
        return super()._learn(trajectory, carry, key, progress, rates)
