"""Trains with kpg."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from measuring import EPISODE_SEED, EPISODES, Job, Stopwatch, finish, read_job

import kpg


class Pauses(keras.callbacks.Callback):
    """Stops the watch at the end of each epoch, which is a chunk."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self.watch = watch
        job = watch.job
        self.steps = job["chunk"] * job["num_envs"] * job["num_steps"]
        self.env: Any = None

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.watch.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.watch.stop(self.steps)
        self.watch.judge(self.mean_return)

    def mean_return(self) -> float:
        job = self.watch.job
        if self.env is None:
            self.env = kpg.make(
                job["env"], EPISODES, seed=EPISODE_SEED - 1 - job["seed"]
            )
        return float(self.model.evaluate(self.env, EPISODES)["return"])


def draw_as_pytorch(model: Any, seed: list[int]) -> None:
    """Draws weights and biases uniformly within 1 / √inputs, as PyTorch does."""
    rng = np.random.default_rng(seed)
    for layer in (*model.trunk.backbone.layers, model.head):
        for weight in layer.weights:
            bound = layer.kernel.shape[0] ** -0.5
            weight.assign(rng.uniform(-bound, bound, weight.shape))


def make_trainer(job: Job, env: Any) -> kpg.trainers.PPO:
    network = {name: job[name] for name in ("hidden_units", "activation", "seed")}
    policy = kpg.models.Policy(
        env.observation_space,
        env.action_space,
        log_std_init=job["log_std_init"],
        **network,
    )
    critic = kpg.models.Critic(env.observation_space, **network)
    if not job["orthogonal"]:
        for number, model in enumerate((policy, critic)):
            draw_as_pytorch(model, seed=[job["seed"], number])
    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=job["seed"],
        learning_rate_schedule=job["learning_rate_schedule"],
        vf_coef=2 * job["vf_coef"],  # of half the squared error
        normalize_observations=job["normalize"],
        normalize_rewards=job["normalize"],
        **{name: job[name] for name in SHARED},
    )
    optimizer = keras.optimizers.Adam(job["learning_rate"], epsilon=1e-5)
    trainer.compile(optimizer, steps_per_execution=job["chunk"], jit_compile=True)
    return trainer


SHARED = (
    "num_steps num_epochs minibatch_size gamma gae_lambda clip_range value_clip_range "
    "ent_coef max_grad_norm target_kl"
).split()


def main(job: Job) -> None:
    watch = Stopwatch(job)
    env = kpg.make(job["env"], job["num_envs"], job["seed"], job["backend"])
    trainer = make_trainer(job, env)
    trainer.fit(
        env,
        epochs=job["chunks"],
        steps_per_epoch=job["chunk"],
        callbacks=[Pauses(watch)],
        verbose=0,
    )
    greedy = tf.function(trainer.call)
    finish(watch, lambda observations: np.asarray(greedy(observations)))


if __name__ == "__main__":
    main(read_job())
