"""The policy gradient theorem, held against every estimator that kpg ships.

An expectation is a sum over all trajectories of a small MDP, and the exact gradient is
that of `TabularMDP`, which other tests hold against finite differences.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments.tabular import TabularMDP, softmax
from tests.mutants.policy_gradient import LOGITS, expected_gradient
from tests.mutants.subject import Array, close, gradient

STATES, ACTIONS, HORIZON = 3, 2, 3


class Everything(NamedTuple):
    """All 216 trajectories of the MDP, `[3, 216]`, and what is exact about it.

    Attributes:
        mdp: A random MDP that ends after three steps; a state is (time, state).
        logits: The policy, `[10, 2]`.
        states: Rows of the tables.
        actions: What was done there.
        chances: `[216]`, probability of each trajectory.
        rewards: `[3, 216]`.
        values: `[3, 216]`, exact.
        next_values: `[3, 216]`, exact.
        ends: `[3, 216]`, terminated or not.
    """

    mdp: TabularMDP
    logits: Array
    states: Array
    actions: Array
    chances: Array
    rewards: Array
    values: Array
    next_values: Array
    ends: Array


def episodic(discount: float) -> TabularMDP:
    random = np.random.default_rng(0)
    moves = random.dirichlet(np.ones(STATES), size=(STATES, ACTIONS))
    size = HORIZON * STATES + 1
    transitions, rewards = np.zeros((size, ACTIONS, size)), np.zeros((size, ACTIONS))
    transitions[-1, :, -1] = 1.0
    for time in range(HORIZON):
        rows = slice(time * STATES, (time + 1) * STATES)
        rewards[rows] = random.normal(size=(STATES, ACTIONS))
        if time + 1 < HORIZON:
            transitions[rows, :, rows.stop : rows.stop + STATES] = moves
        else:
            transitions[rows, :, -1] = 1.0
    initial = np.zeros(size)
    initial[:STATES] = random.dirichlet(np.ones(STATES))
    return TabularMDP(transitions, rewards, discount, initial)


@cache
def everything(discount: float) -> Everything:
    mdp = episodic(discount)
    logits = np.random.default_rng(1).normal(size=mdp.rewards.shape)
    paths = itertools.product(
        itertools.product(range(STATES), repeat=HORIZON),
        itertools.product(range(ACTIONS), repeat=HORIZON),
    )
    states, actions = np.array(list(paths)).transpose(1, 2, 0)  # [3, 216] each
    states = states + STATES * np.arange(HORIZON)[:, np.newaxis]
    policy, values = softmax(logits), mdp.evaluate(softmax(logits))
    chances = mdp.initial_probabilities[states[0]]
    chances = chances * policy[states, actions].prod(axis=0)
    moves = mdp.transitions[states[:-1], actions[:-1], states[1:]]
    chances = chances * moves.prod(axis=0)
    assert chances.shape == (216,) and np.isclose(chances.sum(), 1.0)
    ends = np.zeros((HORIZON, 216), bool)
    ends[-1] = True
    following = np.append(values[states[1:]], np.zeros((1, 216)), axis=0)
    rewards = mdp.rewards[states, actions]
    return Everything(
        mdp, logits, states, actions, chances, rewards, values[states], following, ends
    )


def expectation(world: Everything, gains: Array) -> Array:
    """E[Σ ∇log π(aₜ|sₜ) · gainₜ], by the shipped loss and the shipped log π."""
    family = kpg.distributions.for_space(gym.spaces.Discrete(ACTIONS))
    # The loss is a mean over all rows; the chances make it the expectation.
    weights = world.chances * world.states.size

    def loss(logits: tf.Tensor) -> tf.Tensor:
        rows = tf.gather(logits, world.states)
        log_probs = family.log_prob(rows, tf.constant(world.actions, tf.int32))
        return kpg.losses.policy_gradient(log_probs, gains * weights)

    return -tf.convert_to_tensor(gradient(loss, world.logits)).numpy()


Estimator = Callable[[Everything, float], Any]


def to_go(world: Everything, gamma: float) -> Any:
    zeros = np.zeros_like(world.rewards)
    flags = world.ends, np.zeros_like(world.ends)
    return kpg.advantages.discounted_returns(world.rewards, zeros, *flags, gamma=gamma)


def total(world: Everything, gamma: float) -> Any:
    zeros = np.zeros_like(world.rewards)
    flags = world.ends, np.zeros_like(world.ends)
    return kpg.advantages.total_returns(world.rewards, zeros, *flags, gamma=gamma)


def time_weights(world: Everything, gamma: float) -> Any:
    none = np.zeros_like(world.ends)
    return kpg.advantages.discount_weights(world.ends, none, gamma=gamma)


def arguments(world: Everything) -> tuple[Array, Array, Array, Array, Array]:
    none = np.zeros_like(world.ends)
    return world.rewards, world.values, world.next_values, world.ends, none


def on_policy_vtrace(world: Everything, gamma: float) -> Any:
    log_ratios = np.zeros_like(world.rewards)
    found = kpg.advantages.vtrace(*arguments(world), log_ratios=log_ratios, gamma=gamma)
    return found.advantages


# With exact values each of these is an unbiased estimate of the advantage.
ESTIMATORS: dict[str, Estimator] = {
    "reward to go": to_go,
    "minus the value": lambda world, gamma: to_go(world, gamma) - world.values,
    "minus a constant": lambda world, gamma: to_go(world, gamma) - 10.0,
    "TD error": lambda world, gamma: kpg.advantages.td_error(
        *arguments(world)[:4], gamma=gamma
    ),
    "two steps": lambda world, gamma: kpg.advantages.n_step(
        *arguments(world), gamma=gamma, n=2
    ),
    "GAE": lambda world, gamma: kpg.advantages.gae(
        *arguments(world), gamma=gamma, gae_lambda=0.7
    ),
    "V-trace": on_policy_vtrace,
}


@pytest.mark.parametrize("discount", [1.0, 0.5])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_expectation_is_the_policy_gradient(name: str, discount: float) -> None:
    world = everything(discount)
    gains = ESTIMATORS[name](world, discount) * time_weights(world, discount)
    close(expectation(world, gains), world.mdp.policy_gradient(world.logits))


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_the_total_return_is_discounted_already(discount: float) -> None:
    world = everything(discount)
    gains = total(world, discount)
    close(expectation(world, gains), world.mdp.policy_gradient(world.logits))


def cosine(left: Array, right: Array) -> float:
    return float(np.sum(left * right) / np.linalg.norm(left) / np.linalg.norm(right))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_without_the_discount_of_time_the_direction_is_another(name: str) -> None:
    """Which nearly every implementation follows; the estimators agree on it."""
    world = everything(0.5)
    usual = expectation(world, ESTIMATORS[name](world, 0.5))
    exact = world.mdp.policy_gradient(world.logits)
    assert 0.5 < cosine(usual, exact) < 0.99
    close(usual, expectation(world, to_go(world, 0.5)))


WRONG: dict[str, Estimator] = {
    "the reward alone": lambda world, gamma: world.rewards,
    "the past": lambda world, gamma: total(world, gamma) - to_go(world, gamma),
    "the value added to what follows": lambda world, gamma: (
        to_go(world, gamma) + world.next_values
    ),
    "minus a baseline that knows the action": lambda world, gamma: (
        to_go(world, gamma) - 0.5 * world.rewards
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_estimator_is_found(name: str) -> None:
    world = everything(1.0)
    exact = world.mdp.policy_gradient(world.logits)
    with pytest.raises(AssertionError):
        close(expectation(world, WRONG[name](world, 1.0)), exact)


def test_the_gradient_of_the_entropy_is_a_policy_gradient() -> None:
    """∇H = E[−log π ∇log π]: what an entropy bonus pushes towards."""
    family = kpg.distributions.for_space(gym.spaces.Discrete(3))
    advantages = -tf.nn.log_softmax(LOGITS).numpy()
    found = -expected_gradient(kpg.losses.policy_gradient, advantages)
    close(found, gradient(family.entropy, LOGITS))
