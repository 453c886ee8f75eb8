"""Tuned settings, one data file per environment, and how a user changes them.

A file holds the settings of one or more algorithms by their names; the first is the
environment's default. An environment without a file of its own takes
`default_discrete` or `default_continuous`, after its action space. The text task
`text:NAME` has the file `text_NAME`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

ALGORITHMS = ("PPO", "ActorCritic", "REINFORCE")

# The length of a fragment and the number of passes over it mean something else to each
# algorithm.
_OF_ONE_ALGORITHM = {"num_steps", "num_epochs"}

# What a user may write in Python is what may be written on the command line.
_PYTHON_WORDS = {"True": True, "False": False, "None": None}


@dataclasses.dataclass(frozen=True)
class Preset:
    """Everything that `kpg train` needs to know besides the seed.

    Attributes:
        env: Gymnasium id.
        algorithm: Name of a trainer in `kpg.trainers`.
        num_envs: Environments stepped together, ≥ 1.
        total_steps: Budget of environment steps over all environments; training takes
            as many whole iterations as fit in it.
        learning_rate: Adam's, > 0.
        steps_per_epoch: Iterations between two validations. Defaults to `None`: as
            many as give about fifty epochs.
        steps_per_execution: Iterations in one call of the graph. Defaults to `None`:
            a whole epoch where the environment is in the graph, else 1.
        jit_compile: `compile`'s argument. Defaults to "auto".
        validation_episodes: Episodes of each validation, ≥ 1. Defaults to 100.
        policy: Arguments of `kpg.models.Policy`, which the critic shares; of a text
            task, those of `kpg.text.gpt2` and of `kpg.models.CausalLMPolicy`.
        trainer: Settings of the trainer.
        task: Of a text task: what `kpg.cli.commands.texts.Task` holds.
    """

    env: str
    algorithm: str
    num_envs: int
    total_steps: int
    learning_rate: float
    steps_per_epoch: int | None = None
    steps_per_execution: int | None = None
    jit_compile: bool | str = "auto"
    validation_episodes: int = 100
    policy: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trainer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks what no other part of kpg will check."""
        for name in (
            "num_envs",
            "total_steps",
            "validation_episodes",
            "steps_per_epoch",
            "steps_per_execution",
        ):
            value = getattr(self, name)
            optional = value is None and name.startswith("steps_per")
            if not optional and (type(value) is not int or value < 1):
                raise ValueError(
                    f"`{name}` must be a whole number of at least 1. "
                    f"Received: {name}={value!r}"
                )
        rate = self.learning_rate
        if type(rate) not in (int, float) or not 0 < rate < float("inf"):
            raise ValueError(
                "`learning_rate` must be a finite number greater than 0. "
                f"Received: learning_rate={rate!r}"
            )
        if self.jit_compile not in (True, False, "auto"):
            raise ValueError(
                '`jit_compile` must be True, False or "auto". '
                f"Received: jit_compile={self.jit_compile!r}"
            )
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"`algorithm` must be one of {', '.join(ALGORITHMS)}. "
                f"Received: algorithm={self.algorithm!r}"
            )


OWN_KEYS = tuple(
    field.name
    for field in dataclasses.fields(Preset)
    if field.name not in ("env", "policy", "trainer", "task")
)
_TEXT = "text:"


def is_text(env: str) -> bool:
    """Whether an id is that of a text task, such as "text:letters"."""
    return env.startswith(_TEXT)


def texts() -> list[str]:
    """Returns the ids of the text tasks."""
    stems = (stem for stem in _stems() if stem.startswith("text_"))
    return [stem.replace("_", ":", 1) for stem in stems]


def names() -> list[str]:
    """Returns the ids of the environments that have a preset."""
    return [stem for stem in _stems() if not stem.startswith(("default_", "text_"))]


def _stems() -> list[str]:
    files = (path.name for path in resources.files(__name__).iterdir())
    return sorted(
        name.removesuffix(".json") for name in files if name.endswith(".json")
    )


def algorithms(env: str, *, continuous: bool = False) -> list[str]:
    """Returns the algorithms that `load` has settings of; the first is the default.

    Args:
        env: Gymnasium id.
        continuous: See `load`.
    """
    return list(_entries(env, continuous))


def load(env: str, algorithm: str | None = None, *, continuous: bool = False) -> Preset:
    """Reads the preset of an environment, or the default one.

    Args:
        env: Gymnasium id.
        algorithm: Which of `algorithms(env)`. Defaults to `None`, the first.
        continuous: Whether the default for continuous actions is wanted, if the
            environment has no preset. Defaults to `False`.

    Raises:
        ValueError: If there are no settings of that algorithm.
    """
    entries = _entries(env, continuous)
    algorithm = next(iter(entries)) if algorithm is None else algorithm
    if algorithm not in entries:
        raise ValueError(
            f"`algorithm` must be one of {', '.join(entries)}, for which {env} has "
            f"settings; `with_algorithm` adapts them. Received: algorithm={algorithm!r}"
        )
    return Preset(env=env, algorithm=algorithm, **entries[algorithm])


def _entries(env: str, continuous: bool) -> dict[str, dict[str, Any]]:
    """Reads the settings of an environment by algorithm."""
    if is_text(env) and env not in texts():
        raise ValueError(
            f"A text task must be one of {', '.join(texts())}. Received: {env}"
        )
    default = "default_continuous" if continuous else "default_discrete"
    stem = env.replace(":", "_") if env in [*names(), *texts()] else default
    text = (resources.files(__name__) / f"{stem}.json").read_text(encoding="utf-8")
    entries: dict[str, dict[str, Any]] = json.loads(text)
    return entries


def parse_assignment(text: str) -> tuple[str, Any]:
    """Splits `key=value`; the value is JSON, or Python's True, False, None, or text.

    Raises:
        ValueError: If there is no `=`, or no key before it.

    Example:
        >>> parse_assignment("hidden_units=[32, 32]")
        ('hidden_units', [32, 32])
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(f"A setting is written as key=value. Received: {text!r}")
    if value in _PYTHON_WORDS:
        return key, _PYTHON_WORDS[value]
    try:
        parsed = json.loads(value)
    except ValueError:
        return key, value
    # 3e6 is a float in JSON, and the usual way to write three million steps.
    if isinstance(parsed, float) and "." not in value and parsed.is_integer():
        return key, int(parsed)
    return key, parsed


def with_algorithm(preset: Preset, algorithm: str, known: Sequence[str]) -> Preset:
    """Takes another algorithm, and only those tuned settings that it shares.

    Args:
        preset: The tuned settings.
        algorithm: Name of a trainer.
        known: Names of that trainer's settings.
    """
    shared = set(known) - _OF_ONE_ALGORITHM
    kept = {key: value for key, value in preset.trainer.items() if key in shared}
    return dataclasses.replace(preset, algorithm=algorithm, trainer=kept)


def with_settings(
    preset: Preset,
    settings: Mapping[str, Any],
    *,
    policy: Sequence[str],
    trainer: Sequence[str],
    task: Sequence[str] = (),
) -> Preset:
    """Puts a user's settings over those of the preset.

    Args:
        preset: The tuned settings.
        settings: Values by the names of the Python arguments.
        policy: Names of the policy's arguments that may be set.
        trainer: Names of the trainer's settings.
        task: Names of a text task's settings. Defaults to none.

    Raises:
        ValueError: If a name belongs to none of them (close ones are named), or a value
            is out of its range.
    """
    own: dict[str, Any] = {}
    of_policy, of_trainer = dict(preset.policy), dict(preset.trainer)
    of_task = dict(preset.task)
    for key, value in settings.items():
        if key in OWN_KEYS:
            own[key] = value
        elif key in trainer:
            of_trainer[key] = value
        elif key in policy:
            of_policy[key] = value
        elif key in task:
            of_task[key] = value
        else:
            known = [*OWN_KEYS, *policy, *trainer, *task]
            raise ValueError(_unknown(key, known, preset))
    return dataclasses.replace(
        preset, policy=of_policy, trainer=of_trainer, task=of_task, **own
    )


def _unknown(key: str, known: list[str], preset: Preset) -> str:
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = (
        f"Did you mean {' or '.join(close)}?"
        if close
        else f"There are {', '.join(sorted(set(known)))}."
    )
    return f"{preset.algorithm} has no setting {key!r}. {hint} Received: {key}"
