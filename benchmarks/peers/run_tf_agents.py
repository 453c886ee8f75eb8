"""Trains with TF-Agents, on the TensorFlow that it was last released for."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from measuring import EPISODE_SEED, Job, Stopwatch, finish, play, read_job
from tf_agents.agents.ppo.ppo_clip_agent import PPOClipAgent
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments import suite_gym
from tf_agents.environments.batched_py_environment import BatchedPyEnvironment
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.networks.actor_distribution_network import ActorDistributionNetwork
from tf_agents.networks.value_network import ValueNetwork
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.trajectories import time_step
from tf_agents.utils import common


def make_agent(job: Job, env: Any, updates: int) -> Any:
    network = {
        "fc_layer_params": tuple(job["hidden_units"]),
        "activation_fn": getattr(tf.keras.activations, job["activation"]),
    }
    rate = job["learning_rate"]
    if job["learning_rate_schedule"] == "linear":
        rate = tf.keras.optimizers.schedules.PolynomialDecay(rate, updates, 0.0)
    agent = PPOClipAgent(
        env.time_step_spec(),
        env.action_spec(),
        tf.keras.optimizers.Adam(rate, epsilon=1e-5),
        actor_net=ActorDistributionNetwork(
            env.observation_spec(), env.action_spec(), **network
        ),
        value_net=ValueNetwork(env.observation_spec(), **network),
        num_epochs=job["num_epochs"],
        importance_ratio_clipping=job["clip_range"],
        discount_factor=job["gamma"],
        lambda_value=job["gae_lambda"],
        entropy_regularization=job["ent_coef"],
        value_pred_loss_coef=job["vf_coef"],
        gradient_clipping=job["max_grad_norm"],
        normalize_observations=job["normalize"],
        normalize_rewards=job["normalize"],
        use_gae=True,
        use_td_lambda_return=True,
    )
    agent.initialize()
    return agent


def main(job: Job) -> None:
    watch = Stopwatch(job)
    tf.random.set_seed(job["seed"])
    envs = [suite_gym.load(job["env"]) for _ in range(job["num_envs"])]
    for index, env in enumerate(envs):
        env.seed(job["seed"] * job["num_envs"] + index)
    env = TFPyEnvironment(BatchedPyEnvironment(envs))
    # It takes an iteration's rows as one minibatch.
    agent = make_agent(job, env, job["chunks"] * job["chunk"] * job["num_epochs"])
    buffer = TFUniformReplayBuffer(
        agent.collect_data_spec, job["num_envs"], job["num_steps"] + 1
    )
    steps = job["num_envs"] * job["num_steps"]
    driver = DynamicStepDriver(
        env, agent.collect_policy, observers=[buffer.add_batch], num_steps=steps
    )
    collect, learn = common.function(driver.run), common.function(agent.train)
    greedy = common.function(agent.policy.action)

    def act(observations: Any) -> Any:
        rows = tf.constant(np.asarray(observations, np.float32))
        return greedy(time_step.restart(rows, len(observations))).action.numpy()

    seed = EPISODE_SEED - 1 - job["seed"]
    now = env.reset()
    for _ in range(job["chunks"]):
        watch.start()
        for _ in range(job["chunk"]):
            now, _ = collect(time_step=now)
            learn(experience=buffer.gather_all())
            buffer.clear()
        watch.stop(job["chunk"] * steps)
        watch.judge(lambda: float(np.mean(play(job["env"], act, seed))))
    finish(watch, act)


if __name__ == "__main__":
    main(read_job())
