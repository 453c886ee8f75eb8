"""Random trajectories, and the estimators transcribed with all their loops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tests.mutants.subject import Array

GAMMA = 0.9


class Fragment(NamedTuple):
    """A trajectory in float64, `[T, B]`."""

    rewards: Array
    values: Array
    next_values: Array
    terminated: Array
    truncated: Array

    @property
    def ended(self) -> Array:
        return self.terminated | self.truncated

    def rows(self, start: int, end: int) -> Fragment:
        return Fragment(*(array[start:end] for array in self))


def fragment(seed: int = 0) -> Fragment:
    """Twelve random steps of three environments, whose episodes end in every way."""
    rng = np.random.default_rng(seed)
    rewards, values, finals = rng.normal(size=(3, 12, 3))
    terminated = np.zeros((12, 3), bool)
    truncated = np.zeros((12, 3), bool)
    terminated[[3, 8], 0] = True
    truncated[[2, 6], 1] = True
    terminated[4, 2] = True
    truncated[9, 2] = True
    ended = terminated | truncated
    ended[-1] = True
    next_values = np.where(ended, finals, np.roll(values, -1, axis=0))
    return Fragment(rewards, values, next_values, terminated, truncated)


def endless() -> Fragment:
    """Reward 1 for ever, V = 1 / (1 − γ), and a time limit of three steps."""
    ones = np.ones((9, 1))
    values = ones / (1.0 - GAMMA)
    truncated = (np.arange(9) % 3 == 2)[:, np.newaxis]
    return Fragment(ones, values, values, np.zeros((9, 1), bool), truncated)


def episodes(data: Fragment) -> list[Fragment]:
    """Cuts one environment's fragment after each end of an episode."""
    cuts = [0, *(np.flatnonzero(data.ended[:, 0]) + 1), len(data.rewards)]
    pairs = zip(cuts, cuts[1:], strict=False)
    return [data.rows(start, end) for start, end in pairs if start < end]


def column(index: int = 1) -> Fragment:
    return Fragment(*(array[:, index : index + 1] for array in fragment()))


def after(array: Array, last: Array = 0) -> Array:
    """Returns row t + 1 in row t, and `last` in the last row."""
    return np.append(array[1:], np.full_like(array[:1], last), axis=0)


def td_errors(data: Fragment, gamma: float) -> Array:
    following = np.where(data.terminated, 0.0, data.next_values)
    return data.rewards + gamma * following - data.values


def naive_n_step(data: Fragment, gamma: float, n: int) -> Array:
    """Sums n discounted rewards of each step, or those to the end; then bootstraps."""
    returns = np.zeros_like(data.rewards)
    steps, batch = returns.shape
    for b in range(batch):
        for t in range(steps):
            for k in range(t, min(t + n, steps)):
                returns[t, b] += gamma ** (k - t) * data.rewards[k, b]
                if data.terminated[k, b]:
                    break
                if data.truncated[k, b] or k + 1 in (t + n, steps):
                    returns[t, b] += gamma ** (k - t + 1) * data.next_values[k, b]
                    break
    return returns - data.values


def naive_returns(data: Fragment, gamma: float) -> Array:
    return naive_n_step(data, gamma, len(data.rewards)) + data.values


def naive_gae(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    """Equation 16 of the paper, literally: the sum over k of (γλ)ᵏ δₜ₊ₖ."""
    advantages = np.zeros_like(data.rewards)
    deltas = td_errors(data, gamma)
    steps, batch = deltas.shape
    for b in range(batch):
        for t in range(steps):
            for k in range(t, steps):
                advantages[t, b] += (gamma * gae_lambda) ** (k - t) * deltas[k, b]
                if data.ended[k, b]:
                    break
    return advantages


def naive_times(ended: Array, valid: Array) -> Array:
    """Counts the steps before each step in its episode."""
    times = np.zeros(ended.shape, int)
    for b in range(ended.shape[1]):
        time = 0
        for t in range(len(ended)):
            times[t, b] = time
            time = 0 if ended[t, b] else time + int(valid[t, b])
    return times


def recursion(deltas: Array, decay: Array) -> Array:
    following = np.zeros_like(deltas[0])
    advantages = np.zeros_like(deltas)
    for t in reversed(range(len(deltas))):
        following = advantages[t] = deltas[t] + decay[t] * following
    return advantages
