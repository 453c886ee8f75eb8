"""Writes trainers' files aside before renaming them, and revives models."""

from __future__ import annotations

import os
from pathlib import Path

import keras
from typing_extensions import Self

from kpg import checks, files
from kpg.models.critic import Critic
from kpg.models.policy import Policy
from kpg.models.tracked_model import TrackedModel
from kpg.trainers.running.programs import Programs
from kpg.trainers.running.sharing import knowing, reviving, serialized
from kpg.trainers.settings import TrainerSettings
from kpg.types import Config

_OPTIMIZERS = ("optimizer", "critic_optimizer", "executor_optimizer")


def revived_models(config: Config, custom_objects: Config | None = None) -> Config:
    """Returns a trainer's configuration with new models, which share as before."""
    config = dict(config)
    revive = keras.saving.deserialize_keras_object
    with knowing(custom_objects), reviving():
        policy = config["policy"] = revive(config["policy"])
        critic = config["critic"]
        if critic is not None and critic["config"].get("trunk"):
            kind = keras.saving.get_registered_object(critic["registered_name"])
            config["critic"] = kind.from_config(critic["config"], trunk=policy)
        else:
            config["critic"] = revive(critic)
        config["executor"] = revive(config.get("executor"))
    return config


class SavedTrainer(TrackedModel):
    """How a trainer is saved and revived."""

    policy: Policy
    critic: Critic | None
    executor: keras.Model | None
    seed: int | None
    effective_seed: int
    settings: TrainerSettings
    _said: frozenset[str]
    _programs: Programs
    _auto_scale_loss: bool
    _on_nonfinite: str

    def save(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: object
    ) -> None:
        """Saves models, settings, optimizer and counters; see `keras.Model.save`.

        The file holds the learning rates that a schedule starts from, not what it has
        made of them so far.
        """
        if kwargs.get("zipped") is False:
            checks.refuse("zipped", "must be left out: `kpg.load` reads a file", False)
        if not str(filepath).endswith(".keras"):
            raise ValueError(
                "A trainer is saved as a `.keras` file: type "
                f"`save({str(Path(filepath).with_suffix('.keras'))!r})`. "
                "`save_weights('….weights.h5')` writes weights alone, and "
                "`kpg.export.export_policy` a SavedModel. Received: "
                f"filepath={str(filepath)!r}"
            )
        path, write = Path(filepath), super().save
        if path.exists() and not overwrite:
            raise ValueError(
                "The file exists; give another name or `overwrite=True`. "
                f"Received: filepath={str(path)!r}"
            )
        with self._programs.at_base_rates():
            files.write_aside(path, lambda aside: write(aside, **kwargs))

    def save_weights(
        self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: object
    ) -> None:
        """See `save` and `keras.Model.save_weights`."""
        with self._programs.at_base_rates():
            super().save_weights(filepath, overwrite, **kwargs)

    def __reduce__(self) -> tuple[object, ...]:
        with self._programs.at_base_rates():
            reduced: tuple[object, ...] = super().__reduce__()
        return reduced

    def get_config(self) -> Config:
        """See `keras.Model.get_config`."""
        models = serialized((self.policy, self.critic, self.executor))
        settings = self.settings.get_config()
        for name in {"num_steps", "minibatch_size"} - self._said:
            # An environment may still decide; see `Trainer.fit`.
            if settings.get(name) == getattr(type(self.settings), name, None):
                settings.pop(name, None)
        return {
            "name": self.name,
            **dict(zip(("policy", "critic", "executor"), models, strict=True)),
            # Also one that was drawn: a file goes on with the same numbers.
            "seed": self.effective_seed if self.seed is None else self.seed,
            **settings,
        }

    @classmethod
    def from_config(cls, config: Config, custom_objects: Config | None = None) -> Self:
        """See `keras.Model.from_config`."""
        return cls(**revived_models(config, custom_objects))

    def get_compile_config(self) -> Config:
        """See `keras.Model.get_compile_config`."""
        if not self.compiled:
            return {}
        serialize = keras.saving.serialize_keras_object
        return {
            **{name: serialize(getattr(self, name)) for name in _OPTIMIZERS},
            "steps_per_execution": self._programs.iterations_per_call or "auto",
            "jit_compile": self._programs.jit_compile,
            "auto_scale_loss": self._auto_scale_loss,
            "worker_deadline": self._programs.worker_deadline,
            "on_nonfinite": self._on_nonfinite,
        }

    def compile_from_config(self, config: Config) -> None:
        """See `keras.Model.compile_from_config`."""
        revive = keras.saving.deserialize_keras_object
        given = [name for name in _OPTIMIZERS if name in config]
        optimizers = {name: revive(config[name]) for name in given}
        self.compile(**{**config, **optimizers})
