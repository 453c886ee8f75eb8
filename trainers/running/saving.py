"""Writes trainers' files aside before renaming them, and revives models."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import keras

from kpg.types import Config


def write_aside(path: Path, overwrite: bool, write: Callable[[Path], None]) -> None:
    """Writes a file aside and renames it, so that there is always a whole one."""
    if path.exists() and not overwrite:
        raise ValueError(
            "The file exists; give another name or `overwrite=True`. "
            f"Received: filepath={str(path)!r}"
        )
    aside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        write(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def revived_models(config: Config, custom_objects: Config | None = None) -> Config:
    """Returns a trainer's configuration with its models made anew.

    A critic on the policy's trunk gets the new policy's.
    """
    config = dict(config)
    revive = keras.saving.deserialize_keras_object
    policy = config["policy"] = revive(config["policy"], custom_objects)
    critic = config["critic"]
    if critic is not None and critic["config"].get("trunk"):
        kind = keras.saving.get_registered_object(critic["registered_name"])
        config["critic"] = kind.from_config(critic["config"], trunk=policy)
    elif critic is not None:
        config["critic"] = revive(critic, custom_objects)
    if config.get("executor") is not None:
        config["executor"] = revive(config["executor"], custom_objects)
    return config
