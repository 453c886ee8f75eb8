"""V-trace: what must hold, and how it goes wrong."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

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
    naive_returns,
    td_errors,
)

CLIPS = ((1.0, 1.0), (2.0, 0.5), (np.inf, np.inf))


class Traced(NamedTuple):
    targets: Array
    advantages: Array


def shipped(
    data: Fragment, log_ratios: Array, clip_rho: float, clip_c: float
) -> Traced:
    vtrace = kpg.advantages.vtrace
    clips = {"clip_rho": clip_rho, "clip_c": clip_c}
    gains = vtrace(*data, log_ratios, gamma=GAMMA, **clips)
    return Traced(gains.targets, gains.advantages)


def naive(
    data: Fragment,
    log_ratios: Array,
    clip_rho: float,
    clip_c: float,
    *,
    weighted_errors: bool = True,
    weighted_advantages: bool = True,
    cut: bool = True,
    bootstrap_with_targets: bool = True,
    trace_discount: float = GAMMA,
) -> Traced:
    """Equation 1 of the paper: vₛ = V + Σₜ γᵗ⁻ˢ (Π cᵢ) δₜ, with all its loops.

    Each of the options, changed, makes a mutant of it.
    """
    ratios = np.exp(log_ratios)
    rhos, traces = np.minimum(ratios, clip_rho), np.minimum(ratios, clip_c)
    deltas = td_errors(data, GAMMA) * (rhos if weighted_errors else 1.0)
    ended = data.ended if cut else data.terminated
    targets = data.values.copy()
    steps, batch = targets.shape
    for b in range(batch):
        for s in range(steps):
            weight = 1.0
            for t in range(s, steps):
                targets[s, b] += weight * deltas[t, b]
                weight *= trace_discount * traces[t, b]
                if ended[t, b]:
                    break
    stops = data.ended.copy()
    stops[-1] = True
    stops |= not bootstrap_with_targets
    following: Array = np.where(stops, data.next_values, after(targets))
    following[data.terminated] = 0.0
    advantages = data.rewards + GAMMA * following - data.values
    return Traced(targets, advantages * (rhos if weighted_advantages else 1.0))


def random_log_ratios() -> Array:
    return np.random.default_rng(5).normal(size=(12, 3))


def on_policy_it_is_the_return(vtrace: Implementation) -> None:
    data = fragment()
    found = vtrace(data, np.zeros((12, 3)), 1.0, 1.0)
    close(found.targets, naive_returns(data, GAMMA))
    close(found.advantages, naive_returns(data, GAMMA) - data.values)


def targets_equal_the_naive_sum(vtrace: Implementation) -> None:
    for clips in CLIPS:
        arguments = fragment(), random_log_ratios(), *clips
        close(vtrace(*arguments).targets, naive(*arguments).targets)


def advantages_equal_the_naive_sum(vtrace: Implementation) -> None:
    for clips in CLIPS:
        arguments = fragment(), random_log_ratios(), *clips
        close(vtrace(*arguments).advantages, naive(*arguments).advantages)


def episodes_are_separate(vtrace: Implementation) -> None:
    data, log_ratios = column(), random_log_ratios()[:, 1:2]
    found = vtrace(data, log_ratios, 1.0, 1.0)
    start = 0
    for episode in episodes(data):
        end = start + len(episode.rewards)
        apart = vtrace(episode, log_ratios[start:end], 1.0, 1.0)
        close(found.targets[start:end], apart.targets)
        close(found.advantages[start:end], apart.advantages)
        start = end


def exact_values_stay(vtrace: Implementation) -> None:
    found = vtrace(endless(), random_log_ratios()[:9, :1], 1.0, 1.0)
    close(found.targets, endless().values)
    close(found.advantages, 0.0)


def an_action_never_taken_says_nothing(vtrace: Implementation) -> None:
    data = fragment()
    found = vtrace(data, np.full((12, 3), -50.0), 1.0, 1.0)
    close(found.targets, data.values)
    close(found.advantages, 0.0)


VTRACE = Subject(
    name="kpg.advantages.vtrace",
    shipped=shipped,
    identities=(
        on_policy_it_is_the_return,
        targets_equal_the_naive_sum,
        advantages_equal_the_naive_sum,
        episodes_are_separate,
        exact_values_stay,
        an_action_never_taken_says_nothing,
    ),
    mutants={
        "ρ not clipped": lambda data, logs, rho, c: naive(data, logs, np.inf, c),
        "c not clipped": lambda data, logs, rho, c: naive(data, logs, rho, np.inf),
        "clips swapped": lambda data, logs, rho, c: naive(data, logs, c, rho),
        "ratio upside down": lambda data, logs, rho, c: naive(data, -logs, rho, c),
        "ρ missing in δ": partial(naive, weighted_errors=False),
        "ρ missing in the advantage": partial(naive, weighted_advantages=False),
        "trace leaks over truncation": partial(naive, cut=False),
        "V for v in the advantage": partial(naive, bootstrap_with_targets=False),
        "γ missing in the trace": partial(naive, trace_discount=1.0),
        "truncation is termination": lambda data, logs, rho, c: naive(
            data._replace(terminated=data.ended), logs, rho, c
        ),
    },
    right=naive,
)
