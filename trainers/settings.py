"""Settings of the trainers: plain, frozen, checked; also their configuration."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn, TypeVar

from kpg import losses, schedules

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
        reference_kl_coef: β, weight of a penalty on KL(π ‖ π_ref), the drift from a
            fixed reference: the policy when its first `fit` began, or what
            `Trainer.set_reference` was given. ≥ 0; 0 has no reference at all. The
            metric `reference_kl` is the divergence of an iteration before its updates,
            in nats for each step. Defaults to 0.
        reference_kl_in: "reward": each step's reward is lessened by β · k1, before
            rewards are normalised and advantages estimated; the logged returns are
            those of the environment. With γ = 1 the best policy is then π_ref ·
            exp(R / β) / Z over whole episodes. Or "loss": the loss gains β · mean(k);
            see `kpg.losses.reference_kl`. An action then does not answer for the drift
            in the steps that follow it, and β weighs against the advantages as they
            are, normalised or not. Defaults to "reward".
        reference_kl_estimator: "k1", "k2" or "k3" of `kpg.losses.kl_estimates`. Only k1
            goes into the reward: the gradient of E[k] is E[k ∇log π] + E[∇k], the
            reward gives the first term alone, and of the three only k1 has none but
            that. Defaults to `None`, k1 in the reward and k3 in the loss.
        reference_kl_target: Drift > 0 in nats for each step that β is adapted to after
            each iteration, by `kpg.adaptation.proportional_kl_coefficient`; the metric
            `reference_kl_coef` is β. 6 nats for texts of 24 tokens, as in the paper,
            are 0.25. Defaults to `None`, a fixed β.
        reference_kl_horizon: Episodes over which β follows; an iteration counts as one
            of each environment. At most 20 % of an error, times the part of the horizon
            that an iteration is, changes β. Defaults to 10000, that of the paper's
            code.
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
    reference_kl_coef: float = 0.0
    reference_kl_in: str = "reward"
    reference_kl_estimator: str | None = None
    reference_kl_target: float | None = None
    reference_kl_horizon: int = 10_000

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
        self._check_reference()
        for field in dataclasses.fields(self):
            if field.type == "bool" and not isinstance(getattr(self, field.name), bool):
                self.refuse(field.name, "must be True or False")

    def _check_reference(self) -> None:
        self._check_number("reference_kl_coef", low=0.0)
        self._check_choice("reference_kl_in", ("reward", "loss"))
        self._check_choice("reference_kl_estimator", (None, *losses.KL_ESTIMATORS))
        if self.reference_kl_target is not None:
            self._check_positive("reference_kl_target")
        self._check_count("reference_kl_horizon")
        for name in ("in", "estimator", "target", "horizon"):
            effective, reason = self.reference_kl_coef > 0, "reference_kl_coef=0"
            self.check_effect(f"reference_kl_{name}", effective, reason)
        adapts = self.reference_kl_target is not None
        self.check_effect("reference_kl_horizon", adapts, "reference_kl_target=None")
        if self.reference_kl_in == "reward" and self.kl_estimator != "k1":
            self.refuse(
                "reference_kl_estimator",
                "must be k1 with reference_kl_in='reward': with another one rewards "
                "give only a part of the divergence's gradient; leave it out, or take "
                "reference_kl_in='loss'",
            )

    @property
    def kl_estimator(self) -> str:
        """The estimator of the drift from the reference."""
        default = "k1" if self.reference_kl_in == "reward" else "k3"
        return self.reference_kl_estimator or default

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raises a `ValueError` about the value of a setting."""
        value = getattr(self, name)
        raise ValueError(f"`{name}` {wanted}. Received: {name}={value!r}")

    def _check_count(self, name: str) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.refuse(name, "must be a whole number of at least 1")

    def _check_number(self, name: str, low: float, high: float = math.inf) -> None:
        value = getattr(self, name)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high or math.isinf(value):
            limit = f"in [{low:g}, {high:g}]" if high < math.inf else f"≥ {low:g}"
            self.refuse(name, f"must be a finite number {limit}")

    def _check_fraction(self, name: str) -> None:
        self._check_number(name, 0.0, 1.0)

    def _check_positive(self, name: str) -> None:
        self._check_number(name, 0.0)
        if getattr(self, name) == 0:
            self.refuse(name, "must be greater than 0")

    def _check_choice(self, name: str, choices: Sequence[str | None]) -> None:
        if getattr(self, name) not in choices:
            self.refuse(name, f"must be one of {', '.join(map(str, choices))}")

    def check_effect(self, name: str, effective: bool, reason: str) -> None:
        """Refuses a setting that was changed and would silently do nothing."""
        default = type(self).__dataclass_fields__[name].default
        if not effective and getattr(self, name) != default:
            self.refuse(name, f"has no effect with {reason}; leave it out")

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
