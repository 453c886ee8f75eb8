"""Steps an environment of gymnax with random actions."""

from __future__ import annotations

from typing import Any

import gymnax
import jax
import jax.numpy as jnp
from measuring import Job, Stopwatch, peak_megabytes, read_job


def main(job: Job) -> None:
    watch = Stopwatch(job)
    size, steps = job["num_envs"], job["num_steps"]
    env, params = gymnax.make(job["env"])
    actions = env.action_space(params).n

    def step(carry: Any, key: Any) -> Any:
        states, totals = carry
        action_key, step_key = jax.random.split(key)
        observations, states, rewards, terminated, truncated, _ = jax.vmap(
            env.step, in_axes=(0, 0, 0, None)
        )(
            jax.random.split(step_key, size),
            states,
            jax.random.randint(action_key, (size,), 0, actions),
            params,
        )
        parts = (rewards, terminated | truncated, observations)
        return (states, totals + jnp.stack([part.sum() for part in parts])), None

    @jax.jit
    def play(states: Any, key: Any) -> Any:
        start = (states, jnp.zeros(3))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0]

    key = jax.random.PRNGKey(job["seed"])
    reset = jax.vmap(env.reset, in_axes=(0, None))
    _, states = jax.jit(reset)(jax.random.split(key, size), params)
    rewards = ends = 0.0
    for chunk in range(job["chunks"]):
        watch.start()
        states, totals = play(states, jax.random.fold_in(key, chunk))
        totals = jax.device_get(totals)
        watch.stop(size * steps)
        rewards, ends = rewards + totals[0], ends + totals[1]
    watch.report([rewards / ends], peak_mb=peak_megabytes())


if __name__ == "__main__":
    main(read_job())
