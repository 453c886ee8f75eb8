"""Names that users bring from elsewhere, such as `keras.Model`'s arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import NoReturn

from kpg import checks

_LOSS = "the algorithm has its loss; override its `policy_loss` or `value_loss`"
_METRICS = "return metrics from `policy_loss`, or add them to the logs in a callback"
_EPISODES = "the length of an evaluation is `episodes`"
_DATA = "experience comes from the environment"
_REPLACED: dict[str, dict[str, str]] = {
    "compile": {
        "loss": _LOSS,
        "loss_weights": "weigh the losses by the settings `vf_coef` and `ent_coef`",
        "metrics": _METRICS,
        "weighted_metrics": _METRICS,
        "run_eagerly": "call `tf.config.run_functions_eagerly(True)` before `fit`",
    },
    "fit": {
        **dict.fromkeys(("x", "y", "class_weight", "sample_weight"), _DATA),
        "batch_size": "set `num_steps`, `num_envs` and PPO's `minibatch_size`",
        "shuffle": "PPO always shuffles the rows of its epochs",
        "validation_split": "give `validation_data` an environment of another seed",
        "validation_steps": "the length of a validation is `validation_episodes`",
        "validation_batch_size": "the environment's `num_envs` says it",
    },
    "evaluate": {
        **dict.fromkeys(("x", "y", "sample_weight"), _DATA),
        "batch_size": "the environment's `num_envs` says it",
        "steps": _EPISODES,
        "return_dict": "the result is always a dictionary",
    },
}
_STEPS = "an epoch has steps_per_epoch * num_steps * num_envs steps"


class Elsewhere:
    """A method that a class does not have; the error says what to type instead."""

    def __init__(self, instead: str) -> None:
        self.instead = instead

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, model: object, kind: type) -> NoReturn:
        raise AttributeError(
            f"{kind.__name__} has no attribute {self.name!r}; type {self.instead}"
        )


def refuse_others(
    name: str, others: Mapping[str, object], method: Callable[..., object]
) -> None:
    """Raises a `ValueError` about keyword arguments that a method does not take."""
    known = [*inspect.signature(method).parameters][1:-1]
    for other, value in others.items():
        if other == "return_dict" and value is True:
            continue  # as it is
        told = f"There is no such argument. {checks.hint(other, known)}"
        if "total" in other or "timesteps" in other:
            told = f"Say epochs=… and steps_per_epoch=…: {_STEPS}."
        if other in _REPLACED[name]:
            told = f"A trainer does without `{other}`: {_REPLACED[name][other]}."
        raise ValueError(f"`{name}`: {told} Received: {other}={value!r}")
