"""Trains ten CartPoles with rejax, stacked by `vmap`; see run_kpg_population.py."""

from __future__ import annotations

import jax
import optax
from rejax import PPO

NUM_ENVS, NUM_STEPS, NUM_EPOCHS, ITERATIONS, SEEDS = 8, 32, 20, 384, 10


def main() -> None:
    steps = ITERATIONS * NUM_ENVS * NUM_STEPS
    algorithm = PPO.create(
        env="CartPole-v1",
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        num_epochs=NUM_EPOCHS,
        num_minibatches=1,
        learning_rate=optax.linear_schedule(1e-3, 0.0, ITERATIONS * NUM_EPOCHS),
        gamma=0.98,
        gae_lambda=0.8,
        normalize_rewards=True,
        agent_kwargs={"activation": "tanh", "hidden_layer_sizes": (64, 64)},
        total_timesteps=steps,
        eval_freq=steps,
        skip_initial_evaluation=True,
    )
    algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())
    states = jax.vmap(algorithm.init_state)(
        jax.random.split(jax.random.PRNGKey(0), SEEDS)
    )
    train = jax.jit(jax.vmap(lambda state: algorithm.train(train_state=state)[0]))
    jax.block_until_ready(train(states))


if __name__ == "__main__":
    main()
