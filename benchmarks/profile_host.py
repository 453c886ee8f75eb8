"""Times the parts of an iteration on a Gymnasium environment, a vector step each.

    python benchmarks/profile_host.py LunarLander-v3 --num-envs 16
    python benchmarks/profile_host.py HalfCheetah-v5 --num-envs 1 --hidden-units 256 256

CPU time of all threads, the least of several rounds: what else runs on the machine
hardly changes it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.trainers.acting.actor import Actor
from kpg.trainers.running.engine import HostEngine

ROUNDS, CALLS = 10, 200


def main() -> None:
    options = _options()
    env: Any = kpg.make(options.env, options.num_envs, 0, options.backend)
    trainer = make_trainer(env, options)
    trainer.fit(env, epochs=1, steps_per_epoch=1, verbose=0)
    engine = HostEngine(trainer.training_on(env.num_envs), env)
    seed = tf.constant([1, 2])
    rows, _ = engine.collector.collect(seed)
    observations = rows.observations[0]
    actions = np.stack([env.action_space.sample() for _ in range(options.num_envs)])
    env.reset()
    steps = trainer.settings.num_steps
    parts = {
        "acting": cpu(acting(engine, observations)),
        "acting, by a tf.function": cpu(by_function(engine, observations)),
        "stepping the environments": cpu(lambda: env.step(actions)),
        "collecting": cpu(lambda: engine.collector.collect(seed), 1) / steps,
        "collecting and learning": cpu(
            lambda: engine.run(1, 0, 1, [options.learning_rate]), 1
        )
        / steps,
    }
    for name, seconds in parts.items():
        print(f"{name:28s} {seconds * 1e6:8.1f} µs")
    rate = options.num_envs / parts["collecting and learning"]
    print(f"{'environment steps a second':28s} {rate:8,.0f}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("env")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--backend", default="gymnasium")
    parser.add_argument("--num-steps", type=int, default=256)
    parser.add_argument("--num-epochs", type=int, default=4)
    parser.add_argument("--hidden-units", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    return parser.parse_args()


def make_trainer(env: Any, options: argparse.Namespace) -> kpg.trainers.PPO:
    hidden = {"hidden_units": options.hidden_units, "seed": 0}
    trainer = kpg.trainers.PPO(
        kpg.models.Policy(env.observation_space, env.action_space, **hidden),
        kpg.models.Critic(env.observation_space, **hidden),
        num_steps=options.num_steps,
        num_epochs=options.num_epochs,
        minibatch_size=64,
        seed=0,
    )
    trainer.compile(keras.optimizers.Adam(options.learning_rate, epsilon=1e-5))
    return trainer


def acting(engine: HostEngine, observations: Any) -> Callable[[], Any]:
    collector = engine.collector
    whole = slice(0, collector.env.num_envs)
    actor = Actor(collector.env, collector.policy, collector.chooser(whole))
    seed = np.array([1, 2], np.int32)
    return lambda: actor(observations, seed)


def by_function(engine: HostEngine, observations: Any) -> Callable[[], Any]:
    whole = slice(0, engine.env.num_envs)
    function = tf.function(engine.collector.chooser(whole), autograph=False)
    state = engine.collector.policy.initial_state(engine.env.num_envs)
    seed = np.array([1, 2], np.int32)

    def act() -> Any:
        *chosen, _ = function(tf.constant(observations), state, tf.constant(seed))
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), chosen)

    return act


def cpu(function: Callable[[], Any], calls: int = CALLS) -> float:
    """Returns the CPU seconds of one call."""
    function()
    rounds = []
    for _ in range(ROUNDS):
        before = time.process_time()
        for _ in range(calls):
            function()
        rounds.append((time.process_time() - before) / calls)
    return min(rounds)


if __name__ == "__main__":
    main()
