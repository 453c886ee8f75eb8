"""What random episodes say about an environment."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import gymnasium as gym
import numpy as np
import tensorflow as tf

from kpg import spaces
from kpg.testing.finding import Finding
from kpg.testing.membership import same
from kpg.testing.playing import (
    ENOUGH_EPISODES,
    Experience,
    equal,
    nondeterministic,
    reset,
    trace,
)
from kpg.testing.subject import Subject

LARGE_OBSERVATION = 1e3
LARGE_REWARD = 100.0
_TRACES = 16
_SEEDS = 5

Verdict: TypeAlias = "Finding | None"


def same_start(subject: Subject, _: Experience) -> Verdict:
    """A note: all seeds start the same way."""
    starts = [copy.deepcopy(reset(subject, seed)[0]) for seed in range(_SEEDS)]
    if not all(same(starts[0], start) for start in starts[1:]):
        return None
    return Finding(
        "same_start",
        f"Each of {_SEEDS} seeds gave the same first observation. A random start is "
        "drawn from `self.np_random` after `super().reset(seed=seed)`.",
        note=True,
    )


def time_limit_as_termination(subject: Subject, experience: Experience) -> Verdict:
    """A time limit reported as the end of the task."""
    lengths, limit = experience.lengths, subject.max_episode_steps
    alike = len(lengths) >= ENOUGH_EPISODES and len(set(lengths)) == 1
    if not alike or not all(experience.terminated) or lengths[0] == 1:
        return None
    return Finding(
        "time_limit_as_termination",
        f"Each of {len(lengths)} episodes ended after exactly {lengths[0]} steps with "
        "terminated=True. If this is a time limit, values come out wrong: return "
        "truncated=True there, or register it with `max_episode_steps`.",
        note=lengths[0] != limit,
    )


def termination_as_truncation(subject: Subject, experience: Experience) -> Verdict:
    """Ends of the task reported as a time limit."""
    lengths, limit = experience.lengths, subject.max_episode_steps
    if any(experience.terminated) or len(set(lengths)) < 2:
        return None
    if limit is not None and max(lengths) >= limit:
        return None
    return Finding(
        "termination_as_truncation",
        f"All of {len(lengths)} episodes ended with truncated=True and never with "
        f"terminated=True, after {min(lengths)} to {max(lengths)} steps, which is no "
        "time limit. Where the task is over (a goal, a fall) return terminated=True.",
    )


def endless_episodes(subject: Subject, experience: Experience) -> Verdict:
    """Episodes that never end."""
    limit = subject.max_episode_steps
    if experience.lengths or (limit is not None and experience.num_steps <= limit):
        return None
    declared = "no time limit is declared" if limit is None else f"the limit is {limit}"
    return Finding(
        "endless_episodes",
        f"No episode ended in {experience.num_steps:,} steps, and {declared}. Give a "
        "time limit: `gymnasium.register(…, max_episode_steps=1000)`, or wrap the "
        "environment in `gymnasium.wrappers.TimeLimit`.",
    )


def stuck_after_end(_: Subject, experience: Experience) -> Verdict:
    """A reset that does not clear the end of the episode before."""
    first, *others = experience.lengths or [1]
    if first == 1 or len(others) < ENOUGH_EPISODES - 1 or set(others) != {1}:
        return None
    return Finding(
        "stuck_after_end",
        f"The first episode had {first} steps and all others just one: `reset` leaves "
        "something of the last episode behind. Set every attribute again in `reset`.",
    )


def constant_rewards(_: Subject, experience: Experience) -> Verdict:
    """Rewards from which nothing can be learned."""
    rewards, lengths = set(experience.rewards), set(experience.lengths)
    if len(rewards) != 1 or len(lengths) > 1:
        return None
    reward = rewards.pop()
    hint = (
        "A goal that ends the episode sooner can still be learned, if it is ever found"
        if reward < 0
        else "A policy learns only from differences: give rewards along the way"
    )
    return Finding(
        "constant_rewards",
        f"The reward was {reward:g} in each of {experience.num_steps:,} random steps "
        f"and no episode was shorter than another. {hint}; make sure that `step` "
        "computes the reward from the new state.",
        note=reward < 0,
    )


def actions_without_effect(subject: Subject, _: Experience) -> Verdict:
    """Actions that change nothing."""
    first = trace(subject, 7, 0)
    if not all(equal(first, trace(subject, 7, seed)) for seed in range(1, _TRACES)):
        return None
    return Finding(
        "actions_without_effect",
        f"{_TRACES} sequences of random actions from the same start gave the same "
        f"episode over {len(first) - 1} steps. Make sure that `step` uses its action.",
    )


def mask_in_info(_: Subject, experience: Experience) -> Verdict:
    """A note: a mask that no policy sees."""
    if not experience.mask_in_info:
        return None
    return Finding(
        "mask_in_info",
        "The info holds an action mask, which no policy sees there. Wrap the "
        "environment in `kpg.environments.ActionMaskFromInfo`, and make policy and "
        'critic with `action_mask="action_mask"`.',
        note=True,
    )


def ragged_infos(_: Subject, experience: Experience) -> Verdict:
    """A note: infos that vector environments cannot stack."""
    if experience.ragged is None:
        return None
    return Finding(
        "ragged_infos",
        f"info[{experience.ragged!r}] is not always of one type and shape. kpg does "
        "without it, but Gymnasium's own vector environments fail there.",
        note=True,
    )


def observation_scale(subject: Subject, experience: Experience) -> Verdict:
    """Observations that saturate a network."""
    for index, (path, space) in enumerate(spaces.leaves(subject.observation_space)):
        if not isinstance(space, gym.spaces.Box) or space.dtype == np.uint8:
            continue
        leaves = [tf.nest.flatten(o)[index] for o in experience.observations]
        largest = max(float(np.max(np.abs(leaf))) for leaf in leaves)
        if largest > LARGE_OBSERVATION:
            where = "".join(f"[{key!r}]" for key in path)
            return Finding(
                "observation_scale",
                f"observation{where} reaches {largest:g}; a network works best with "
                "numbers of about 1. Scale it, or use `normalize_observations=True`.",
            )
    return None


def reward_scale(_: Subject, experience: Experience) -> Verdict:
    """Rewards whose value loss drowns everything else."""
    mean = float(np.mean(np.abs(experience.rewards)))
    if mean <= LARGE_REWARD:
        return None
    return Finding(
        "reward_scale",
        f"Rewards are {mean:g} in size on average; their value loss drowns the other "
        "gradients. Train with `normalize_rewards=True`, or divide them.",
    )


# In the order of the report; each is named after what it finds.
VERDICTS: tuple[Callable[[Subject, Experience], Verdict], ...] = (
    nondeterministic,
    same_start,
    time_limit_as_termination,
    termination_as_truncation,
    endless_episodes,
    stuck_after_end,
    constant_rewards,
    actions_without_effect,
    mask_in_info,
    ragged_infos,
    observation_scale,
    reward_scale,
)
