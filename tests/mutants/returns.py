"""Returns and n-step advantages: what must hold, and how they go wrong."""

from __future__ import annotations

import numpy as np

import kpg
from tests.mutants.subject import Array, Implementation, Subject, close
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    after,
    column,
    endless,
    episodes,
    fragment,
    naive_n_step,
    naive_returns,
    naive_times,
    recursion,
    td_errors,
)

# Discounted returns: called with a fragment and γ.


def shipped_returns(data: Fragment, gamma: float) -> Array:
    rewards, _, *others = data
    return kpg.advantages.discounted_returns(rewards, *others, gamma=gamma).numpy()


def equal_the_naive_sum(returns: Implementation) -> None:
    data = fragment()
    close(returns(data, GAMMA), naive_returns(data, GAMMA))


def agree_with_a_sum_by_hand(returns: Implementation) -> None:
    # An episode 1, 2 that terminates, then 3 that is truncated before a value of 10.
    arrays = [[1.0], [2.0], [3.0]], np.zeros((3, 1)), [[7.0], [7.0], [10.0]]
    flags = [[False], [True], [False]], [[False], [False], [True]]
    data = Fragment(*(np.array(array) for array in (*arrays, *flags)))
    close(returns(data, 0.5), [[2.0], [2.0], [8.0]])


def without_discount_and_values_are_sums_to_go(returns: Implementation) -> None:
    data = fragment().rows(9, 12)
    data = Fragment(*(array[:, :1] for array in data))
    data = data._replace(next_values=np.zeros((3, 1)))
    close(returns(data, 1.0), np.cumsum(data.rewards[::-1], axis=0)[::-1])


def of_episodes_are_separate(returns: Implementation) -> None:
    data = column()
    apart = [returns(episode, GAMMA) for episode in episodes(data)]
    close(returns(data, GAMMA), np.concatenate(apart))


def are_the_exact_values(returns: Implementation) -> None:
    close(returns(endless(), GAMMA), endless().values)


def returns_by(
    data: Fragment, decay: Array, bootstrapped: Array, gamma: float
) -> Array:
    return recursion(data.rewards + gamma * bootstrapped, decay)


def last(data: Fragment) -> Array:
    """Returns which rows bootstrap: the truncated ones and the last of the fragment."""
    rows = data.truncated.copy()
    rows[-1] = True
    return np.where(rows & ~data.terminated, data.next_values, 0.0)


RETURNS = Subject(
    name="kpg.advantages.discounted_returns",
    shipped=shipped_returns,
    identities=(
        equal_the_naive_sum,
        agree_with_a_sum_by_hand,
        without_discount_and_values_are_sums_to_go,
        of_episodes_are_separate,
        are_the_exact_values,
    ),
    mutants={
        "truncation is termination": lambda data, gamma: returns_by(
            data,
            gamma * ~data.ended,
            np.where(data.truncated, 0.0, last(data)),
            gamma,
        ),
        "termination is truncation": lambda data, gamma: naive_returns(
            data._replace(truncated=data.ended, terminated=data.ended & False), gamma
        ),
        "runs over ends": lambda data, gamma: returns_by(
            data, gamma + 0.0 * data.rewards, last(data), gamma
        ),
        "end of the fragment not bootstrapped": lambda data, gamma: returns_by(
            data,
            gamma * ~data.ended,
            np.where(data.truncated, data.next_values, 0.0),
            gamma,
        ),
        "first reward discounted": lambda data, gamma: (
            gamma * naive_returns(data, gamma)
        ),
        "not discounted": lambda data, gamma: naive_returns(data, 1.0),
        "bootstrap not discounted": lambda data, gamma: returns_by(
            data, gamma * ~data.ended, last(data) / gamma, gamma
        ),
        "past for future": lambda data, gamma: np.cumsum(data.rewards, axis=0),
    },
    right=lambda data, gamma: returns_by(data, gamma * ~data.ended, last(data), gamma),
)

# n steps: called with a fragment, γ and n.


def shipped_n_step(data: Fragment, gamma: float, n: int) -> Array:
    return kpg.advantages.n_step(*data, gamma=gamma, n=n).numpy()


def one_step_is_td_error(n_step: Implementation) -> None:
    close(n_step(fragment(), GAMMA, 1), td_errors(fragment(), GAMMA))


def all_steps_are_return_minus_value(n_step: Implementation) -> None:
    data = fragment()
    for n in (12, 50):
        close(n_step(data, GAMMA, n), naive_returns(data, GAMMA) - data.values)


def equals_the_naive_loop(n_step: Implementation) -> None:
    for n in (2, 5, 11):
        close(n_step(fragment(), GAMMA, n), naive_n_step(fragment(), GAMMA, n))


def episodes_are_separate(n_step: Implementation) -> None:
    data = column()
    apart = [n_step(episode, GAMMA, 3) for episode in episodes(data)]
    close(n_step(data, GAMMA, 3), np.concatenate(apart))


def exact_values_leave_nothing(n_step: Implementation) -> None:
    for n in (1, 2, 9):
        close(n_step(endless(), GAMMA, n), 0.0)


def value_discounted_once(data: Fragment, gamma: float, n: int) -> Array:
    """Adds γV(sₜ₊ₘ) where γᵐV(sₜ₊ₘ) is meant."""
    silent = data._replace(rewards=0.0 * data.rewards, values=0.0 * data.values)
    bootstraps = naive_n_step(silent, 1.0, n)
    rewards = naive_n_step(data._replace(next_values=0.0 * data.values), gamma, n)
    return rewards + gamma * bootstraps


def segments(data: Fragment, gamma: float, n: int) -> Array:
    """Cuts time into blocks of n steps, which all bootstrap from the block's end."""
    starts = range(0, len(data.rewards), n)
    blocks = [naive_n_step(data.rows(s, s + n), gamma, n) for s in starts]
    return np.concatenate(blocks)


N_STEP = Subject(
    name="kpg.advantages.n_step",
    shipped=shipped_n_step,
    identities=(
        one_step_is_td_error,
        all_steps_are_return_minus_value,
        equals_the_naive_loop,
        episodes_are_separate,
        exact_values_leave_nothing,
    ),
    mutants={
        "one step more": lambda data, gamma, n: naive_n_step(data, gamma, n + 1),
        "one step less": lambda data, gamma, n: naive_n_step(
            data, gamma, max(n - 1, 1)
        ),
        "value discounted once": value_discounted_once,
        "blocks of n steps": segments,
        "truncation is termination": lambda data, gamma, n: naive_n_step(
            data._replace(terminated=data.ended), gamma, n
        ),
        "runs over truncation": lambda data, gamma, n: naive_n_step(
            data._replace(truncated=data.truncated & False), gamma, n
        ),
        "V(reset) for V(final)": lambda data, gamma, n: naive_n_step(
            data._replace(next_values=after(data.values, data.next_values[-1])),
            gamma,
            n,
        ),
        "value not subtracted": lambda data, gamma, n: (
            naive_n_step(data, gamma, n) + data.values
        ),
    },
    right=naive_n_step,
)

# Total returns and discounts of time: called with a fragment, γ and the valid rows.


def valid_rows() -> Array:
    """Returns all rows but those after the ends: resets of a NEXT_STEP environment."""
    return np.append(np.ones((1, 3), bool), ~fragment().ended[:-1], axis=0)


def shipped_total(data: Fragment, gamma: float, valid: Array | None) -> Array:
    rewards, _, *others = data
    total = kpg.advantages.total_returns
    return total(rewards, *others, gamma=gamma, valid=valid).numpy()


def naive_total(data: Fragment, gamma: float, valid: Array | None) -> Array:
    """Looks up the return of the episode's first step."""
    counts: Array = np.ones_like(data.ended) if valid is None else valid
    returns, times = naive_returns(data, gamma), naive_times(data.ended, counts)
    totals = np.zeros_like(returns)
    for t, b in np.argwhere(counts):
        totals[t, b] = returns[t - times[t, b], b]
    return totals


def total_is_that_of_the_first_step(total: Implementation) -> None:
    close(total(fragment(), GAMMA, None), naive_total(fragment(), GAMMA, None))


def resets_start_no_episode(total: Implementation) -> None:
    data, valid = fragment(), valid_rows()
    found, expected = total(data, GAMMA, valid), naive_total(data, GAMMA, valid)
    close(found[valid], expected[valid])


def one_episode_has_one_total(total: Implementation) -> None:
    for episode in episodes(column()):
        found = total(episode, GAMMA, None)
        close(found, np.broadcast_to(found[0], found.shape))


TOTAL_RETURNS = Subject(
    name="kpg.advantages.total_returns",
    shipped=shipped_total,
    identities=(
        total_is_that_of_the_first_step,
        resets_start_no_episode,
        one_episode_has_one_total,
    ),
    mutants={
        "reward to go": lambda data, gamma, valid: naive_returns(data, gamma),
        "of the whole fragment": lambda data, gamma, valid: np.broadcast_to(
            naive_returns(data, gamma)[0], data.rewards.shape
        ),
        "a reset starts an episode": lambda data, gamma, valid: naive_total(
            data, gamma, None
        ),
        "not discounted": lambda data, gamma, valid: naive_total(data, 1.0, valid),
    },
    right=naive_total,
)


def shipped_weights(data: Fragment, gamma: float, valid: Array | None) -> Array:
    weights = kpg.advantages.discount_weights
    return weights(data.terminated, data.truncated, gamma=gamma, valid=valid).numpy()


def naive_weights(data: Fragment, gamma: float, valid: Array | None) -> Array:
    valid = np.ones_like(data.ended) if valid is None else valid
    return gamma ** naive_times(data.ended, valid)


def weights_count_from_the_start(weights: Implementation) -> None:
    for gamma in (0.9, 1.0, 0.0):
        found = weights(column(0), gamma, None)[:, 0]
        times = np.array([0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2])
        close(found, np.power(gamma, times))


def time_stands_still_in_resets(weights: Implementation) -> None:
    data, valid = fragment(), valid_rows()
    found, expected = weights(data, GAMMA, valid), naive_weights(data, GAMMA, valid)
    close(found[valid], expected[valid])


DISCOUNT_WEIGHTS = Subject(
    name="kpg.advantages.discount_weights",
    shipped=shipped_weights,
    identities=(weights_count_from_the_start, time_stands_still_in_resets),
    mutants={
        "time of the fragment": lambda data, gamma, valid: naive_weights(
            data._replace(terminated=data.ended & False, truncated=data.ended & False),
            gamma,
            valid,
        ),
        "one step late": lambda data, gamma, valid: (
            gamma * naive_weights(data, gamma, valid)
        ),
        "a reset is a step": lambda data, gamma, valid: naive_weights(
            data, gamma, None
        ),
        "truncation starts nothing": lambda data, gamma, valid: naive_weights(
            data._replace(truncated=data.truncated & False), gamma, valid
        ),
    },
    right=naive_weights,
)
