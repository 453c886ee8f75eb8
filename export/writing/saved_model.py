"""From a trained policy to a version directory that any TensorFlow can serve."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from kpg import checks
from kpg.export.loading import versions
from kpg.export.writing import formats, manifest, staging
from kpg.export.writing.offer import offer_of
from kpg.export.writing.own_signatures import Function, extended
from kpg.types import Config


@dataclass(frozen=True)
class Export:
    """What was published.

    Attributes:
        path: The version's directory.
        version: Its number.
        parity_max_abs: Largest absolute difference between an exported and a live
            floating-point output.
        signatures: `docs`, `inputs` and `outputs` by signature. Inputs and outputs are
            by name, with `dtype` (NumPy's name) and `shape` (None for what varies).
    """

    path: str
    version: int
    parity_max_abs: float
    signatures: Config


def export_policy(
    trainer_or_policy: object,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    format: str = "saved_model",
    signatures: Mapping[str, Function] | None = None,
    max_new_tokens: int | None = None,
) -> str:
    """Does what `publish` does, and only returns the path."""
    return publish(
        trainer_or_policy,
        directory,
        version=version,
        format=format,
        signatures=signatures,
        max_new_tokens=max_new_tokens,
    ).path


def publish(
    trainer_or_policy: object,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    format: str = "saved_model",
    notes: Mapping[str, object] | None = None,
    signatures: Mapping[str, Function] | None = None,
    max_new_tokens: int | None = None,
) -> Export:
    """Exports a policy for TensorFlow Serving and `kpg serve`, and reports the checks.

    The SavedModel is written to a hidden directory, compared with the live policy in
    both of TensorFlow's loaders, and given warm-up requests, which are replayed once.
    Only then is it renamed: a server that polls `directory` sees all of it or nothing.
    The other formats are compared in their own runtimes, and published the same way.

    Args:
        trainer_or_policy: A trainer with `policy` and perhaps `critic`, or a policy.
        directory: The model's directory, made if need be. Versions are sub-directories.
        version: An integer ≥ 1 that is not there yet. Defaults to the next free one.
        format: "saved_model"; or "litert" or "onnx", files `model.tflite` and
            `model.onnx` with the greedy actions, see docs/export.md. Defaults to
            "saved_model".
        notes: For the manifest, such as `{"env": "MountainCar-v0"}`. Defaults to none.
        signatures: Functions of your own by signature name. Parameters are named after
            the exported inputs that they receive, in batches `[B, ...]` as the models
            take them; `observation` is the whole observation, nested like the space.
            A function returns a tensor `[B, ...]`, which is named after the signature,
            or a dictionary of them. It is traced once. Defaults to none.
        max_new_tokens: For language policies: upper limit on the tokens of a
            completion, which no request can exceed. Defaults to that of the trainer,
            else to 64, or half of what the model reads if that is less.

    Raises:
        ValueError: If an argument does not fit, or the disk is full. Nothing has been
            published, and the versions that were there are unchanged.
        VerificationError: A ValueError: the exported model does not do what the live
            one does, or the format cannot hold it.
        ImportError: If the format needs a package that is not installed.
    """
    _check_notes(notes)
    if version is not None:
        version = checks.whole_number("version", version)
    form = formats.get(format)
    offer = form.held(extended(offer_of(trainer_or_policy, max_new_tokens), signatures))
    for signature in offer.signatures.values():
        signature.check()
    base = staging.base_of(directory)
    staging.check_free(base, version)
    with staging.staging(base) as stage:
        form.write(offer, stage, base.name)
        parity = form.verify(stage, offer)
        number = versions.next_free(base) if version is None else version
        manifest.write(stage, number, format, offer, parity, notes or {})
        path = staging.publish(stage, base, number)
    return Export(str(path), number, parity.max_abs, manifest.describe(offer))


def _check_notes(notes: Mapping[str, object] | None) -> None:
    try:
        json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`notes` must be JSON: finite numbers, strings, lists and dictionaries. "
            f"Received: {error}"
        ) from error
