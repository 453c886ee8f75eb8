"""A preset: a task's tuned settings, and how a user changes them.

Each task has a JSON file of settings by algorithm; the first one is the default.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from kpg import checks
from kpg.cli import algorithms, declared
from kpg.types import Config

# Every algorithm has its own way of cutting experience into pieces to learn from.
_OF_ONE_ALGORITHM = {"num_steps", "num_epochs", "minibatch_size"}

# What a user may write in Python is what may be written on the command line.
_PYTHON_WORDS = {"True": True, "False": False, "None": None}


@dataclasses.dataclass(frozen=True)
class Preset:
    """All that `kpg train` needs besides the seed, in plain values: names and numbers.

    Attributes:
        env: Id of the environment or task.
        algorithm: PPO, ActorCritic, REINFORCE, a recipe (grpo, dr_grpo, dapo, gspo,
            rloo), or module:Name of a trainer of your own, looked for in the current
            folder too.
        num_envs: Environments stepped together, ≥ 1.
        total_steps: The most environment steps to take; as many whole iterations as fit
            into them are trained.
        learning_rate: Of Adam, > 0, for policy and critic.
        steps_per_epoch: Iterations between validations. Defaults to `None`: there are
            about 50 epochs.
        steps_per_execution: Iterations of one call of TensorFlow. Defaults to `None`:
            an epoch if the environment is in the graph, else one.
        jit_compile: Whether XLA compiles; "auto" decides. Defaults to "auto".
        validation_episodes: Episodes that judge an epoch, ≥ 1. Defaults to 100.
        policy: Arguments of `kpg.models.Policy`, which the critic shares, or of
            `kpg.text.gpt2` and `kpg.models.CausalLMPolicy`.
        trainer: Settings of the algorithm.
        task: Those of `kpg.cli.language.task.Task`.
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
    policy: Config = dataclasses.field(default_factory=dict)
    trainer: Config = dataclasses.field(default_factory=dict)
    task: Config = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("num_envs", "total_steps", "validation_episodes"):
            checks.whole_number(name, getattr(self, name))
        for name in ("steps_per_epoch", "steps_per_execution"):
            if getattr(self, name) is not None:
                checks.whole_number(name, getattr(self, name))
        checks.positive("learning_rate", self.learning_rate)
        checks.choice("jit_compile", self.jit_compile, (True, False, "auto"))
        algorithms.check_name(self.algorithm)


_PARTS = ("env", "policy", "trainer", "task")
_OF_DISTRIBUTION = ("distribution", "state_dependent_std", "log_std_init")
OWN_KEYS = tuple(f.name for f in dataclasses.fields(Preset) if f.name not in _PARTS)


def names(package: str) -> list[str]:
    """Returns the names of the presets of a package."""
    files = (resources.files(package) / "presets").iterdir()
    stems = (f.name.removesuffix(".json") for f in files if f.name.endswith(".json"))
    return sorted(stems)


def read(package: str, name: str) -> dict[str, Config]:
    """Reads a preset file: settings by algorithm."""
    file = resources.files(package) / "presets" / f"{name}.json"
    entries: dict[str, Config] = json.loads(file.read_text(encoding="utf-8"))
    return entries


def select(env: str, entries: Mapping[str, Config], algorithm: str) -> Preset:
    """Takes the settings tuned for an algorithm, or adapts those of another one.

    A class of your own takes those of its nearest base class that has some. Without
    one, the first entry is adapted: only settings that the algorithm knows are kept,
    minus those that each algorithm must choose. Raises `ValueError` for an unknown one.
    """
    if algorithm in entries:
        return Preset(env=env, algorithm=algorithm, **entries[algorithm])
    kind = algorithms.find(algorithm)
    known = set(algorithms.settings_names(kind))
    tuned = [base for base in algorithms.bases(kind) if base in entries]
    recipe = algorithms.recipe(algorithm)
    if recipe or not tuned:
        known -= _OF_ONE_ALGORITHM
    if recipe:
        known -= algorithms.OF_CRITIC
    entry = dict(entries[tuned[0] if tuned else next(iter(entries))])
    trainer = entry.pop("trainer")
    kept = {key: value for key, value in trainer.items() if key in known} | recipe
    return Preset(env=env, algorithm=algorithm, trainer=kept, **entry)


def parse_assignment(text: str) -> tuple[str, object]:
    """Splits `key=value`, or raises a `ValueError`; see `value_of`."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(f"A setting is written as key=value. Received: {text!r}")
    return key, value_of(value)


def value_of(text: str) -> object:
    """Reads a value: JSON, or Python's True, False or None, or else text."""
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    try:
        parsed: object = json.loads(text)
    except ValueError:
        return text
    # 3e6 is a float in JSON, and the usual way to write three million steps.
    if isinstance(parsed, float) and "." not in text and parsed.is_integer():
        return int(parsed)
    return parsed


def read_settings(path: str) -> Config:
    """Reads settings by name, also out of a run's `settings.json`.

    Those of its parts, `policy`, `trainer` and `task`, may also stand outside of them.
    Raises a `ValueError` if it is no JSON or YAML of settings.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = _yaml(text) if path.endswith((".yaml", ".yml")) else json.loads(text)
        found = found.get("preset", found)
        parts = [found.pop(name, {}) for name in _PARTS[1:]]
        return {**found, **{k: v for part in parts for k, v in part.items()}}
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(
            'A JSON or YAML file of settings by name is wanted, such as {"gamma": 0.99}'
            f", or the settings.json of a run. Received: {path} ({error})"
        ) from error


def _yaml(text: str) -> Any:
    import yaml

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    return _with_numbers(found)


def _with_numbers(found: object) -> object:
    """Reads 3e-4, which YAML 1.1 takes for text, as the number that it is."""
    if isinstance(found, dict):
        return {key: _with_numbers(value) for key, value in found.items()}
    if isinstance(found, str):
        value = value_of(found)
        return value if isinstance(value, (int, float)) else found
    return found


def with_settings(
    preset: Preset,
    settings: Mapping[str, object],
    *,
    policy: Sequence[str],
    trainer: Sequence[str],
    task: Sequence[str] = (),
) -> Preset:
    """Puts a user's settings over a preset, by the names that each part accepts.

    What trainer and task both know, such as the size of a group, goes to both. Raises a
    `ValueError` that hints at close names if none knows it.
    """
    known = [*OWN_KEYS, *policy, *trainer, *task]
    for key in settings:
        if key not in known:
            raise declared.unknown(preset.algorithm, key, known)

    def part(old: Config, accepted: Iterable[str]) -> Config:
        return {**old, **{k: v for k, v in settings.items() if k in accepted}}

    rest = set(policy) - set(trainer)
    before = preset.policy
    if "distribution" in settings:  # another one need not know what is tuned
        before = {k: v for k, v in before.items() if k not in _OF_DISTRIBUTION}
    return dataclasses.replace(
        preset,
        policy=part(before, rest - set(OWN_KEYS)),
        trainer=part(preset.trainer, set(trainer) - set(OWN_KEYS)),
        task=part(preset.task, set(task) - set(OWN_KEYS) - rest),
        **part({}, OWN_KEYS),
    )
