"""Random episodes, with a look at everything that comes back.

The first finding of each name is kept and the play goes on, unless the environment
raises or returns something that has not the form of a step.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kpg.testing import membership, random_actions
from kpg.testing.finding import Finding
from kpg.testing.subject import Subject

# In the order of the report.
CONTRACT = (
    "crash",
    "reset_contract",
    "step_contract",
    "observation_shape",
    "observation_dtype",
    "observation_bounds",
    "non_finite_observations",
    "non_finite_rewards",
    "mask_without_action",
    "aliased_observations",
)
ENOUGH_EPISODES = 5
ENOUGH_STEPS = 500
MOST_STEPS = 10_000
_KEPT = 1_000  # observations, so that images fit into the memory


class Broken(Exception):
    """The play cannot go on."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.finding = Finding(name, words)


class Step(NamedTuple):
    """A step that has the form that Gymnasium wants.

    Attributes:
        observation: As returned, not copied.
        reward: A number.
        terminated: Whether the MDP ended.
        truncated: Whether the episode was cut.
        info: What else was returned.
    """

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@dataclasses.dataclass
class Experience:
    """What was seen in the random episodes.

    Attributes:
        findings: By name.
        observations: Copies of the first of them.
        rewards: All of them.
        lengths: Steps of each episode that ended.
        terminated: Of each such episode, whether it ended with `terminated=True`.
        num_steps: Number of steps.
        mask_in_info: Whether an info held an action mask that no observation has.
    """

    findings: dict[str, Finding] = dataclasses.field(default_factory=dict)
    observations: list[Any] = dataclasses.field(default_factory=list)
    rewards: list[float] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)
    terminated: list[bool] = dataclasses.field(default_factory=list)
    num_steps: int = 0
    mask_in_info: bool = False

    def add(self, finding: Finding | None) -> None:
        """Keeps the first finding of each name."""
        if finding is not None:
            self.findings.setdefault(finding.name, finding)

    @property
    def enough(self) -> bool:
        """Whether more episodes would hardly tell more."""
        played = len(self.lengths) >= ENOUGH_EPISODES and self.num_steps >= ENOUGH_STEPS
        return played or self.num_steps >= MOST_STEPS


def play(subject: Subject, experience: Experience) -> None:
    """Plays episodes at random until there is enough experience.

    Raises:
        Broken: If the environment raises, or returns what is no step.
    """
    episode = 0
    while not experience.enough:
        _play_episode(subject, experience, seed=episode)
        episode += 1


def _play_episode(subject: Subject, experience: Experience, seed: int) -> None:
    actor = random_actions.Actor(subject.action_space, seed)
    observation, info = reset(subject, seed)
    _look(subject, experience, observation)
    length, ended, terminated = 0, False, False
    while not ended and not experience.enough:
        seen = isinstance(observation, Mapping) and "action_mask" in observation
        experience.mask_in_info |= "action_mask" in info and not seen
        mask = random_actions.find(observation, info)
        experience.add(random_actions.without_action(subject.action_space, mask))
        before = copy.deepcopy(observation)
        result = step(subject, actor.choose(mask))
        if not subject.keeps_observations:
            experience.add(_aliased(observation, before))
        observation, info = result.observation, result.info
        _look(subject, experience, observation)
        experience.add(_finite_reward(result.reward))
        experience.rewards.append(result.reward)
        experience.num_steps += 1
        length += 1
        terminated = result.terminated
        ended = terminated or result.truncated
    if ended:
        experience.lengths.append(length)
        experience.terminated.append(terminated)


def _look(subject: Subject, experience: Experience, observation: Any) -> None:
    """Checks an observation and keeps a copy of it."""
    for finding in membership.findings(subject.observation_space, observation):
        experience.add(finding)
    if len(experience.observations) < _KEPT:
        experience.observations.append(copy.deepcopy(observation))


def reset(subject: Subject, seed: int) -> tuple[Any, dict[str, Any]]:
    """Starts an episode.

    Raises:
        Broken: If the environment raises or returns something else than a pair.
    """
    try:
        result = subject.reset(seed)
    except Exception as error:  # any code of a user may run here
        raise Broken("crash", _crashed(f"reset(seed={seed})", error)) from error
    pair = isinstance(result, tuple) and len(result) == 2
    if not pair or not isinstance(result[1], dict):
        raise Broken(
            "reset_contract",
            "`reset` must return two things, an observation and a dictionary: "
            f"`return observation, {{}}`. It returned {_shown(result)}.",
        )
    return result[0], result[1]


def step(subject: Subject, action: Any) -> Step:
    """Takes a step.

    Raises:
        Broken: If the environment raises or returns something else than a step.
    """
    try:
        result = subject.step(action)
    except Exception as error:  # any code of a user may run here
        raise Broken("crash", _crashed(f"step({action!r})", error)) from error
    if not isinstance(result, tuple) or len(result) != 5:
        raise Broken(
            "step_contract",
            "`step` must return five things: observation, reward, terminated, "
            f"truncated and a dictionary. It returned {_shown(result)}.",
        )
    _check_parts(*result[1:])
    observation, reward, terminated, truncated, info = result
    return Step(observation, float(reward), bool(terminated), bool(truncated), info)


def _check_parts(reward: Any, terminated: Any, truncated: Any, info: Any) -> None:
    """Raises `Broken` if a part of a step has not the type that Gymnasium wants."""
    if np.ndim(reward) != 0 or np.asarray(reward).dtype.kind not in "fiub":
        raise Broken(
            "step_contract",
            f"The reward must be one number; `step` returned {_shown(reward)}. Return "
            "`float(reward)`.",
        )
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if not isinstance(flag, (bool, np.bool_)):
            raise Broken(
                "step_contract",
                f"`{name}` must be True or False; `step` returned {_shown(flag)}. "
                f"Return `bool({name})`.",
            )
    if not isinstance(info, dict):
        raise Broken(
            "step_contract",
            f"The info must be a dictionary; `step` returned {_shown(info)}.",
        )


def same(left: Any, right: Any) -> bool:
    """Whether two observations are equal, NaN included."""
    lefts, rights = tf.nest.flatten(left), tf.nest.flatten(right)
    return len(lefts) == len(rights) and all(
        np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
        for one, other in zip(lefts, rights, strict=True)
    )


def _aliased(observation: Any, before: Any) -> Finding | None:
    if same(observation, before):
        return None
    return Finding(
        "aliased_observations",
        "An observation that had been returned was changed by the next step: the "
        "environment returns its own array. Final observations then show the next "
        "episode. Return a copy: `return self.state.copy(), …`.",
    )


def _finite_reward(reward: float) -> Finding | None:
    if np.isfinite(reward):
        return None
    return Finding(
        "non_finite_rewards",
        f"A reward was {reward}. One of them turns every weight into nan: look for a "
        "division by zero, a logarithm or an overflow in the reward.",
    )


def _crashed(call: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:300]
    return (
        f"`{call}` raised {type(error).__name__}: {text}. `reset` must take a seed, "
        "and `step` every action of the action space."
    )


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: " + ", ".join(type(v).__name__ for v in value)
    shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
    return f"{type(value).__name__}{shape}"
