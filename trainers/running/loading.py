"""Loads what `Trainer.save` wrote."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path

import keras

from kpg.trainers.trainer import Trainer


def load(filepath: str | os.PathLike[str]) -> Trainer:
    """Loads a trainer, compiled as it was, from a file of `Trainer.save`.

    It has its weights, optimizer and counters; the next `fit` begins new episodes. A
    file that is missing, truncated or of another model is a `ValueError`.
    """
    path = Path(filepath)
    if not path.is_file():
        raise ValueError(
            "There is no such file; give the path of a `.keras` file that a trainer "
            f"saved. Received: {str(path)!r}"
        )
    if not _is_whole_zip(path):
        raise ValueError(
            "The file is truncated or is no `.keras` file; save the trainer again. "
            f"Received: {str(path)!r}"
        )
    try:
        loaded = keras.saving.load_model(path)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        reason = (str(error).strip() or "no reason").splitlines()[0]
        raise ValueError(
            f"The file cannot be loaded: {reason}. Received: {str(path)!r}"
        ) from error
    if not isinstance(loaded, Trainer):
        raise ValueError(
            "The file holds another kind of model; load it with "
            "`keras.saving.load_model`. Received: "
            f"{type(loaded).__name__} in {str(path)!r}"
        )
    return loaded


def _is_whole_zip(path: Path) -> bool:
    """Whether every member of the archive has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error):
        return False
