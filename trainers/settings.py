"""Settings of the trainers: plain, frozen, checked; also their configuration."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

from kpg import schedules

_Settings = TypeVar("_Settings", bound="TrainerSettings")


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """What all trainers can be told.

    Attributes:
        num_steps: Steps of each environment in one iteration, ≥ 1.
        gamma: Discount, in [0, 1].
        ent_coef: Weight of the entropy bonus (in nats), ≥ 0.
        ent_coef_schedule: "constant", or "linear" to bring the weight of the entropy
            bonus to 0 over one `fit`.
        vf_coef: Weight of the value loss, ≥ 0.
        max_grad_norm: Largest global norm of a gradient; larger ones are scaled down.
            `None` does not clip.
        learning_rate_schedule: "constant", or "linear" to bring the optimizer's
            learning rate to 0 over one `fit`.
        normalize_advantages: Whether advantages of a minibatch get mean 0 and standard
            deviation 1.
        normalize_observations: Whether the models' running moments follow the
            observations. They are updated after each iteration, so that the policy that
            collects is exactly the one that is updated.
        normalize_rewards: Whether rewards are divided by the running standard deviation
            of the discounted return (and clipped to ±10).
    """

    learning_rate_schedules: ClassVar[tuple[str, ...]] = schedules.SCHEDULES

    num_steps: int = 128
    gamma: float = 0.99
    ent_coef: float = 0.0
    ent_coef_schedule: str = "constant"
    vf_coef: float = 0.5
    max_grad_norm: float | None = 0.5
    learning_rate_schedule: str = "constant"
    normalize_advantages: bool = True
    normalize_observations: bool = False
    normalize_rewards: bool = False

    def __post_init__(self) -> None:
        """Checks every field; subclasses add theirs and call this."""
        self._check_count("num_steps")
        self._check_fraction("gamma")
        self._check_number("ent_coef", low=0.0)
        self._check_number("vf_coef", low=0.0)
        if self.max_grad_norm is not None:
            self._check_positive("max_grad_norm")
        self._check_choice("learning_rate_schedule", self.learning_rate_schedules)
        self._check_choice("ent_coef_schedule", schedules.SCHEDULES)
        self.check_effect("ent_coef_schedule", self.ent_coef > 0, "ent_coef=0")
        for field in dataclasses.fields(self):
            if field.type == "bool" and not isinstance(getattr(self, field.name), bool):
                self._refuse(field.name, "must be True or False")

    def _refuse(self, name: str, wanted: str) -> None:
        value = getattr(self, name)
        raise ValueError(f"`{name}` {wanted}. Received: {name}={value!r}")

    def _check_count(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self._refuse(name, "must be a whole number of at least 1")

    def _check_number(self, name: str, low: float, high: float = math.inf) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high or math.isinf(value):
            limit = f"in [{low:g}, {high:g}]" if high < math.inf else f"≥ {low:g}"
            self._refuse(name, f"must be a finite number {limit}")

    def _check_fraction(self, name: str) -> None:
        self._check_number(name, 0.0, 1.0)

    def _check_positive(self, name: str) -> None:
        self._check_number(name, 0.0)
        if getattr(self, name) == 0:
            self._refuse(name, "must be greater than 0")

    def _check_choice(self, name: str, choices: Sequence[str]) -> None:
        if getattr(self, name) not in choices:
            self._refuse(name, f"must be one of {', '.join(choices)}")

    def check_effect(self, name: str, effective: bool, reason: str) -> None:
        """Refuses a setting that was changed and would silently do nothing."""
        default = type(self).__dataclass_fields__[name].default
        if not effective and getattr(self, name) != default:
            self._refuse(name, f"has no effect with {reason}; leave it out")

    @classmethod
    def make(cls: type[_Settings], values: dict[str, Any]) -> _Settings:
        """Makes settings from keyword arguments.

        Raises:
            ValueError: If a name is unknown (the closest known ones are told) or a
                value is out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=3)
                hint = (
                    f"Did you mean {' or '.join(close)}?"
                    if close
                    else (f"It knows {', '.join(known)}.")
                )
                raise ValueError(
                    f"{cls.__name__.removesuffix('Settings')} has no such setting. "
                    f"{hint} Received: {name}={values[name]!r}"
                )
        return cls(**values)
