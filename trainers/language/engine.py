"""Iterations on a text task: one compiled call samples, another learns."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg.language.generation import TextGeneration
from kpg.models.language.text_model import TextModel
from kpg.trainers.acting.graph import Episodes
from kpg.trainers.language import room
from kpg.trainers.language.dynamic_sampling import with_spread
from kpg.trainers.language.writing import GreedyWriter, TextEvaluator, Writer, Written
from kpg.trainers.learning.free_memory import free_memory
from kpg.trainers.learning.outputs import log_probs_of
from kpg.trainers.learning.replicas import fold_in
from kpg.trainers.learning.training import Training
from kpg.trainers.running.engine import HostedEngine
from kpg.trainers.running.kinds import Kind
from kpg.trajectories import Trajectory
from kpg.types import Tensor


class TextEngine(HostedEngine):
    """Writes completions, has them scored on the host, and learns from them.

    One device writes all of them, and each replica learns from its share. An iteration
    is one fragment of whole episodes, so `num_steps` must be `max_new_tokens`.
    """

    env: TextGeneration
    kind_of_writer: ClassVar[type[Writer]] = Writer
    _rounds = 1

    def __init__(
        self, training: Training, env: TextGeneration, jit_compile: bool = False
    ) -> None:
        num_steps = training.settings.num_steps
        if num_steps != env.max_new_tokens:
            raise ValueError(
                "A trainer's `num_steps` must be the task's `max_new_tokens`, or be "
                "omitted: a fragment holds whole completions. Received: "
                f"num_steps={num_steps}, max_new_tokens={env.max_new_tokens}"
            )
        super().__init__(training, env, jit_compile)
        update = room.update_of(training, self.writer.prompt_tokens)
        if update is not None:
            room.check_room(update, free_memory())

    @override
    def compile(self, jit_compile: bool) -> None:
        policy, kind = self.training.policy, self.kind_of_writer
        self.writer = kind(self.env, policy, jit_compile, in_groups=True)
        self._greedy: GreedyWriter | None = None
        if self.training.algorithm.needs.greedy:
            self._greedy = GreedyWriter(self.env, policy, jit_compile, kind)
        super().compile(jit_compile)

    @override
    def restart(self) -> None:
        """Does nothing: every iteration begins new episodes."""

    @override
    def collect(self, iteration: int, seed: Tensor) -> tuple[Trajectory, Episodes]:
        chosen = self.env.chosen(iteration)
        written = self._written(iteration, seed)
        trajectory = self._trajectory(written)
        if self._greedy is not None:
            rewards = self._greedy.rewards(chosen).T
            # A text whose greedy one has no score has nothing to be compared with.
            scored = ~np.isnan(rewards[0])
            trajectory = trajectory._replace(
                greedy_rewards=tf.constant(np.where(scored, rewards, 0.0), tf.float32),
                valid=trajectory.valid & scored,
            )
        return trajectory, written.episodes

    def _written(self, iteration: int, seed: Tensor) -> Written:
        """Writes an iteration's texts, in one round or more."""
        env, further = self.env, self.training.algorithm.needs.further_rounds

        def write(number: int) -> Written:
            own = fold_in(seed, number) if number else seed
            return self.writer.write(env.chosen(iteration, number), own)

        if env.group_size == 1:
            return write(0)
        found = with_spread(env.group_size, further, write)
        env.task.measure(**found.measures(further))
        self._rounds = found.rounds
        return found.written

    @override
    def steps_taken(self) -> int:
        return self._rounds * super().steps_taken()

    def _trajectory(self, written: Written) -> Trajectory:
        training, texts = self.training, written.completions
        first, state = training.policy.begin(written.prompts, written.lengths)
        state = tuple(map(tf.constant, state))
        observations = tf.concat([first[np.newaxis], texts.tokens[:-1]], axis=0)
        # An episode ends with its last own token; others may have spoken before it.
        known = texts.valid.numpy()
        last = known & (known[::-1].cumsum(0)[::-1] == 1)
        critic = training.critic
        own = critic is not None and critic is training.policy.critic
        return Trajectory(
            observations=observations,
            actions=texts.tokens,
            log_probs=texts.log_probs,
            rewards=tf.constant(written.scores.total.T),
            terminated=tf.constant(last),
            # Judged as it stands, which is why it counts as terminated all the same.
            truncated=tf.constant(last & ~written.ended),
            # A completion that no reward scored teaches nothing.
            valid=texts.valid & written.scores.scored,
            next_observations=(),
            policy_state=state,
            values=texts.values if own else (),
            critic_state=state if isinstance(critic, TextModel) else (),
        )

    @override
    def prepared(self, trajectory: Trajectory) -> Trajectory:
        policy = self.training.policy
        if policy.trunk.exact:
            return trajectory

        def read_again(rows: Trajectory) -> Trajectory:
            # In half precision, reading a token with a cache or in a whole text differs
            # so much that the first ratio would not be 1.
            now = log_probs_of(policy, rows, self.training.columns)
            read = tf.where(rows.valid, now, 0.0)
            return rows._replace(log_probs=read, values=())

        again: Trajectory = self.strategy.run(read_again, (trajectory,))
        return again


# XLA always pays off: iterations are few, but each has hundreds of passes.
KIND = Kind(TextEngine, TextEvaluator, saved_by_update=math.inf)
