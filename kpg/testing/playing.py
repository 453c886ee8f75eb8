"""Random episodes, with a look at everything that comes back."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, TypeAlias

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
_ALIASED = Finding(
    "aliased_observations",
    "An observation that had been returned was changed by the next step: the "
    "environment returns its own array. Final observations then show the next "
    "episode. Return a copy: `return self.state.copy(), …`.",
)
ENOUGH_EPISODES = 5
ENOUGH_STEPS = 500
MOST_STEPS = 10_000
_KEPT = 1_000  # observations, so that images fit in memory
_TRACE_STEPS = 100

Info: TypeAlias = dict[str, Any]
Trace: TypeAlias = list[tuple[Nest, float, bool, bool]]
Step: TypeAlias = tuple[Nest, float, bool, bool, Info]


class Broken(Exception):
    """The play cannot go on."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.finding = Finding(name, words)


@dataclasses.dataclass
class Experience:
    """What was seen; `lengths` and `terminated` are those of episodes that ended."""

    findings: dict[str, Finding] = dataclasses.field(default_factory=dict)
    observations: list[Nest] = dataclasses.field(default_factory=list)
    rewards: list[float] = dataclasses.field(default_factory=list)
    lengths: list[int] = dataclasses.field(default_factory=list)
    terminated: list[bool] = dataclasses.field(default_factory=list)
    num_steps: int = 0
    mask_in_info: bool = False
    infos: dict[str, object] = dataclasses.field(default_factory=dict)
    ragged: str | None = None

    def add(self, finding: Finding | None) -> None:
        """Keeps the first finding of each name."""
        if finding is not None:
            self.findings.setdefault(finding.name, finding)

    def note_info(self, info: Info) -> None:
        """Remembers what kind of thing each entry was, and one that changed it."""
        for name, value in info.items():
            if isinstance(value, dict):
                self.note_info({f"{name}/{key}": own for key, own in value.items()})
            kind = np.shape(value) if isinstance(value, np.ndarray) else type(value)
            if isinstance(value, (bool, int, float, np.number)):
                kind = ()
            if self.infos.setdefault(name, kind) != kind:
                self.ragged = name

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

    An episode is left after `longest` steps. With findings, the play may stop early.
    """
    experience, episode = Experience(), 0
    try:
        spaces.check(subject.observation_space, "observation")
        spaces.check(subject.action_space, "action")
    except ValueError as error:
        experience.add(Finding("unsupported_space", str(error)))
        return experience
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


def nondeterministic(subject: Subject, _: Experience | None = None) -> Finding | None:
    """Equal seeds and actions that lead to something else."""
    if equal(trace(subject, 7, 7), trace(subject, 7, 7)):
        return None
    return Finding(
        "nondeterministic",
        "The same seed and the same actions gave another episode. Draw all random "
        "numbers from `self.np_random`, call `super().reset(seed=seed)` first in "
        "`reset`, and leave nothing behind from the episode before.",
    )


def trace(subject: Subject, seed: int, action_seed: int) -> Trace:
    """Plays one episode, at most `_TRACE_STEPS` of it."""
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
    experience.note_info(info)
    length, ended, terminated = 0, False, False
    while not ended and not experience.enough and length < longest:
        seen = isinstance(observation, Mapping) and "action_mask" in observation
        experience.mask_in_info |= "action_mask" in info and not seen
        mask = random_actions.find_mask(observation, info)
        experience.add(random_actions.without_action(subject.action_space, mask))
        last, before = observation, copy.deepcopy(observation)
        action = actor.choose(mask)
        observation, reward, terminated, truncated, info = step(subject, action)
        if not subject.keeps_observations and not same(last, before):
            experience.add(_ALIASED)
        _look(subject, experience, observation)
        if not np.isfinite(reward):
            words = (
                f"A reward was {reward}, which turns every weight into nan: look for"
            )
            words += " a division by zero, a logarithm or an overflow in the reward."
            experience.add(Finding("non_finite_rewards", words))
        experience.note_info(info)
        experience.rewards.append(reward)
        experience.num_steps += 1
        length += 1
        ended = terminated or truncated
    if ended:
        experience.lengths.append(length)
        experience.terminated.append(terminated)


def _look(subject: Subject, experience: Experience, observation: Nest) -> None:
    for finding in membership.findings(subject.observation_space, observation):
        experience.add(finding)
    if len(experience.observations) < _KEPT:
        experience.observations.append(copy.deepcopy(observation))


def reset(subject: Subject, seed: int) -> tuple[Nest, Info]:
    """Starts an episode; raises `Broken` if the result is no pair."""
    try:
        result = subject.reset(seed)
    except Exception as error:  # any code of a user may run here
        raise Broken("crash", _crashed(f"reset(seed={seed})", error)) from error
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict):
        return result[0], result[1]
    raise Broken(
        "reset_contract",
        "`reset` must return two things, an observation and a dictionary: "
        f"`return observation, {{}}`. It returned {_shown(result)}.",
    )


def step(subject: Subject, action: Nest) -> Step:
    """Takes a step; raises `Broken` if the result is no step."""
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
    observation, reward, terminated, truncated, info = result
    number = np.asarray(reward)
    single = number.ndim == 0 and number.dtype.kind in "fiub"
    _check_part("The reward", "one number", single, reward, "float(reward)")
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        is_flag = isinstance(flag, (bool, np.bool_))
        _check_part(f"`{name}`", "True or False", is_flag, flag, f"bool({name})")
    _check_part("The info", "a dictionary", isinstance(info, dict), info, "{}")
    return observation, float(reward), bool(terminated), bool(truncated), info


def _check_part(name: str, wanted: str, fits: bool, part: object, cure: str) -> None:
    if not fits:
        words = f"{name} must be {wanted}; `step` returned {_shown(part)}."
        raise Broken("step_contract", f"{words} Return `{cure}`.")


def _crashed(call: str, error: Exception) -> str:
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    cure = "`reset` must take a seed, and `step` every action of the action space."
    return f"`{call}` raised {text}. {cure}"


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}: " + ", ".join(type(v).__name__ for v in value)
    shape = getattr(value, "shape", None)
    shape = "" if shape is None else f" of shape {shape}"
    return f"{type(value).__name__}{shape}"
