"""kpg's speed against what its work needs at least: ratios, never seconds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.graph.compiling import compiled
from kpg.models.language.decoding.sampling import Sampler

NUM_ENVS, NUM_STEPS = 8, 32
ROWS = NUM_ENVS * NUM_STEPS
ROUNDS = 7


def make_trainer(env: Any, iterations: int, num_epochs: int) -> Any:
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    critic = kpg.models.Critic(env.observation_space, seed=0)
    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=0,
        num_steps=NUM_STEPS,
        num_epochs=num_epochs,
        minibatch_size=ROWS,
    )
    # So few iterations would not be worth compiling, which "auto" knows.
    trainer.compile(
        keras.optimizers.Adam(1e-3, epsilon=1e-5),
        steps_per_execution=iterations,
        jit_compile=True,
    )
    return trainer


def bare_networks(iterations: int, num_epochs: int) -> Callable[[], Any]:
    """Returns a call that does only the networks' products, of as many iterations.

    Two networks act on `NUM_ENVS` rows at a time and then follow the gradient of a sum
    of squares on all rows, without environment, distribution, advantages or Adam.
    """
    sizes = [(4, 64), (64, 64), (64, 2)], [(4, 64), (64, 64), (64, 1)]
    random = np.random.default_rng(0)

    def weights(shape: tuple[int, int]) -> Any:
        return tf.constant(random.normal(0, 0.1, shape), tf.float32)

    start = [weights(shape) for network in sizes for shape in network]
    rows = tf.constant(random.normal(size=(ROWS, 4)), tf.float32)

    def outputs(rows: Any, weights: Any) -> Any:
        first, second = (
            tf.tanh(tf.tanh(rows @ one) @ two) @ three
            for one, two, three in (weights[:3], weights[3:])
        )
        return tf.concat([first, second], axis=-1)

    def act(index: Any, state: Any, weights: Any) -> Any:
        return index + 1, state + 1e-3 * outputs(state, weights)[:, :1], weights

    def learn(index: Any, rows: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = tf.reduce_mean(tf.square(outputs(rows, weights)))
        gradients = tape.gradient(loss, weights)
        moved = [w - 1e-3 * g for w, g in zip(weights, gradients, strict=True)]
        return index + 1, rows, moved

    def iterate(index: Any, weights: Any) -> Any:
        def repeat(body: Any, count: int, rows: Any, weights: Any) -> Any:
            start = (tf.constant(0), rows, weights)
            return tf.while_loop(lambda index, *_: index < count, body, start)[1:]

        state, weights = repeat(act, NUM_STEPS, rows[:NUM_ENVS], weights)
        _, weights = repeat(learn, num_epochs, rows + tf.reduce_mean(state), weights)
        return index + 1, weights

    @tf.function(jit_compile=True, autograph=False)
    def run() -> Any:
        return tf.while_loop(
            lambda index, _: index < iterations, iterate, (tf.constant(0), start)
        )[1][0]

    return lambda: run().numpy()


def median_ratio(slow: Callable[[], Any], fast: Callable[[], Any]) -> float:
    """Returns how many times longer `slow` takes, of calls that take turns."""

    def seconds(call: Callable[[], Any]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    for call in (slow, fast):
        call()  # compiles
    return statistics.median(seconds(slow) / seconds(fast) for _ in range(ROUNDS))


@pytest.mark.slow
def test_an_iteration_in_the_graph_is_near_its_products() -> None:
    iterations, num_epochs = 40, 20
    env = kpg.make("CartPole-v1", num_envs=NUM_ENVS, seed=0)
    trainer = make_trainer(env, iterations, num_epochs)

    def fit() -> None:
        trainer.fit(env, epochs=1, steps_per_epoch=iterations, verbose=0)

    ratio = median_ratio(fit, bare_networks(iterations, num_epochs))
    assert ratio < 2.0, f"{ratio:.2f} times its matrix products; about 1.2 before"


@pytest.mark.slow
def test_a_step_on_the_host_is_near_the_environments_own() -> None:
    iterations = 8
    env = kpg.make("Acrobot-v1", NUM_ENVS, seed=0, backend="gymnasium")
    trainer = make_trainer(env, iterations, num_epochs=1)
    alone = gymnasium.make_vec("Acrobot-v1", NUM_ENVS, "sync")
    alone.reset(seed=0)
    alone.action_space.seed(0)

    def fit() -> None:
        trainer.fit(env, epochs=1, steps_per_epoch=iterations, verbose=0)

    def step() -> None:
        for _ in range(iterations * NUM_STEPS):
            alone.step(alone.action_space.sample())

    ratio = median_ratio(fit, step)
    assert ratio < 8.0, f"{ratio:.2f} times its environment; 3 to 5 before"


@pytest.mark.slow
def test_texts_are_written_faster_than_kerashub_does() -> None:
    size, room, new_tokens = 16, 8, 56
    model = kpg.text.gpt2(
        1024, num_layers=4, num_heads=4, hidden_dim=256, max_tokens=64, seed=0
    )
    model.compile(sampler="random")
    policy = kpg.models.CausalLMPolicy(model, kpg.text.ByteTokenizer())
    sample = compiled(Sampler(policy, new_tokens).__call__, jit_compile=True)
    prompts = np.random.default_rng(0).integers(2, 258, (size, room), np.int32)
    lengths, seed = tf.fill([size], room), tf.constant([0, 1])
    known = np.broadcast_to(np.arange(room + new_tokens) < room, (size, 64))
    tokens = np.pad(prompts, [(0, 0), (0, new_tokens)])

    def theirs() -> None:
        inputs = {"token_ids": tokens, "padding_mask": known}
        model.generate(inputs, stop_token_ids=(1,))

    def ours() -> None:
        sample(tf.constant(prompts), lengths, seed).log_probs.numpy()

    ratio = median_ratio(theirs, ours)
    assert ratio > 2.5, f"{ratio:.2f} times as fast as KerasHub; about 5 before"
