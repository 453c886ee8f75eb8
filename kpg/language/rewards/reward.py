"""What a reward for text is, and the base of those that come with kpg."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from typing_extensions import Self, override

from kpg import contracts
from kpg.types import Array, Config

# The reward of one completion: of all of it, of each of its tokens, or none.
Score: TypeAlias = "float | Array | None"
RewardFunction: TypeAlias = "Callable[..., Sequence[Score]]"
Column: TypeAlias = Sequence[Any]  # B entries, one for each completion
Columns: TypeAlias = Mapping[str, Column]

_CLASSES: dict[str, type[Reward]] = {}


class Reward(ABC):
    """A reward function with options.

    Any callable with the signature of `__call__` is a reward; this class adds a name
    for the logs and a configuration. A subclass keeps each argument of its `__init__`
    in an attribute of the same name, and `get_config` reads them from there.

    Args:
        name: What the logs call it. Every reward of `kpg.rewards` has a default.

    Attributes:
        requires: Names of columns without which it cannot be called. None by default.

    Raises:
        TypeError: When a subclass is defined, if it lacks `__call__`, misspells a name
            of this class, or has the name of a reward class of another module, since
            `deserialize` finds classes by name. A base of other rewards also derives
            from `abc.ABC` and may leave methods open.
    """

    requires: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def __init_subclass__(cls) -> None:
        contracts.check_names(cls, Reward)
        slips = difflib.get_close_matches("requires", vars(cls), n=1, cutoff=0.8)
        if slips and slips != ["requires"]:
            raise TypeError(
                f"{cls.__name__} has an attribute that nothing reads. Did you mean "
                f"requires? Received: {slips[0]}"
            )
        if ABC in cls.__bases__:
            return
        contracts.check_complete(cls)
        known = _CLASSES.setdefault(cls.__name__, cls)
        if known.__module__ != cls.__module__:
            raise TypeError(
                "Each reward class must have a name of its own. Received: "
                f"{cls.__name__} in {cls.__module__}, and in {known.__module__}"
            )
        _CLASSES[cls.__name__] = cls

    @abstractmethod
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        """Scores completions; all arguments are given by keyword.

        Args:
            prompts: B strings.
            completions: B strings, without the end token.
            **columns: What else is known of each completion, B entries each:
                `completion_ids` (int arrays, the end token included), `prompt_ids`,
                `ended` (whether the end token was written), `references` (a string or a
                list of strings), and what a task adds. A function without `**columns`
                receives those that it names.

        Returns:
            B scores: a number for the whole completion, an array with one number for
            each of its tokens, or None if it cannot be scored.
        """

    def get_config(self) -> Config:
        """Returns the arguments that make an equal reward; JSON can hold them."""
        return {
            name: getattr(self, name)
            for name in inspect.signature(type(self)).parameters
        }

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Makes a reward of what `get_config` returned."""
        return cls(**config)


class TextReward(Reward, ABC):
    """A reward of the text of a completion alone."""

    @abstractmethod
    def score(self, text: str) -> Score:
        """Scores one completion."""

    @override
    def __call__(
        self, prompts: Sequence[str], completions: Sequence[str], **columns: Column
    ) -> list[Score]:
        return [self.score(text) for text in completions]


def column(reward: Reward, columns: Columns, name: str, entry: str) -> Column:
    """Returns a column; without it, says what each `entry` of it has to be."""
    found = columns.get(name)
    if found is None:
        raise ValueError(
            f"`{type(reward).__name__}` needs `{name}`: {entry} for each completion. "
            f"Received: columns {sorted(columns)}"
        )
    return found


def references(reward: Reward, columns: Columns) -> list[list[str]]:
    """Returns B lists of references: what good completions look like; [] for None."""
    entries = column(reward, columns, "references", "a string or a list of strings")
    return [_as_list(reward, entry) for entry in entries]


def _as_list(reward: Reward, entry: object) -> list[str]:
    if entry is None:
        return []
    texts = [entry] if isinstance(entry, str) else entry
    if (
        not isinstance(texts, Sequence)
        or not texts
        or not all(isinstance(text, str) and text.strip() for text in texts)
    ):
        raise ValueError(
            f"`{type(reward).__name__}` needs references that are not blank: a string, "
            "a list of strings, or None for a completion that cannot be scored. "
            f"Received: {entry!r}"
        )
    return list(texts)


def token_ids(reward: Reward, columns: Columns, name: str) -> list[Array]:
    """Returns B int64 arrays of "prompt_ids" or "completion_ids", one id a token."""
    rows = column(reward, columns, name, "a list of token ids")
    return [np.asarray(ids, np.int64) for ids in rows]


def serialize(reward: RewardFunction) -> Config:
    """Turns a `Reward` into `{"class_name": …, "config": …}`, which JSON can hold.

    A function cannot be restored; it is refused with a `ValueError`.
    """
    if not isinstance(reward, Reward):
        raise ValueError(
            "Only an instance of `kpg.rewards.Reward` can be serialized; make the "
            f"function a subclass of it. Received: {reward!r}"
        )
    return {"class_name": type(reward).__name__, "config": reward.get_config()}


def deserialize(config: Mapping[str, Any]) -> Reward:
    """Makes the reward that `serialize` was given; without "config", with its defaults.

    The class is one of `kpg.rewards`, or a subclass of `Reward` whose module was
    imported; another one is refused with a `ValueError`.
    """
    if config["class_name"] not in _CLASSES:
        raise ValueError(
            f"`class_name` must be one of {sorted(_CLASSES)}; import the module that "
            f"defines another one. Received: {config['class_name']!r}"
        )
    return _CLASSES[config["class_name"]].from_config(config.get("config", {}))
