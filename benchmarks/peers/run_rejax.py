"""Trains with rejax."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
from measuring import EPISODE_SEED, EPISODES, Job, Stopwatch, finish, read_job
from rejax import PPO
from rejax.evaluate import evaluate


def make_algorithm(job: Job) -> Any:
    rows = job["num_envs"] * job["num_steps"]
    minibatches = rows // job["minibatch_size"]
    updates = job["chunks"] * job["chunk"] * job["num_epochs"] * minibatches
    rate = job["learning_rate"]
    if job["learning_rate_schedule"] == "linear":
        rate = optax.linear_schedule(rate, 0.0, updates)
    algorithm = PPO.create(
        env=job["env"],
        num_minibatches=minibatches,
        learning_rate=rate,
        clip_eps=job["clip_range"],
        normalize_observations=job["normalize"],
        normalize_rewards=job["normalize"],
        agent_kwargs={
            "activation": job["activation"],
            "hidden_layer_sizes": job["hidden_units"],
        },
        total_timesteps=job["chunk"] * rows,
        eval_freq=job["chunk"] * rows,
        skip_initial_evaluation=True,
        **{name: job[name] for name in SHARED},
    )
    # The evaluation is compiled apart, so that its time is not that of the training.
    return algorithm.replace(eval_callback=lambda algorithm, state, key: ())


SHARED = (
    "num_envs num_steps num_epochs gamma gae_lambda ent_coef vf_coef max_grad_norm"
).split()


def main(job: Job) -> None:
    watch = Stopwatch(job)
    algorithm = make_algorithm(job)

    def greedy(state: Any, observation: Any) -> Any:
        if job["normalize"]:
            observation = algorithm.normalize_obs(state.obs_rms_state, observation)
        logits = algorithm.actor.apply(
            state.actor_ts.params, observation[None], method="_action_dist"
        ).logits
        return logits[0].argmax()

    def mean_return(state: Any) -> Any:
        _, returns = evaluate(
            lambda observation, key: greedy(state, observation),
            jax.random.PRNGKey(EPISODE_SEED + job["seed"]),
            algorithm.env,
            algorithm.env_params,
            EPISODES,
            algorithm.env_params.max_steps_in_episode,
        )
        return returns.mean()

    train = jax.jit(lambda state: algorithm.train(train_state=state)[0])
    judge = jax.jit(mean_return)
    act = jax.jit(jax.vmap(greedy, in_axes=(None, 0)))
    state = jax.jit(algorithm.init_state)(jax.random.PRNGKey(job["seed"]))
    for _ in range(job["chunks"]):
        watch.start()
        state = jax.block_until_ready(train(state))
        watch.stop(algorithm.total_timesteps)
        # mypy cannot type a lambda that has a default.
        watch.judge(lambda state=state: float(judge(state)))  # type: ignore[misc]
    finish(watch, lambda observations: np.asarray(act(state, observations)))


if __name__ == "__main__":
    main(read_job())
