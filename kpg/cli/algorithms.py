"""Algorithms by name, or your own as "module:Name"; TensorFlow is imported late."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from kpg import checks, contracts, imports
from kpg.types import Config

if TYPE_CHECKING:
    from kpg.cli.runs import Run
    from kpg.trainers.trainer import Trainer

KNOWN = {
    "PPO": "kpg.trainers.ppo:PPO",
    "ActorCritic": "kpg.trainers.actor_critic:ActorCritic",
    "REINFORCE": "kpg.trainers.reinforce:REINFORCE",
}
# Settings of PPO by name: `kpg.trainers.recipes`.
RECIPES = ("grpo", "dr_grpo", "dapo", "gspo", "rloo")
# Settings without effect where a baseline stands for the critic.
OF_CRITIC = {
    *("advantage", "gae_lambda", "n_step", "clip_rho", "clip_c"),
    *("recompute_advantages", "value_clip_range", "vf_coef"),
}
_PATH = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")


def check_name(name: object) -> str:
    """Returns a name of kpg's or a "module:Name", not imported; else a `ValueError`."""
    names = (*KNOWN, *RECIPES)
    if isinstance(name, str) and (name in names or _PATH.fullmatch(name)):
        return name
    own = "or module:Name of a trainer of your own"
    checks.refuse("algorithm", f"must be one of {', '.join(names)}, {own}", name)


def declared_by(name: object) -> str | None:
    """Returns the algorithm of kpg whose settings a name has; `None` for your own."""
    if check_name(name) in RECIPES:
        return "PPO"
    return str(name) if name in KNOWN else None


def recipe(name: str) -> Config:
    """Returns the settings that a name stands for; none if it is that of a class."""
    if name not in RECIPES:
        return {}
    found = cast("dict[str, Config]", imports.named("kpg.trainers.recipes:SETTINGS"))
    return dict(found[name])


def find(name: str) -> type[Trainer]:
    """Returns an algorithm's class, or a `ValueError` if it is no complete trainer."""
    known = declared_by(name)
    found = imports.named(name if known is None else KNOWN[known])
    from kpg.trainers.trainer import Trainer

    if not isinstance(found, type) or not issubclass(found, Trainer):
        checks.refuse("algorithm", "must be a subclass of `kpg.trainers.Trainer`", name)
    missing = contracts.missing(found)
    if missing:
        wanted = f"must be a trainer that defines {' and '.join(missing)}"
        checks.refuse("algorithm", wanted, name)
    return found


def bases(kind: type[Trainer]) -> list[str]:
    """Returns the algorithms of kpg that a class is or derives from, nearest first."""
    known = {imports.named(path): name for name, path in KNOWN.items()}
    return [known[base] for base in kind.__mro__ if base in known]


def settings_names(kind: type[Trainer]) -> list[str]:
    """Returns the names of all settings that an algorithm accepts."""
    return kind.settings_class.names()


def load(run: Run, choice: str = "best") -> Trainer:
    """Loads a run's best or last model, after the classes of your own that it needs.

    Raises a `ValueError` if there is no model, a class cannot be imported, or the file
    is damaged, and then says if the last model is whole.
    """
    path, own = run.model_file(choice), {}
    preset = run.settings().get("preset", {})
    parts = [preset.get(part, {}).values() for part in ("policy", "trainer")]
    for value in (preset.get("algorithm"), *parts[0], *parts[1]):
        if isinstance(value, str) and _PATH.fullmatch(value):
            try:
                found = imports.named(value)
            except ValueError as error:
                raise ValueError(
                    "This run needs code of your own. Run the command in the folder "
                    f"where it was trained, or install the module. {error}"
                ) from error
            if isinstance(found, type):
                own[found.__name__] = found
    import keras

    from kpg.trainers.running.loading import is_whole
    from kpg.trainers.running.loading import load as load_trainer

    if path == run.best_file and not is_whole(path) and is_whole(run.last_file):
        raise ValueError(
            f"{path.name} is damaged, but {run.last_file.name} beside it, the model at "
            f"the end of training, is whole: remove {path.name} to take that one. "
            f"Received: {path}"
        )
    with keras.saving.custom_object_scope(own):
        return load_trainer(str(path))
