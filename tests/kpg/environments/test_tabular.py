"""Exact answers of small MDPs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments.graph.functional import Rng
from kpg.environments.tabular import TabularMDP, softmax

S, A, HORIZON = 3, 2, 3


def random_mdp(discount: float = 0.9, seed: int = 0) -> TabularMDP:
    random = np.random.default_rng(seed)
    transitions = random.dirichlet(np.ones(S), size=(S, A))
    return TabularMDP(
        transitions, random.normal(size=(S, A)), discount, random.dirichlet(np.ones(S))
    )


def episodic(mdp: TabularMDP, discount: float) -> TabularMDP:
    """The same MDP, ended after `HORIZON` steps; a state is (time, state)."""
    size = HORIZON * S + 1
    transitions, rewards = np.zeros((size, A, size)), np.zeros((size, A))
    transitions[-1, :, -1] = 1.0
    for time in range(HORIZON):
        rows = slice(time * S, (time + 1) * S)
        rewards[rows] = mdp.rewards
        if time + 1 < HORIZON:
            transitions[rows, :, rows.stop : rows.stop + S] = mdp.transitions
        else:
            transitions[rows, :, -1] = 1.0
    initial = np.zeros(size)
    initial[:S] = mdp.initial_probabilities
    return TabularMDP(transitions, rewards, discount, initial)


def logits_of(mdp: TabularMDP) -> np.ndarray:
    return np.random.default_rng(1).normal(size=mdp.rewards.shape)


def objective(mdp: TabularMDP, logits: np.ndarray) -> float:
    return float(mdp.initial_probabilities @ mdp.evaluate(softmax(logits)))


def test_evaluation_solves_the_bellman_equation() -> None:
    mdp = random_mdp()
    policy = softmax(logits_of(mdp))
    values = mdp.evaluate(policy)
    by_hand = np.zeros(S)
    for _ in range(2000):
        by_hand = np.array(
            [
                sum(
                    policy[s, a]
                    * (mdp.rewards[s, a] + 0.9 * mdp.transitions[s, a] @ by_hand)
                    for a in range(A)
                )
                for s in range(S)
            ]
        )
    np.testing.assert_allclose(values, by_hand, rtol=1e-8)


def test_both_ways_to_the_optimum_agree_and_beat_every_policy() -> None:
    mdp = random_mdp()
    first, second = mdp.value_iteration(), mdp.policy_iteration()
    np.testing.assert_allclose(first.values, second.values, atol=1e-8)
    np.testing.assert_array_equal(first.policy, second.policy)
    everything = [
        mdp.evaluate(np.eye(A)[list(choice)])
        for choice in itertools.product(range(A), repeat=S)
    ]
    np.testing.assert_allclose(first.values, np.max(everything, axis=0), atol=1e-8)


def test_policy_gradient_is_the_finite_difference() -> None:
    for mdp in (random_mdp(), episodic(random_mdp(), 1.0)):
        logits = logits_of(mdp)
        numeric = np.zeros_like(logits)
        for index in np.ndindex(*logits.shape):
            step = np.zeros_like(logits)
            step[index] = 1e-5
            numeric[index] = (
                objective(mdp, logits + step) - objective(mdp, logits - step)
            ) / 2e-5
        np.testing.assert_allclose(mdp.policy_gradient(logits), numeric, atol=1e-8)


def test_advantages_average_to_zero() -> None:
    mdp = random_mdp()
    policy = softmax(logits_of(mdp))
    values = mdp.evaluate(policy)
    gains = mdp.action_values(values) - values[:, np.newaxis]
    np.testing.assert_allclose((policy * gains).sum(axis=1), 0.0, atol=1e-12)


def test_visits_are_discounted_probabilities() -> None:
    mdp = random_mdp()
    policy = softmax(logits_of(mdp))
    expected, state = np.zeros(S), mdp.initial_probabilities
    moves = np.einsum("sa,sat->st", policy, mdp.transitions)
    for time in range(400):
        expected += 0.9**time * state
        state = state @ moves
    np.testing.assert_allclose(mdp.visits(policy), expected, rtol=1e-8)


def test_hessian_of_the_kl_is_the_fisher_matrix() -> None:
    """∇²KL(p ‖ p_θ) = diag(p) − ppᵀ at θ, from the shipped estimator, enumerated."""
    logits = tf.Variable([0.3, -0.5, 1.0])
    probs = tf.nn.softmax(logits).numpy()
    family = kpg.distributions.for_space(mdp_actions(3))
    old = tf.constant(np.log(probs))
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            log_probs = family.log_prob(
                tf.tile(logits[tf.newaxis], [3, 1]), tf.range(3)
            )
            terms = [
                kpg.losses.approximate_kl(log_probs[i : i + 1], old[i : i + 1])
                for i in range(3)
            ]
            divergence = tf.reduce_sum(tf.stack(terms) * probs)
        gradient = inner.gradient(divergence, logits)
    hessian = outer.jacobian(gradient, logits)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)
    fisher = np.diag(probs) - np.outer(probs, probs)
    np.testing.assert_allclose(hessian, fisher, atol=1e-5)


def mdp_actions(count: int) -> Any:
    table = np.ones((1, count, 1))
    return TabularMDP(table, np.ones((1, count)), 0.5, [1.0]).action_space


def test_sampled_steps_have_the_probabilities_of_the_table() -> None:
    mdp, count = random_mdp(), 30_000
    first = mdp.initial(Rng(tf.constant([1, 2]), count))
    frequencies = np.bincount(first, minlength=S) / count
    np.testing.assert_allclose(frequencies, mdp.initial_probabilities, atol=0.015)
    for state, action in itertools.product(range(S), range(A)):
        states = tf.fill([count], state)
        actions = tf.fill([count], tf.constant(action, tf.int64))
        rng = Rng(tf.constant([state, 7 + action]), count)
        following = mdp.transition(states, actions, rng)
        frequencies = np.bincount(following, minlength=S) / count
        np.testing.assert_allclose(
            frequencies, mdp.transitions[state, action], atol=0.015
        )
        np.testing.assert_allclose(
            mdp.reward(states, actions, following), mdp.rewards[state, action]
        )
    np.testing.assert_array_equal(mdp.observation(first).numpy().argmax(1), first)


def test_terminal_states_are_found() -> None:
    mdp = episodic(random_mdp(), 1.0)
    ends = mdp.terminal(tf.range(HORIZON * S + 1)).numpy()
    assert ends[-1] and not ends[:-1].any()
    assert mdp.evaluate(softmax(logits_of(mdp)))[-1] == 0.0


def test_refuses_what_is_no_mdp() -> None:
    good = random_mdp()
    tables = good.transitions, good.rewards, 0.9, good.initial_probabilities
    bad: list[tuple[tuple[Any, ...], str]] = [
        ((tables[0][:2], *tables[1:]), r"transitions \[S, A, S\].*Received: shapes"),
        ((2 * tables[0], *tables[1:]), r"`transitions` must be prob.*Received: sums"),
        ((*tables[:3], [2.0, -1.0, 0.0]), r"`initial_probabilities`.*entry -1"),
        ((tables[0], tables[1] * np.inf, *tables[2:]), "`rewards` must be finite"),
        ((*tables[:2], 1.1, tables[3]), r"`discount` must.*Received: discount=1.1"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            TabularMDP(*arguments)
    endless = TabularMDP(*tables[:2], 1.0, tables[3])
    with pytest.raises(ValueError, match=r"discount of 1.*Received: discount=1.0"):
        endless.evaluate(softmax(logits_of(endless)))
    with pytest.raises(ValueError, match=r"policy must be.*Received: shape \(2,\)"):
        good.evaluate([0.5, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
def test_trainers_reach_the_exact_optimum(algorithm: str) -> None:
    mdp = random_mdp(seed=3)
    env = kpg.environments.as_environment(mdp, num_envs=32, seed=0)
    best = mdp.value_iteration()
    spaces = env.observation_space, env.action_space
    settings = {"minibatch_size": 128, "num_epochs": 4} if algorithm == "PPO" else {}
    trainer = getattr(kpg.trainers, algorithm)(
        kpg.models.Policy(*spaces, seed=0),
        kpg.models.Critic(spaces[0], seed=0),
        seed=0,
        num_steps=16,
        gamma=0.9,
        **settings,
    )
    trainer.compile("adam", steps_per_execution=500)
    trainer.fit(env, steps_per_epoch=1500, verbose=0)
    states = np.eye(S, dtype="float32")
    chosen = np.eye(A)[trainer.predict(states, verbose=0)]
    np.testing.assert_allclose(mdp.evaluate(chosen), best.values, atol=0.02)
    own = mdp.evaluate(trainer.policy.distribution(states).probs_parameter().numpy())
    np.testing.assert_allclose(trainer.critic(states), own, atol=1.0)
