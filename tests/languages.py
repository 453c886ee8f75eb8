"""A language of three tokens as a table, and what is exact of it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.environments.graph.functional import GraphEnvironment
from kpg.environments.tabular import TabularMDP

Array = np.ndarray[Any, Any]

LENGTH = 2
# A word ends with token 1 or with its second token. The states are: nothing written
# yet, a first token of 0, one of 2, and the end.
STATES, END = {(): 0, (0,): 1, (2,): 2}, 3
WORDS = [(1,), (0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2)]
REWARDS = np.random.default_rng(1).normal(size=len(WORDS))


def language(num_envs: int = 256) -> GraphEnvironment:
    """Returns the task of writing a word, paid at its end."""
    transitions, rewards = np.zeros([4, 3, 4]), np.zeros([4, 3])
    transitions[:, :, END] = 1.0
    for state, token in ((1, 0), (2, 2)):
        transitions[0, token] = np.eye(4)[state]
    for word, reward in zip(WORDS, REWARDS, strict=True):
        rewards[STATES[word[:-1]], word[-1]] = reward
    table = TabularMDP(transitions, rewards, 1.0, np.eye(4)[0], LENGTH)
    return GraphEnvironment(table, num_envs, seed=0)


def trainer_of(algorithm: str, rate: float = 0.02, **settings: Any) -> Any:
    """Returns a trainer whose policy is far from uniform."""
    env = language(1)
    spaces = (env.observation_space, env.action_space)
    policy = kpg.models.Policy(*spaces, hidden_units=(16,), seed=0)
    stir(policy)
    critic = None
    if algorithm != "REINFORCE":
        critic = kpg.models.Critic(spaces[0], hidden_units=(16,), seed=0)
    plain: dict[str, Any] = {"num_steps": LENGTH, "gamma": 1.0, "seed": 0}
    plain["normalize_advantages"] = False
    if algorithm == "PPO":
        plain |= {"gae_lambda": 1.0, "num_epochs": 2, "minibatch_size": 512}
    trainer = getattr(kpg.trainers, algorithm)(policy, critic, **{**plain, **settings})
    trainer.compile(
        keras.optimizers.Adam(rate), steps_per_execution=50, jit_compile=False
    )
    return trainer


def stir(policy: Any, seed: int = 1, scale: float = 0.5) -> None:
    """Gives every weight some noise."""
    random = np.random.default_rng(seed)
    for weight in policy.trainable_variables:
        weight.assign_add(random.normal(0.0, scale, weight.shape))


def choices(policy: Any) -> Array:
    """Returns the probabilities `[3, 3]` of the tokens in each state."""
    probs: Array = tf.nn.softmax(policy(np.eye(4, dtype=np.float32)[:END])).numpy()
    return probs.astype(float)


def word_probabilities(table: Array) -> Array:
    """Returns the probability of each word, given those of the tokens."""
    return np.array(
        [
            np.prod([table[STATES[w[:i]], token] for i, token in enumerate(w)])
            for w in WORDS
        ]
    )


def divergence(p: Array, q: Array) -> float:
    """Returns KL(p ‖ q) in nats."""
    return float(np.sum(p * np.log(p / q)))


def tilted(reference: Array, rewards: Array, beta: float) -> Array:
    """Returns reference · exp(rewards / β) / Z."""
    weights = reference * np.exp(rewards / beta)
    return np.asarray(weights / weights.sum())


def best_tokens(reference: Array, beta: float) -> Array:
    """Returns what is best if no token pays for the drift of the ones behind it."""
    rewards = dict(zip(WORDS, REWARDS, strict=True))
    best = reference.copy()
    values = np.zeros(3)
    values[1] = rewards[(1,)]
    for state, token in ((1, 0), (2, 2)):
        paid = np.array([rewards[token, last] for last in range(3)])
        best[state] = tilted(reference[state], paid, beta)
        values[token] = best[state] @ paid
    best[0] = tilted(reference[0], values, beta)
    return best
