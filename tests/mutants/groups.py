"""Groups of answers to one prompt: what must hold, and how it goes wrong."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np

import kpg
from tests.mutants.subject import Array, Implementation, Subject, close


def rewards() -> Array:
    return 3.0 * np.random.default_rng(0).normal(size=12)


def groups_of(numbers: Array, size: int) -> Array:
    return np.reshape(numbers, [-1, size])


def equals_brute_force(advantages: Implementation) -> None:
    given = rewards()
    others = [np.delete(given[i // 4 * 4 :][:4], i % 4) for i in range(12)]
    close(advantages(given, 4), given - np.mean(others, axis=1))


def a_constant_for_one_prompt_changes_nothing(advantages: Implementation) -> None:
    shifted = rewards() + np.repeat([5.0, -3.0, 0.0], 4)
    close(advantages(shifted, 4), advantages(rewards(), 4))


def other_prompts_change_nothing(advantages: Implementation) -> None:
    changed = np.where(np.arange(12) < 8, rewards(), 100.0 * rewards())
    close(advantages(changed, 4)[:8], advantages(rewards(), 4)[:8])


def the_baseline_does_not_know_the_answer(advantages: Implementation) -> None:
    """Over all pairs of answers of a bandit, E[A ∇log π] is the exact gradient."""
    p, pays = np.array([0.2, 0.5, 0.3]), np.array([1.0, -2.0, 0.5])
    gradient = np.zeros(3)
    for pair in itertools.product(range(3), repeat=2):
        gains = np.asarray(advantages(pays[list(pair)], 2))
        for action, gain in zip(pair, gains, strict=True):
            gradient += np.prod(p[list(pair)]) * gain * (np.eye(3)[action] - p) / 2
    close(gradient, p * (pays - p @ pays))


LEAVE_ONE_OUT = Subject(
    name="kpg.advantages.leave_one_out",
    shipped=lambda r, size: kpg.advantages.leave_one_out(r, size).numpy(),
    identities=(
        equals_brute_force,
        a_constant_for_one_prompt_changes_nothing,
        other_prompts_change_nothing,
        the_baseline_does_not_know_the_answer,
    ),
    mutants={
        "mean includes itself": lambda r, size: (
            groups_of(r, size) - groups_of(r, size).mean(1, keepdims=True)
        ).ravel(),
        "mean of the batch": lambda r, size: (r - np.mean(r)) * len(r) / (len(r) - 1),
        "groups interleaved": lambda r, size: (
            (groups_of(r, len(r) // size) - groups_of(r, len(r) // size).mean(0))
            * (size / (size - 1))
        ).ravel(),
        "no baseline": lambda r, size: np.asarray(r),
    },
)


def has_mean_0_and_std_1(advantages: Implementation) -> None:
    found = groups_of(advantages(rewards(), 4), 4)
    close(found.mean(axis=1), 0.0)
    close(found.std(axis=1), 1.0, 1e-3)


def scale_of_one_prompt_does_not_matter(advantages: Implementation) -> None:
    scaled = rewards() * np.repeat([5.0, 3.0, 100.0], 4)
    close(advantages(scaled, 4), advantages(rewards(), 4), 1e-3)


def equal_rewards_have_no_advantage(advantages: Implementation) -> None:
    close(advantages(np.full(4, 0.1), 2), np.zeros(4))


def normalized(r: Array, size: int, ddof: int = 0, centred: bool = True) -> Array:
    groups = groups_of(r, size)
    means = groups.mean(1, keepdims=True) if centred else 0.0
    return ((groups - means) / (groups.std(1, ddof=ddof, keepdims=True) + 1e-4)).ravel()


GROUP_NORMALIZED = Subject(
    name="kpg.advantages.group_normalized",
    shipped=lambda r, size: kpg.advantages.group_normalized(r, size).numpy(),
    identities=(
        has_mean_0_and_std_1,
        a_constant_for_one_prompt_changes_nothing,
        scale_of_one_prompt_does_not_matter,
        equal_rewards_have_no_advantage,
    ),
    mutants={
        "std divided by G − 1": lambda r, size: normalized(r, size, ddof=1),
        "not centred": lambda r, size: normalized(r, size, centred=False),
        "std of the batch": lambda r, size: (
            (groups_of(r, size) - groups_of(r, size).mean(1, keepdims=True)).ravel()
            / (np.std(r) + 1e-4)
        ),
        "variance for std": lambda r, size: (
            normalized(r, size) / (groups_of(r, size).std(1).repeat(size) + 1e-4)
        ),
    },
    right=normalized,
)


def by_hand(r: Array, size: int, scale: Array) -> Array:
    means = [np.mean(r[i // size * size :][:size]) for i in range(len(r))]
    return (r - means) / scale


def unscaled_is_the_distance_from_the_mean(advantages: Implementation) -> None:
    close(advantages(rewards(), 4, "none"), by_hand(rewards(), 4, 1.0))


def the_batch_scales_all_alike(advantages: Implementation) -> None:
    scale = np.sqrt(np.mean((rewards() - rewards().mean()) ** 2)) + 1e-4
    close(advantages(rewards(), 4, "batch"), by_hand(rewards(), 4, scale))


def scaled(
    r: Array, size: int, scale: str, ddof: int = 0, within: bool = False
) -> Array:
    centred = (groups_of(r, size) - groups_of(r, size).mean(1, keepdims=True)).ravel()
    std = np.std(centred if within else r, ddof=ddof) + 1e-4
    return centred / (std if scale == "batch" else 1.0)


GROUP_SCALE = Subject(
    name="kpg.advantages.group_normalized(scale=…)",
    shipped=lambda r, size, scale: kpg.advantages.group_normalized(
        r, size, scale=scale
    ).numpy(),
    identities=(unscaled_is_the_distance_from_the_mean, the_batch_scales_all_alike),
    mutants={
        "always the group's": lambda r, size, scale: normalized(r, size),
        "divided by N − 1": partial(scaled, ddof=1),
        "std within the groups": partial(scaled, within=True),
        "batch for none": lambda r, size, scale: scaled(r, size, "batch"),
    },
    right=scaled,
)
