"""Loads what `Trainer.save` wrote."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path

import keras

from kpg.trainers.running.sharing import knowing
from kpg.trainers.trainer import Trainer
from kpg.types import Config


def load(
    filepath: str | os.PathLike[str],
    custom_objects: Config | None = None,
    compile: bool = True,
    safe_mode: bool = True,
) -> Trainer:
    """Loads a trainer, compiled as it was, from a file of `Trainer.save`.

    It has its weights, optimizer and counters; the next `fit` begins new episodes. The
    other arguments are those of `keras.saving.load_model`. A file that is missing,
    truncated, of another model or of unknown classes is a `ValueError`.
    """
    path = Path(filepath)
    best = path / "best.keras"
    if best.is_file():
        raise ValueError(
            "This is a run directory; load a trainer in it: type "
            f"`kpg.load({str(best)!r})`. Received: {str(path)!r}"
        )
    if not path.is_file():
        raise ValueError(
            "There is no such file; give the path of a `.keras` file that a trainer "
            f"saved. Received: {str(path)!r}"
        )
    if not is_whole(path):
        raise ValueError(
            "The file is truncated or is no `.keras` file; save the trainer again. "
            f"Received: {str(path)!r}"
        )
    try:
        with knowing(custom_objects):
            loaded = keras.saving.load_model(path, None, compile, safe_mode)
    except Exception as error:  # any code of a user may run here
        raise ValueError(
            f"The file cannot be loaded: {_reason(error)} A class that is not "
            "registered can be given as `kpg.load(…, custom_objects={'Name': Name})`, "
            "and a file that you trust may hold lambdas with `safe_mode=False`. "
            f"Received: {str(path)!r}"
        ) from error
    if not isinstance(loaded, Trainer):
        raise ValueError(
            "The file holds another kind of model; load it with "
            "`keras.saving.load_model`. Received: "
            f"{type(loaded).__name__} in {str(path)!r}"
        )
    return loaded


def _reason(error: Exception) -> str:
    """Returns Keras's own words, without the configurations that it repeats."""
    text = str(error).rpartition("Exception encountered: ")[-1]
    text = re.split(r"\s*(?:Full object config|Full config|config=\{)", text)[0]
    text = " ".join(text.split()).rstrip(". ")
    return f"{type(error).__name__}: {text[:800]}."


def is_whole(path: Path) -> bool:
    """Whether a file is an archive, every member of which has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error):
        return False
