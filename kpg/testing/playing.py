"""Random episodes, with a look at everything that comes back.

The first finding of each name is kept and the play goes on, unless the environment
raises or returns something that is not a step.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from kpg import spaces
from kpg.testing import membership, random_actions
from kpg.testing.finding import Finding
from kpg.testing.membership import same
from kpg.testing.subject import Subject
from kpg.types import Nest

# In the order of the report.
CONTRACT = (
    "unsupported_space",
    "unknown_autoreset",
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
    "rows_mixed",
    "nondeterministic",
)
ENOUGH_EPISODES = 5
ENOUGH_STEPS = 500
MOST_STEPS = 10_000
_KEPT = 1_000  # observations, so that images fit in memory
_TRACE_STEPS = 100

Info: TypeAlias = dict[str, Any]
Trace: TypeAlias = list[tuple[Nest, float, bool, bool]]


class Broken(Exception):
    """The play cannot go on."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.finding = Finding(name, words)


class Step(NamedTuple):
    """A step in the form that Gymnasium wants; the observation is not copied."""

    observation: Nest
    reward: float
    terminated: bool
    truncated: bool
    info: Info


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
    observations: list[Nest] = dataclasses.field(default_factory=list)
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
    def report(self) -> list[Finding]:
        """The findings in the order of `CONTRACT`."""
        return [self.findings[name] for name in CONTRACT if name in self.findings]

    @property
    def enough(self) -> bool:
        """Whether more episodes would hardly tell more."""
        played = len(self.lengths) >= ENOUGH_EPISODES and self.num_steps >= ENOUGH_STEPS
        return played or self.num_steps >= MOST_STEPS


def play(
    subject: Subject, most_steps: int = MOST_STEPS, longest: int = MOST_STEPS
) -> Experience:
    """Checks what is declared, then plays at random until there is enough experience.

    Args:
        subject: The environment.
        most_steps: Steps after which the play ends.
        longest: Steps after which an episode is left for the next.

    Returns:
        What was seen. With `findings`, the play may have stopped early.
    """
    experience, episode = Experience(), 0
    experience.add(unsupported_space(subject))
    if not experience.findings:
        for finding in subject.findings():
            experience.add(finding)
    if experience.findings:
        return experience
    try:
        while not experience.enough and experience.num_steps < most_steps:
            _play_episode(subject, experience, seed=episode, longest=longest)
            episode += 1
    except Broken as broken:
        experience.add(broken.finding)
    return experience


def unsupported_space(subject: Subject) -> Finding | None:
    """A space that kpg cannot handle."""
    try:
        spaces.check(subject.observation_space, "observation")
        spaces.check(subject.action_space, "action")
    except ValueError as error:
        return Finding("unsupported_space", str(error))
    return None


def nondeterministic(subject: Subject, _: Experience | None = None) -> Finding | None:
    """Equal seeds and actions that lead to something else.

    Raises:
        Broken: If the environment raises, or returns something that is not a step.
    """
    if equal(trace(subject, 7, 7), trace(subject, 7, 7)):
        return None
    return Finding(
        "nondeterministic",
        "The same seed and the same actions gave another episode, so no result can be "
        "repeated. Draw all random numbers from `self.np_random`, call "
        "`super().reset(seed=seed)` first in `reset`, and leave nothing behind from "
        "the episode before.",
    )


def trace(subject: Subject, seed: int, action_seed: int) -> Trace:
    """Plays one episode, at most `_TRACE_STEPS` of it.

    Raises:
        Broken: If the environment raises, or returns something that is not a step.
    """
    actor = random_actions.Actor(subject.action_space, action_seed)
    observation, info = reset(subject, seed)
    steps: Trace = [(copy.deepcopy(observation), 0.0, False, False)]
    ended = False
    while not ended and len(steps) <= _TRACE_STEPS:
        action = actor.choose(random_actions.find_mask(observation, info))
        observation, reward, terminated, truncated, info = step(subject, action)
        steps.append((copy.deepcopy(observation), reward, terminated, truncated))
        ended = terminated or truncated
    return steps


def equal(left: Trace, right: Trace) -> bool:
    """Returns whether two traces show the same."""
    return len(left) == len(right) and all(
        one[1:] == other[1:] and same(one[0], other[0])
        for one, other in zip(left, right, strict=True)
    )


def _play_episode(
    subject: Subject, experience: Experience, seed: int, longest: int
) -> None:
    actor = random_actions.Actor(subject.action_space, seed)
    observation, info = reset(subject, seed)
    _look(subject, experience, observation)
    length, ended, terminated = 0, False, False
    while not ended and not experience.enough and length < longest:
        seen = isinstance(observation, Mapping) and "action_mask" in observation
        experience.mask_in_info |= "action_mask" in info and not seen
        mask = random_actions.find_mask(observation, info)
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


def _look(subject: Subject, experience: Experience, observation: Nest) -> None:
    """Checks an observation and keeps a copy of it."""
    for finding in membership.findings(subject.observation_space, observation):
        experience.add(finding)
    if len(experience.observations) < _KEPT:
        experience.observations.append(copy.deepcopy(observation))


def reset(subject: Subject, seed: int) -> tuple[Nest, Info]:
    """Starts an episode.

    Raises:
        Broken: If the environment raises or returns something else than a pair.
    """
    try:
        result = subject.reset(seed)
    except Exception as error:  # any code of a user may run here
        raise Broken("crash", _crashed(f"reset(seed={seed})", error)) from error
    if (
        not isinstance(result, tuple)
        or len(result) != 2
        or not isinstance(result[1], dict)
    ):
        raise Broken(
            "reset_contract",
            "`reset` must return two things, an observation and a dictionary: "
            f"`return observation, {{}}`. It returned {_shown(result)}.",
        )
    return result[0], result[1]


def step(subject: Subject, action: Nest) -> Step:
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


def _check_parts(
    reward: object, terminated: object, truncated: object, info: object
) -> None:
    """Raises `Broken` if a part of a step has the wrong type."""
    number = np.asarray(reward)
    if number.ndim != 0 or number.dtype.kind not in "fiub":
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


def _aliased(observation: Nest, before: Nest) -> Finding | None:
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


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: " + ", ".join(type(v).__name__ for v in value)
    shape = getattr(value, "shape", None)
    shape = "" if shape is None else f" of shape {shape}"
    return f"{type(value).__name__}{shape}"
