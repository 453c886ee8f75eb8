"""GAE: five identities, and bugs that were found in real libraries or nearly made."""

from __future__ import annotations

import numpy as np

import kpg
from tests.mutants.subject import Array, Implementation, Subject, close, title
from tests.mutants.trajectories import (
    GAMMA,
    Fragment,
    after,
    column,
    endless,
    episodes,
    fragment,
    naive_gae,
    naive_returns,
    recursion,
    td_errors,
)


def shipped(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return kpg.advantages.gae(*data, gamma=gamma, gae_lambda=gae_lambda).numpy()


def lambda_1_is_return_minus_value(gae: Implementation) -> None:
    data = fragment()
    close(gae(data, GAMMA, 1.0), naive_returns(data, GAMMA) - data.values)


def lambda_0_is_td_error(gae: Implementation) -> None:
    data = fragment()
    close(gae(data, GAMMA, 0.0), td_errors(data, GAMMA))


def equals_the_naive_sum(gae: Implementation) -> None:
    data = fragment()
    for gae_lambda in (0.3, 0.95):
        close(gae(data, GAMMA, gae_lambda), naive_gae(data, GAMMA, gae_lambda))


def episodes_are_separate(gae: Implementation) -> None:
    data = column()
    apart = [gae(episode, GAMMA, 0.95) for episode in episodes(data)]
    close(gae(data, GAMMA, 0.95), np.concatenate(apart))


def exact_values_leave_nothing(gae: Implementation) -> None:
    for gae_lambda in (0.0, 0.5, 1.0):
        close(gae(endless(), GAMMA, gae_lambda), 0.0)


def brax_recursion(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    """Brax's `compute_gae`: r + γ·(V + Â)ₜ₊₁ − V, the advantage of V-trace."""
    following = after(naive_gae(data, gamma, gae_lambda))
    return td_errors(data, gamma) + gamma * np.where(data.ended, 0.0, following)


def truncation_as_termination(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    deltas = td_errors(data._replace(terminated=data.ended), gamma)
    return recursion(deltas, gamma * gae_lambda * ~data.ended)


def trace_leaks(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return recursion(td_errors(data, gamma), gamma * gae_lambda * ~data.terminated)


def mask_off_by_one(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    deltas = td_errors(data._replace(terminated=after(data.terminated)), gamma)
    return recursion(deltas, gamma * gae_lambda * ~after(data.ended))


def lambda_ignored(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return naive_gae(data, gamma, 1.0)


def gamma_missing_in_trace(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    return recursion(td_errors(data, gamma), gae_lambda * ~data.ended)


def value_of_reset(data: Fragment, gamma: float, gae_lambda: float) -> Array:
    following = after(data.values, data.next_values[-1])
    return naive_gae(data._replace(next_values=following), gamma, gae_lambda)


GAE = Subject(
    name="kpg.advantages.gae",
    shipped=shipped,
    identities=(
        lambda_1_is_return_minus_value,
        lambda_0_is_td_error,
        equals_the_naive_sum,
        episodes_are_separate,
        exact_values_leave_nothing,
    ),
    mutants={
        "Brax's recursion": brax_recursion,
        "truncation is termination": truncation_as_termination,
        "trace leaks over truncation": trace_leaks,
        "mask off by one": mask_off_by_one,
        "λ ignored": lambda_ignored,
        "γ missing in the trace": gamma_missing_in_trace,
        "V(reset) for V(final)": value_of_reset,
    },
    right=naive_gae,
)

ONE, ZERO, NAIVE, APART, EXACT = (title(identity) for identity in GAE.identities)
# Exactly these; a sixth kill would be an accident of the random numbers.
GAE_KILLERS = {
    "Brax's recursion": {ZERO, NAIVE},
    "truncation is termination": {ONE, ZERO, NAIVE, EXACT},
    "trace leaks over truncation": {ONE, NAIVE, APART},
    "mask off by one": {ONE, ZERO, NAIVE, APART},
    "λ ignored": {ZERO, NAIVE},
    "γ missing in the trace": {ONE, NAIVE},
    "V(reset) for V(final)": {ONE, ZERO, NAIVE, APART},
}
