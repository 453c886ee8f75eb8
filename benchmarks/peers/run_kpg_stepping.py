"""Steps an in-graph environment of kpg with random actions."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from measuring import Job, Stopwatch, peak_megabytes, read_job

import kpg
from kpg.environments.graph.functional import Rng
from kpg.graph import random
from kpg.graph.compiling import compiled
from kpg.trainers.acting.graph import select, time_is_up


def main(job: Job) -> None:
    watch = Stopwatch(job)
    size, steps = job["num_envs"], job["num_steps"]
    env: Any = kpg.make(job["env"], size, job["seed"], "graph")

    def play(states: Any, lengths: Any, key: Any) -> Any:
        keys = random.seeds([steps, 2], key)
        totals = tf.zeros([3])  # of rewards, ends, and entries of the observations

        def step(index: Any, states: Any, lengths: Any, totals: Any) -> Any:
            actions = random.integers([size], keys[index, 0], 0, env.action_space.n)
            rng = Rng(keys[index, 1], size)
            following = env.transition(states, actions, rng)
            rewards = env.reward(states, actions, following)
            lengths += 1
            ended = env.terminal(following) | time_is_up(env, lengths)
            states = select(ended, env.initial(rng), following)
            parts = (rewards, tf.cast(ended, tf.float32), env.observation(states))
            totals += tf.stack([tf.reduce_sum(part) for part in parts])
            return index + 1, states, tf.where(ended, 0, lengths), totals

        start = (tf.constant(0), states, lengths, totals)
        return tf.while_loop(lambda index, *_: index < steps, step, start)[1:]

    run = compiled(play, jit_compile=True)
    states = env.initial(Rng(tf.constant([job["seed"], 0]), size))
    lengths = tf.zeros([size], tf.int32)
    rewards = ends = 0.0
    for chunk in range(job["chunks"]):
        watch.start()
        key = tf.constant([job["seed"], chunk])
        states, lengths, totals = run(states, lengths, key)
        totals = totals.numpy()
        watch.stop(size * steps)
        rewards, ends = rewards + totals[0], ends + totals[1]
    watch.report([rewards / ends], peak_mb=peak_megabytes())


if __name__ == "__main__":
    main(read_job())
