"""Checks of what a user gave; each returns the value, NumPy's as Python's."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar, cast

from kpg.types import InputNumber

_T = TypeVar("_T")

# What other libraries call the same thing.
_ELSEWHERE = {
    "activation": "activation_fn",
    "clip_range": "clip_coef clip_eps clip_epsilon clip_param clip_ratio cliprange "
    "clipping_epsilon epsilon eps_clip importance_ratio_clipping ppo_clipping_epsilon",
    "ent_coef": "ent_coeff ent_weight entropy_beta entropy_coef entropy_coeff "
    "entropy_cost entropy_regularization",
    "episodes": "eval_episodes n_episodes n_eval_episodes num_episodes",
    "gae_lambda": "gae_lam lam lambd lambda_ lmbda",
    "gamma": "discount discount_factor discounting",
    "hidden_units": "fcnet_hiddens hidden_dims hidden_sizes layer_sizes net_arch units",
    "learning_rate": "lr",
    "learning_rate_schedule": "anneal_lr lr_decay lr_schedule",
    "max_grad_norm": "clip_grad_norm clipnorm global_clipnorm grad_clip gradient_clip",
    "max_steps": "max_episode_steps",
    "memory_units": "lstm_hidden_size rnn_units",
    "minibatch_size": "batch_size mini_batch_size nminibatches num_minibatches "
    "sgd_minibatch_size",
    "normalize_advantages": "adv_norm norm_adv normalize_advantage whiten_advantages",
    "normalize_observations": "norm_obs normalize_obs",
    "normalize_rewards": "norm_reward normalize_reward",
    "num_envs": "env_num n_envs num_environments num_workers",
    "num_epochs": "k_epochs n_epochs noptepochs num_ppo_epochs num_sgd_iter ppo_epochs "
    "repeat_per_collect update_epochs",
    "num_steps": "horizon n_steps rollout_fragment_length rollout_length rollout_steps "
    "unroll_length",
    "reference_kl_coef": "beta init_kl_coef kl_beta",
    "seed": "random_seed random_state",
    "value_clip_range": "clip_range_vf clip_vloss cliprange_value vf_clip_param",
    "vf_coef": "baseline_cost critic_coef value_coef value_coeff value_loss_coef "
    "vf_coeff vf_loss_coeff",
}


def refuse(name: str, wanted: str, value: object) -> NoReturn:
    """Raises a `ValueError` that says what is wanted and what was received."""
    raise ValueError(f"`{name}` {wanted}. Received: {name}={value!r}")


def plain(value: _T) -> _T:
    """Returns a NumPy scalar as Python's number or bool, and all else as it is."""
    np = sys.modules.get("numpy")  # which takes longer than `kpg --help` may
    scalar = np and isinstance(value, (np.generic, np.ndarray)) and not np.ndim(value)
    # A checker does not connect the two lines.
    return value.item() if scalar else value  # type: ignore[attr-defined]


def make_plain(settings: Any) -> None:
    """Makes the fields of a dataclass `plain`, even of a frozen one."""
    for field in dataclasses.fields(settings):
        value = plain(getattr(settings, field.name))
        object.__setattr__(settings, field.name, value)


def seed(value: object, name: str = "seed") -> int | None:
    """Returns a seed, a whole number or `None`."""
    value = plain(value)
    if value is not None and not isinstance(value, int):
        refuse(name, "must be a whole number or None", value)
    return value


def whole_number(name: str, value: object, low: int = 1) -> int:
    """Returns an integer of at least `low`; `True` and `2.0` are none."""
    value = plain(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        refuse(name, f"must be a whole number of at least {low}", value)
    return value


def int32(name: str, value: object) -> int:
    """Returns an integer that TensorFlow's int32 holds."""
    value = plain(value)
    known = isinstance(value, int) and not isinstance(value, bool)
    if not known or not -(2**31) <= cast("int", value) < 2**31:
        refuse(name, "must be a whole number in [-2**31, 2**31)", value)
    return cast("int", value)


def whole_numbers(name: str, values: object) -> tuple[int, ...]:
    """Returns integers of at least 1 as a tuple."""
    if not isinstance(values, Iterable) or isinstance(values, str):
        refuse(name, "must be a sequence of whole numbers, such as (64, 64)", values)
    return tuple(whole_number(name, value) for value in values)


def number(
    name: str, value: object, low: float = -math.inf, high: float = math.inf
) -> float:
    """Returns a finite number in [low, high]."""
    value = plain(value)
    known = isinstance(value, (int, float, InputNumber)) and not isinstance(value, bool)
    found = cast("float", value)  # an input answers as a number does
    if not known or not low <= found <= high or found in (math.inf, -math.inf):
        if high < math.inf:
            limit = f" in [{low:g}, {high:g}]"
        else:
            limit = "" if math.isinf(low) else f" ≥ {low:g}"
        refuse(name, f"must be a finite number{limit}", value)
    return found


def fraction(name: str, value: object) -> float:
    """Returns a number in [0, 1]."""
    return number(name, value, 0.0, 1.0)


def positive(name: str, value: object) -> float:
    """Returns a finite number greater than 0."""
    if number(name, value, 0.0) == 0:
        refuse(name, "must be greater than 0", value)
    return number(name, value)


def choice(name: str, value: _T, choices: Iterable[_T]) -> _T:
    """Returns one of `choices`."""
    known = tuple(choices)
    if value not in known:
        refuse(name, f"must be one of {', '.join(map(str, known))}", value)
    return value


def flag(name: str, value: object) -> bool:
    """Returns `True` or `False`."""
    value = plain(value)
    if not isinstance(value, bool):
        refuse(name, "must be True or False", value)
    return value


def meant(name: str, known: Iterable[str]) -> list[str]:
    """Returns those of the known names which other libraries call `name`."""
    words = {ours: others.split() for ours, others in _ELSEWHERE.items()}
    return [ours for ours in known if name.lower() in words.get(ours, ())]


def close(name: str, known: Iterable[str]) -> list[str]:
    """Returns the known names that `name` may stand for, the closest first."""
    known = list(known)
    return meant(name, known) or difflib.get_close_matches(name, known, n=3)


def hint(name: str, known: Iterable[str]) -> str:
    """Returns "Did you mean …?" with the names closest to one, or all known names."""
    known = list(known)
    if found := close(name, known):
        return f"Did you mean {' or '.join(found)}?"
    return f"Known: {', '.join(known)}."
