"""Which distribution a `Box` of actions gets: values with their own arguments."""

from __future__ import annotations

import dataclasses
import inspect
from abc import ABC, abstractmethod
from typing import TypeAlias

import gymnasium as gym
import keras
from typing_extensions import Self, override

from kpg import checks, contracts, imports, values
from kpg.distributions.beta import BetaFamily
from kpg.distributions.family import Family
from kpg.distributions.normal import NormalFamily
from kpg.distributions.tanh_normal import TanhNormalFamily
from kpg.types import Config


class Distribution(values.Value, ABC):
    """A kind of distribution over the `Box` parts of an action space.

    Derive a frozen dataclass for one with arguments; a family that needs only the space
    is passed as a class: `distribution=MyFamily`.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        contracts.check_names(cls, Distribution)

    @abstractmethod
    def family(self, action_space: gym.spaces.Box) -> Family:
        """Returns the family over a `Box`; a `ValueError` if that is not possible."""


@dataclasses.dataclass(frozen=True)
class _Scaled(Distribution):
    """A distribution with standard deviations."""

    state_dependent_std: bool = False
    log_std_init: float = 0.0

    def __post_init__(self) -> None:
        checks.flag("state_dependent_std", self.state_dependent_std)
        checks.number("log_std_init", self.log_std_init)
        if self.state_dependent_std and self.log_std_init:
            raise ValueError(
                "`log_std_init` is the initial value of a weight, and with "
                "`state_dependent_std` there is none: the network's outputs start near "
                f"0. Leave one of them out. Received: {self}"
            )


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class Normal(_Scaled):
    """Normal distributions; the environment receives clipped samples.

    Args:
        state_dependent_std: Whether the network outputs the standard deviations, too;
            otherwise they are weights of their own. Defaults to `False`.
        log_std_init: Initial logarithm of those weights. Defaults to 0.
        scaled: Whether a bounded Box has a unit of its own, in which means and standard
            deviations are: 0 is its centre and 1 its half-width, so that a new policy
            tries all of it. Defaults to `True`; what was saved without this field has
            `False`, the environment's numbers. Unbounded ones are the same either way.
    """

    scaled: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.flag("scaled", self.scaled)

    @override
    def family(self, action_space: gym.spaces.Box) -> Family:
        options = (self.state_dependent_std, self.log_std_init, self.scaled)
        return NormalFamily(action_space, *options)

    @classmethod
    @override
    def from_config(cls, config: Config) -> Self:
        return super().from_config({"scaled": False, **config})


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class TanhNormal(_Scaled):
    """Normal distributions squashed into finite bounds by a hyperbolic tangent.

    Args:
        state_dependent_std: See `Normal`.
        log_std_init: See `Normal`; it is that of the distribution before the tangent.
    """

    @override
    def family(self, action_space: gym.spaces.Box) -> Family:
        return TanhNormalFamily(
            action_space, self.state_dependent_std, self.log_std_init
        )


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class Beta(Distribution):
    """Beta distributions between finite bounds."""

    @override
    def family(self, action_space: gym.spaces.Box) -> Family:
        return BetaFamily(action_space)


@keras.saving.register_keras_serializable(package="kpg")
@dataclasses.dataclass(frozen=True)
class FamilyOf(Distribution):
    """The distributions of a family class of your own.

    Args:
        kind: The class, derived from `Family`; to be saved, it needs
            `@keras.saving.register_keras_serializable`.
        arguments: What it is made with, besides the space; a `ValueError` if it does
            not take them. Defaults to nothing.
    """

    kind: type[Family]
    arguments: Config = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isinstance(self.kind, type) and issubclass(self.kind, Family)):
            checks.refuse("kind", "must be a class derived from Family", self.kind)
        taken = inspect.signature(self.kind).parameters
        if any(p.kind is p.VAR_KEYWORD for p in taken.values()):
            return
        for name, value in self.arguments.items():
            if name not in taken:
                raise ValueError(
                    f"{self.kind.__name__} has no argument of that name; it takes "
                    f"{', '.join(taken)}. Received: {name}={value!r}"
                )

    @override
    def family(self, action_space: gym.spaces.Box) -> Family:
        kind: type = self.kind  # each class takes arguments of its own
        family: Family = kind(action_space, **self.arguments)
        return family

    @override
    def get_config(self) -> Config:
        name = keras.saving.get_registered_name(self.kind)
        return {"kind": name, "arguments": dict(self.arguments)}

    @classmethod
    @override
    def from_config(cls, config: Config) -> Self:
        kind = keras.saving.get_registered_object(config["kind"])
        if kind is None:
            raise ValueError(
                "The distribution's class is not known. Import the module that defines "
                "it, register it with @keras.saving.register_keras_serializable, or "
                f"pass `custom_objects`. Received: {config['kind']!r}"
            )
        return cls(kind, config["arguments"])


DistributionLike: TypeAlias = Distribution | type[Distribution] | type[Family] | str

DISTRIBUTIONS: dict[str, type[Distribution]] = {
    "normal": Normal,
    "tanh_normal": TanhNormal,
    "beta": Beta,
}


def get(
    distribution: DistributionLike,
    state_dependent_std: bool = False,
    log_std_init: float = 0.0,
) -> Distribution:
    """Returns a distribution given as in `for_space`, or as a configuration."""
    given = {"state_dependent_std": state_dependent_std, "log_std_init": log_std_init}
    arguments = {name: value for name, value in given.items() if value}
    found: object = distribution
    if isinstance(distribution, str) and ":" in distribution:
        found = imports.named(distribution)
    if isinstance(found, type) and issubclass(found, Family):
        return FamilyOf(found, arguments)
    return values.get("distribution", found, Distribution, DISTRIBUTIONS, arguments)
