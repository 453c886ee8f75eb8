"""Trainers that learn to write, and what they write for, in the tests of texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import TextGeneration
from kpg.models import CausalLMPolicy
from kpg.trajectories import Trajectory, resets
from tests.fragments import gradients
from tests.texts import gpt2, language, policy, teacher_forced

T = 3
ALGORITHMS: list[tuple[str, dict[str, Any]]] = [
    ("REINFORCE", {"baseline": "none", "normalize_advantages": False}),
    ("ActorCritic", {"gae_lambda": 1.0}),
    ("PPO", {"gae_lambda": 1.0, "normalize_advantages": False, "num_epochs": 1}),
]


def one_fast(cases: list[tuple[str, Any]]) -> list[Any]:
    """Leaves the last case to the fast suite, and all others to the slow one."""
    return [
        *(pytest.param(*case, marks=pytest.mark.slow) for case in cases[:-1]),
        cases[-1],
    ]


def make_trainer(made: Any, algorithm: str, **settings: Any) -> Any:
    """Returns a trainer of plain gradients."""
    critic = None if algorithm == "REINFORCE" else made.critic
    plain = {"num_steps": T, "gamma": 1.0, "max_grad_norm": None, "seed": 0}
    trainer = getattr(kpg.trainers, algorithm)(made, critic, **{**plain, **settings})
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return trainer


def small_policy(letters: str = "a", **options: Any) -> CausalLMPolicy:
    model = gpt2(2 + len(letters), num_layers=1, hidden_dim=8)
    return policy(letters, model, **options)


def vowels(prompts: Any, completions: Any) -> list[float]:
    return [sum(letter == "a" for letter in text) / T for text in completions]


def task(rewards: Any = (vowels,), **options: Any) -> TextGeneration:
    prompts = options.pop("prompts", ["ba", "c", "abcab"])
    options = {"max_new_tokens": T, "num_envs": 6, **options}
    return TextGeneration(prompts, rewards=rewards, **options)


def remainder(prompts: Any, completions: Any, completion_ids: Any) -> list[float]:
    """Pays for something that differs between completions."""
    return [float(sum(map(int, ids)) % 7) for ids in completion_ids]


def noisy(rows: Any) -> Any:
    """Puts other tokens and numbers behind the ends."""
    random = np.random.default_rng(0)

    def noise(known: Any, table: Any) -> Any:
        other = tf.constant(random.integers(1, 5, table.shape), table.dtype)
        return tf.where(known, table, other)

    started = tf.concat([tf.ones_like(rows.valid[:1]), rows.valid[:-1]], axis=0)
    return rows._replace(
        observations=noise(started & rows.valid, rows.observations),
        actions=noise(rows.valid, rows.actions),
        log_probs=noise(rows.valid, rows.log_probs),
    )


def gradient_of(trainer: Any, num_envs: int) -> Callable[[Trajectory], Any]:
    """Returns the function from completions to the gradients of the loss.

    The policy that acted is the one that learns: the ratio is 1.
    """
    made, of = trainer.policy, gradients(trainer, num_envs)

    @tf.function(autograph=False)
    def log_probs(rows: Trajectory) -> tf.Tensor:
        parameters, _ = made.unroll(rows.observations, rows.policy_state, resets(rows))
        return made.family.log_prob(parameters, rows.actions)

    return lambda rows: of(rows._replace(log_probs=log_probs(rows)))


def expected_reward(made: Any, prompt: list[int], length: int) -> Any:
    """Returns words, their rewards and probabilities, and the gradients of Σπ·R."""
    words = language(3, length)
    rewards = np.random.default_rng(0).normal(size=len(words))
    variables = [variable.value for variable in made.trainable_variables]
    with tf.GradientTape() as tape:
        log_probs = [tf.reduce_sum(teacher_forced(made, prompt, w)) for w in words]
        probs = tf.exp(tf.stack(log_probs))
        expected = tf.reduce_sum(probs * tf.constant(rewards, tf.float32))
    np.testing.assert_allclose(tf.reduce_sum(probs), 1.0, atol=1e-5)
    exact = [
        tf.convert_to_tensor(part).numpy()
        for part in tape.gradient(expected, variables)
    ]
    return words, rewards, probs.numpy(), exact
