"""Learning again from what an older policy wrote: what must hold, how it goes wrong.

The language of `tests.languages` is small enough for every word of the older policy to
be replayed as often as it is likely: what is learned then is what is expected.
"""

from __future__ import annotations

import functools
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

import kpg
from kpg.trajectories import Trajectory
from tests.fragments import replayed
from tests.languages import END, LENGTH, REWARDS, STATES, WORDS, language
from tests.languages import word_probabilities as likely
from tests.mutants.subject import Array, Implementation, Subject, close

# Of the older policy, in each state: 16 words have the frequencies that it gives them.
ACTED = np.array([[0.25, 0.25, 0.5], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
# Those of now; the second one begins words as the older one does.
OTHER = np.array([[0.6, 0.1, 0.3], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2]])
BEGINS_ALIKE = np.concatenate([ACTED[:1], OTHER[1:]])
VALUES = np.array([0.3, -0.7, 0.9])
UNCLIPPED = (1e6, 1e6)


class Learned(NamedTuple):
    """Expected changes of logits `[3, 3]` and values `[3]`, summed over an episode."""

    logits: Array
    values: Array


def rewards_of(state: int) -> Array:
    """Returns what each token in a state is paid and where it leads, END if nowhere."""
    paid = dict(zip(WORDS, REWARDS, strict=True))
    written = next(word for word, own in STATES.items() if own == state)
    rows = [(*written, token) for token in range(3)]
    return np.array([(paid.get(row, 0.0), STATES.get(row, END)) for row in rows])


def values_under(table: Array) -> tuple[Array, Array]:
    """Returns V `[3]` and Q `[3, 3]` of a policy; later states come first."""
    values, gains = np.zeros(4), np.zeros([3, 3])
    for state in (2, 1, 0):
        paid, following = rewards_of(state).T
        gains[state] = paid + values[following.astype(int)]
        values[state] = table[state] @ gains[state]
    return values[:3], gains


def visits(table: Array) -> Array:
    """Returns how likely a word passes through each state."""
    return np.array([1.0, table[0, 0], table[0, 2]])


def shipped(acted: Array, now: Array, values: Array, rho: float, c: float) -> Learned:
    trainer = trainer_of(rho, c)
    models = trainer.policy.trainable_variables, trainer.critic.trainable_variables
    tables = [np.pad(np.log(now), [[0, 1], [0, 0]]), np.pad(values, [0, 1])[:, None]]
    for (kernel, bias), table in zip(models, tables, strict=True):
        kernel.assign(table)
        bias.assign(tf.zeros_like(bias))
    kernels = [kernel for kernel, _ in models]
    rows = written_by(acted)
    replayed(trainer, rows)
    valid = np.asarray(rows.valid)
    scale = valid.sum() / valid.shape[1]  # from means over rows
    after = [scale * (tf.identity(kernel).numpy()[:END]) for kernel in kernels]
    before = [scale * table[:END] for table in tables]
    logits, learned = (new - old for new, old in zip(after, before, strict=True))
    return Learned(logits, learned[:, 0])


@functools.cache
def trainer_of(rho: float, c: float) -> Any:
    """Returns a trainer of tables, whose step is the gradient itself."""
    env = language(1)
    spaces = env.observation_space, env.action_space
    trainer = kpg.trainers.ActorCritic(
        kpg.models.Policy(*spaces, hidden_units=(), seed=0),
        kpg.models.Critic(spaces[0], hidden_units=(), seed=0),
        num_steps=LENGTH,
        gamma=1.0,
        vf_coef=1.0,
        max_grad_norm=None,
        advantage=kpg.advantages.VTrace(rho, c),
        replay=kpg.trainers.Replay(1),
        seed=0,
    )
    trainer.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    return trainer


def written_by(acted: Array) -> Trajectory:
    """Returns 16 words, each as often as the policy writes it."""
    counts = np.rint(16 * likely(acted)).astype(int)
    np.testing.assert_allclose(counts, 16 * likely(acted))
    words = [word for word, n in zip(WORDS, counts, strict=True) for _ in range(n)]
    paid = dict(zip(WORDS, REWARDS, strict=True))
    shape = (LENGTH, len(words))
    states, tokens = np.full(shape, END), np.zeros(shape, np.int32)
    log_probs, rewards = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    last = np.zeros(shape, bool)
    for column, word in enumerate(words):
        for row, token in enumerate(word):
            states[row, column], tokens[row, column] = STATES[word[:row]], token
            log_probs[row, column] = np.log(acted[states[row, column], token])
        last[len(word) - 1, column] = True
        rewards[len(word) - 1, column] = paid[word]
    shown = np.eye(4, dtype=np.float32)
    following = np.concatenate([states[1:], np.full_like(states[:1], END)])
    return Trajectory(
        observations=tf.constant(shown[states]),
        actions=tf.constant(tokens),
        log_probs=tf.constant(log_probs),
        rewards=tf.constant(rewards),
        terminated=tf.constant(last),
        truncated=tf.zeros(shape, tf.bool),
        valid=tf.constant(states != END),
        next_observations=tf.constant(shown[np.where(last, END, following)]),
    )


def naive(
    acted: Array,
    now: Array,
    values: Array,
    rho: float,
    c: float,
    *,
    kept: bool = True,
    weighted_errors: bool = True,
    weighted_advantages: bool = True,
    own_values: bool = True,
) -> Learned:
    """Sums over all words; each of the options, changed, makes a mutant of it."""
    found = Learned(np.zeros([3, 3]), np.zeros(3))
    known = values if own_values else np.zeros(3)
    for word, chance, paid in zip(WORDS, likely(acted), REWARDS, strict=True):
        states = [STATES[word[:row]] for row in range(len(word))]
        ahead, correction = 0.0, 0.0  # vₜ₊₁, and vₜ₊₁ − Vₜ₊₁
        for row in reversed(range(len(word))):
            state, token, last = states[row], word[row], row == len(word) - 1
            ratio = now[state, token] / (acted if kept else now)[state, token]
            weight = min(ratio, rho)
            reward = paid if last else 0.0
            advantage = reward + ahead - known[state]
            error = reward + (0.0 if last else known[states[row + 1]]) - known[state]
            correction *= min(ratio, c)
            correction += error * (weight if weighted_errors else 1.0)
            advantage *= weight if weighted_advantages else 1.0
            score = np.eye(3)[token] - now[state]
            found.logits[state] += chance * advantage * score
            found.values[state] += chance * (known[state] + correction - values[state])
            ahead = known[state] + correction
    return found


def it_is_what_fresh_tokens_would_teach_in_these_states(
    learned: Implementation,
) -> None:
    """The policy gradient theorem, over the states that the older policy came to."""
    for now in (OTHER, ACTED):
        own, gains = values_under(now)
        ideal = visits(ACTED)[:, None] * now * (gains - own[:, None])
        found = learned(ACTED, now, VALUES, *UNCLIPPED)
        close(found.logits, ideal)
        close(found.values, visits(ACTED) * (own - VALUES))


def where_the_states_agree_it_is_the_gradient_of_the_reward(
    learned: Implementation,
) -> None:
    """By finite differences of Σ π(word) R(word) in float64."""
    ideal, step = np.zeros([3, 3]), 1e-6

    def reward(logits: Array) -> float:
        table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return float(likely(table) @ REWARDS)

    for place in np.ndindex(3, 3):
        nudge = np.zeros([3, 3])
        nudge[place] = step
        logits = np.log(BEGINS_ALIKE)
        ideal[place] = (reward(logits + nudge) - reward(logits - nudge)) / (2 * step)
    close(learned(ACTED, BEGINS_ALIKE, VALUES, *UNCLIPPED).logits, ideal)


def clipped_values_rest_at_those_of_the_policy_between(learned: Implementation) -> None:
    """Equation 3 of the paper: π_ρ̄(a) = min(ρ̄ μ(a), π(a)) / Σ min(ρ̄ μ, π)."""
    for rho, c in ((1.0, 1.0), (1.2, 0.5)):
        between = np.minimum(rho * ACTED, OTHER)
        between /= between.sum(axis=1, keepdims=True)
        own, _ = values_under(between)
        close(learned(ACTED, OTHER, own, rho, c).values, np.zeros(3))


def clipped_steps_equal_the_naive_sum(learned: Implementation) -> None:
    for clips in ((1.0, 1.0), (1.2, 0.5)):
        arguments = ACTED, OTHER, VALUES, *clips
        for found, ideal in zip(learned(*arguments), naive(*arguments), strict=True):
            close(found, ideal)


REPLAY = Subject(
    name="kpg.trainers.Replay",
    shipped=shipped,
    identities=(
        it_is_what_fresh_tokens_would_teach_in_these_states,
        where_the_states_agree_it_is_the_gradient_of_the_reward,
        clipped_values_rest_at_those_of_the_policy_between,
        clipped_steps_equal_the_naive_sum,
    ),
    mutants={
        "log-probabilities of now for those kept": partial(naive, kept=False),
        "ρ missing in the advantage": partial(naive, weighted_advantages=False),
        "ρ missing in δ": partial(naive, weighted_errors=False),
        "values of then for those of now": partial(naive, own_values=False),
        "roles of the policies swapped": lambda acted, now, *rest: naive(
            now, acted, *rest
        ),
        "ρ not clipped": lambda acted, now, values, rho, c: naive(
            acted, now, values, np.inf, c
        ),
        "c not clipped": lambda acted, now, values, rho, c: naive(
            acted, now, values, rho, np.inf
        ),
    },
    right=naive,
)
