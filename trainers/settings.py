"""The settings of trainers: frozen, checked when made, with a configuration."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, NoReturn, TypedDict

import keras
from typing_extensions import Self

from kpg import checks, schedules, values
from kpg.advantages.estimator import Estimator
from kpg.advantages.estimators import ESTIMATORS
from kpg.trainers.learning.reference import KL
from kpg.types import Config
from kpg.values import Value

# What users say to a trainer that is said elsewhere.
_PLACES = {
    "compile(optimizer=keras.optimizers.Adam(3e-4))": "learning_rate lr optimizer",
    "compile(…)": "jit_compile steps_per_execution",
    "fit(env, epochs=…, steps_per_epoch=…)": "env total_steps total_timesteps",
    "fit(…)": "callback callbacks validation_data verbose",
    "fit(callbacks=[keras.callbacks.TensorBoard(…)])": "tensorboard_log",
    "kpg.make(id, num_envs=…)": "n_envs num_envs",
    "kpg.models.Policy(…)": "activation backbone distribution hidden_units "
    "log_std_init memory net_arch policy_kwargs",
    "tf.device(…), around everything": "device",
    "ActorCritic(…, advantage=VTrace()), which weighs what older policies did by their "
    "ratio once; PPO would twice, and clip it": "replay replay_num_fragments "
    "replay_ratio",
}


class Option(NamedTuple):
    """A setting whose value is an object of `base`, and how to write it flat.

    `known` classes have a name, `flat` maps flat names to arguments (`{"n_step":
    "n"}`), and a `switch` that is not 0 selects the only known class.
    """

    base: type[Value]
    known: Mapping[str, type[Value]]
    flat: Mapping[str, str]
    switch: str = ""

    def read(
        self, name: str, given: object, default: object, flat: Mapping[str, object]
    ) -> Value | None:
        """Returns the value meant by a value, class, name, configuration or `None`.

        Flat arguments change the default's; a `ValueError` names one without effect.
        """
        if given is None and flat.get(self.switch):
            (given,) = self.known.values()
        meant = type(given) if isinstance(given, Value) and given is default else given
        kind = values.kind_of(name, meant, self.base, self.known)
        accepted = () if kind is None else values.arguments_of(kind)
        arguments = {}
        if kind is not None and kind is type(default):
            # A bare class or name means the default, if that is one of its objects.
            arguments = {own: getattr(default, own) for own in accepted}
        for flat_name, value in flat.items():
            if self.flat[flat_name] in accepted:
                arguments[self.flat[flat_name]] = value
            elif value not in self._defaults(flat_name, default):
                checks.refuse(
                    flat_name, f"has no effect with {name}={given!r}; omit it", value
                )
        if given is None:
            return None
        try:
            return values.get(name, meant, self.base, self.known, arguments)
        except ValueError as error:
            raise ValueError(self._in_flat_names(str(error), flat)) from error

    def _in_flat_names(self, text: str, flat: Mapping[str, object]) -> str:
        """Puts the user's flat names into an error message."""
        for flat_name, argument in self.flat.items() if flat else ():
            text = re.sub(rf"(?<!\w){argument}(?==|`)", flat_name, text)
        return text

    def _defaults(self, flat_name: str, default: object) -> list[object]:
        """Returns a flat name's defaults, which older files contain; 0 is off."""
        argument = self.flat[flat_name]
        fields = [
            field
            for kind in self.known.values()
            for field in dataclasses.fields(kind)  # type: ignore[arg-type]
            if field.name == argument
        ]
        known = [0 if flat_name == self.switch else field.default for field in fields]
        return [*known, getattr(default, argument, None)]


ADVANTAGE = Option(
    Estimator,
    ESTIMATORS,
    dict(gae_lambda="gae_lambda", n_step="n", clip_rho="clip_rho", clip_c="clip_c"),
)


class TrainerArguments(TypedDict, total=False):
    """The settings of every trainer as keyword arguments."""

    executor: keras.Model | None
    name: str | None
    num_steps: int
    gamma: float
    ent_coef: float
    ent_coef_schedule: str
    vf_coef: float
    max_grad_norm: float | None
    learning_rate_schedule: str
    normalize_advantages: bool
    normalize_observations: bool
    normalize_rewards: bool
    micro_batch_size: int | None
    reference: KL | None
    reference_kl_coef: float
    reference_kl_in: str
    reference_kl_estimator: str | None
    reference_kl_target: float | None
    reference_kl_horizon: int
    reference_kl_dtype: str | None


@dataclasses.dataclass(frozen=True)
class TrainerSettings:
    """The settings of every trainer.

    Attributes:
        num_steps: Steps of each environment per iteration, ≥ 1. Defaults to 128, or, in
            `fit` on a text task, to its `max_new_tokens`.
        gamma: Discount in [0, 1]. Defaults to 0.99.
        ent_coef: Weight of the entropy bonus (in nats), ≥ 0. Defaults to 0.
        ent_coef_schedule: "constant", or "linear" to 0 over one `fit`.
        vf_coef: Weight of the value loss, ≥ 0. Defaults to 0.5.
        max_grad_norm: Bound on a gradient's global norm, or `None`. Defaults to 0.5.
        learning_rate_schedule: "constant", or "linear" to 0 over one `fit`.
        normalize_advantages: Whether to standardise the advantages of each minibatch.
        normalize_observations: Whether the models' running moments follow the
            observations, after each iteration, so that the policy that collects is the
            one that is updated.
        normalize_rewards: Whether to divide rewards by the running standard deviation
            of the discounted return, and clip them to ±10.
        micro_batch_size: Rows of a minibatch that are learned from at a time, to save
            memory; for texts and recurrent models whole texts or fragments. The
            gradients of a minibatch's parts are added up, so that the step is the same
            but for rounding. It divides a minibatch on each replica. Defaults to
            `None`: the whole minibatch.
        reference: `kpg.trainers.KL(0.05, …)`, a penalty on the drift from a fixed
            policy: that of `Trainer.set_reference`, or the one at the start of the
            first `fit`. The metric `reference_kl` is an iteration's divergence before
            its updates, in nats per step. Flat: `reference_kl_coef`, `reference_kl_in`,
            `reference_kl_estimator`, `reference_kl_target`, `reference_kl_horizon`,
            `reference_kl_dtype`.
            Defaults to `None`.
    """

    learning_rate_schedules: ClassVar[tuple[str, ...]] = schedules.SCHEDULES
    options: ClassVar[dict[str, Option]] = {
        "reference": Option(
            KL,
            {"kl": KL},
            {
                "reference_kl_coef": "coef",
                "reference_kl_in": "inside",
                "reference_kl_estimator": "estimator",
                "reference_kl_target": "target",
                "reference_kl_horizon": "horizon",
                "reference_kl_dtype": "dtype",
            },
            switch="reference_kl_coef",
        )
    }

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
    micro_batch_size: int | None = None
    reference: KL | None = None

    def __post_init__(self) -> None:
        """Checks every field; derived classes add theirs."""
        checks.make_plain(self)
        checks.whole_number("num_steps", self.num_steps)
        checks.fraction("gamma", self.gamma)
        checks.number("ent_coef", self.ent_coef, low=0.0)
        checks.number("vf_coef", self.vf_coef, low=0.0)
        if self.max_grad_norm is not None:
            checks.positive("max_grad_norm", self.max_grad_norm)
        checks.choice(
            "learning_rate_schedule",
            self.learning_rate_schedule,
            self.learning_rate_schedules,
        )
        if self.micro_batch_size is not None:
            checks.whole_number("micro_batch_size", self.micro_batch_size)
        checks.choice("ent_coef_schedule", self.ent_coef_schedule, schedules.SCHEDULES)
        self.check_effect("ent_coef_schedule", self.ent_coef > 0, "ent_coef=0")
        for field in dataclasses.fields(self):
            if field.type == "bool":
                checks.flag(field.name, getattr(self, field.name))

    @property
    def uses_critic(self) -> bool:
        """Whether a critic is part of an algorithm with these settings."""
        return True

    def refuse(self, name: str, wanted: str) -> NoReturn:
        """Raises a `ValueError` about a setting's value."""
        checks.refuse(name, wanted, getattr(self, name))

    def check_effect(self, name: str, effective: bool, reason: str) -> None:
        """Refuses a setting that was changed but would silently do nothing."""
        default = type(self).__dataclass_fields__[name].default
        if not effective and getattr(self, name) != default:
            self.refuse(name, f"has no effect with {reason}; omit it")

    @classmethod
    def names(cls) -> list[str]:
        """Returns every name that `make` accepts, flat ones included."""
        flat = [name for option in cls.options.values() for name in option.flat]
        fields = [field.name for field in dataclasses.fields(cls)]
        return [*fields, *(name for name in flat if name not in fields)]

    @classmethod
    def make(cls, arguments: Mapping[str, object]) -> Self:
        """Makes settings from arguments, flat or not, or raises a `ValueError`."""
        known = cls.names()
        for name in arguments:
            if name not in known:
                places = [p for p, names in _PLACES.items() if name in names.split()]
                told = f"Say it to {places[0]}." if places else checks.hint(name, known)
                raise ValueError(
                    f"{cls.__name__.removesuffix('Settings')} has no such setting. "
                    f"{told} Received: {name}={arguments[name]!r}"
                )
        chosen: dict[str, Any] = dict(arguments)
        for name, option in cls.options.items():
            flat = {f: chosen.pop(f) for f in option.flat if f in chosen}
            default = cls.__dataclass_fields__[name].default
            chosen[name] = option.read(name, chosen.get(name, default), default, flat)
        return cls(**chosen)

    def get_config(self) -> Config:
        """Returns the settings by name; Keras serialises those that are objects."""
        serialize = keras.saving.serialize_keras_object
        config = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: serialize(value) if isinstance(value, Value) else value
            for name, value in config.items()
        }
