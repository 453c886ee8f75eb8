"""From a trained policy to a version directory that any TensorFlow can serve."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from kpg import checks
from kpg.export.loading import versions, warmup
from kpg.export.loading.servable import quiet
from kpg.export.writing import manifest
from kpg.export.writing.offer import Offer, offer_of
from kpg.export.writing.own_signatures import Function, extended
from kpg.export.writing.verification import verify
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
    signatures: Mapping[str, Function] | None = None,
    max_new_tokens: int | None = None,
) -> str:
    """Does what `publish` does, and only returns the path."""
    return publish(
        trainer_or_policy,
        directory,
        version=version,
        signatures=signatures,
        max_new_tokens=max_new_tokens,
    ).path


def publish(
    trainer_or_policy: object,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    notes: Mapping[str, object] | None = None,
    signatures: Mapping[str, Function] | None = None,
    max_new_tokens: int | None = None,
) -> Export:
    """Exports a policy for TensorFlow Serving and `kpg serve`, and reports the checks.

    The SavedModel is written to a hidden directory, compared with the live policy in
    both of TensorFlow's loaders, and given warm-up requests, which are replayed once.
    Only then is it renamed: a server that polls `directory` sees all of it or nothing.

    Args:
        trainer_or_policy: A trainer with `policy` and perhaps `critic`, or a policy.
        directory: The model's directory, made if need be. Versions are sub-directories.
        version: An integer ≥ 1 that is not there yet. Defaults to the next free one.
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
        ValueError: If an argument does not fit; nothing has been changed then.
        VerificationError: A ValueError: the exported model does not do what the live
            one does. Nothing has been published.
    """
    _check_notes(notes)
    if version is not None:
        version = checks.whole_number("version", version)
    offer = extended(offer_of(trainer_or_policy, max_new_tokens), signatures)
    for signature in offer.signatures.values():
        signature.check()
    base = _base(directory)
    if version is not None and version in versions.published(base):
        raise _exists(base, version)
    with _staging(base) as stage:
        _write(offer, stage, base.name)
        with quiet():  # the live policy builds a graph for each shape
            examples = offer.requests(offer.verified_batch_sizes)
            parity = verify(stage, offer.live, examples)
        described = manifest.describe(offer, parity.signatures)
        number = versions.next_free(base) if version is None else version
        manifest.write(stage, number, offer, described, parity, notes or {})
        path = _publish(stage, base, number)
    return Export(str(path), number, parity.max_abs, described)


def _check_notes(notes: Mapping[str, object] | None) -> None:
    try:
        json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`notes` must be JSON: finite numbers, strings, lists and dictionaries. "
            f"Received: {error}"
        ) from error


def _base(directory: str | os.PathLike[str]) -> Path:
    base = Path(directory).absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            "It must be possible to make the model's directory and write to it. "
            f"Received: {directory} ({error.strerror})"
        ) from error
    return base


def _exists(base: Path, version: int) -> ValueError:
    return ValueError(
        "A version that servers may have loaded is never overwritten; leave version "
        f"out to take the next free one. Received: version={version}, which exists in "
        f"{base}"
    )


@contextlib.contextmanager
def _staging(base: Path) -> Iterator[Path]:
    """Makes a directory that servers do not see, and leaves nothing of it behind."""
    # Not tempfile.mkdtemp: its directories can be read by their owner only, and a
    # server often runs as somebody else.
    stage = base / f".tmp-{os.getpid()}-{uuid.uuid4().hex}"
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _write(offer: Offer, stage: Path, model_name: str) -> None:
    functions = {name: one.traced for name, one in offer.signatures.items()}
    with quiet():  # no "Assets written to" the staging directory
        tf.saved_model.save(offer.module(), str(stage), signatures=functions)
    warmup.write(stage, model_name, offer.requests(offer.warm_batch_sizes))


def _publish(stage: Path, base: Path, version: int) -> Path:
    """Makes the staged version durable, then visible."""
    for folder, _, names in os.walk(stage):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))
    path = base / str(version)
    # rename() silently replaces an empty directory.
    if version in versions.published(base):
        raise _exists(base, version)
    try:
        os.rename(stage, path)
    except OSError as error:
        raise ValueError(
            "The version must not appear during the export; export again. "
            f"Received: {path} ({error.strerror})"
        ) from error
    _sync(base)
    return path


def _sync(path: Path) -> None:
    """Waits until a file or a directory has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
