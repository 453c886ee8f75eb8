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
from typing import Any, TypeAlias

import tensorflow as tf

from kpg.export.language.completions import CompletionSignatures
from kpg.export.loading import versions
from kpg.export.loading.servable import Servable, quiet
from kpg.export.wire.errors import ServingError, VerificationError
from kpg.export.writing import manifest, warmup
from kpg.export.writing.signatures import Signatures
from kpg.export.writing.verification import Parity, verify
from kpg.models.language.language_policy import LanguagePolicy

_Offered: TypeAlias = Signatures | CompletionSignatures


@dataclass(frozen=True)
class Export:
    """What was published.

    Attributes:
        path: The version's directory.
        version: Its number.
        parity_max_abs: Largest absolute difference between an exported and a live
            floating-point output.
        signatures: For each signature, the data type and shape of `inputs` and
            `outputs` by name.
    """

    path: str
    version: int
    parity_max_abs: float
    signatures: dict[str, Any]


def export_policy(
    trainer_or_policy: Any,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    max_new_tokens: int | None = None,
) -> str:
    """Exports a policy for TensorFlow Serving and `kpg serve`.

    See `publish`, which also reports what was checked.

    Args:
        trainer_or_policy: See `publish`.
        directory: See `publish`.
        version: See `publish`.
        max_new_tokens: See `publish`.

    Returns:
        The path of the version's directory.

    Raises:
        ValueError: See `publish`.
    """
    return publish(
        trainer_or_policy, directory, version=version, max_new_tokens=max_new_tokens
    ).path


def publish(
    trainer_or_policy: Any,
    directory: str | os.PathLike[str],
    *,
    version: int | None = None,
    notes: Mapping[str, Any] | None = None,
    max_new_tokens: int | None = None,
) -> Export:
    """Exports a policy, and says what was checked.

    The SavedModel is written to a hidden directory, compared with the live policy in
    both of TensorFlow's loaders, given warm-up requests that are replayed once, and
    only then renamed to its version: a server that polls `directory` sees all of it or
    nothing.

    Args:
        trainer_or_policy: A trainer with `policy` and perhaps `critic`, or a policy.
        directory: The model's directory, made if need be; versions are its
            sub-directories.
        version: An integer ≥ 1 that is not there yet. Defaults to the next free one.
        notes: Put into the manifest as they are, such as
            `{"env": "MountainCar-v0", "return_mean": -98.2}`. Defaults to none.
        max_new_tokens: Of a language policy only: tokens of a completion at most,
            which requests cannot exceed. Defaults to those that it was trained with,
            which the trainer knows, else to 64, or half of what the model reads.

    Returns:
        Path, version, parity and signatures.

    Raises:
        ValueError: If the first argument is no policy, the notes are not JSON, or the
            version exists or is not a version; nothing has been changed then.
        VerificationError: A ValueError: the exported model does not do what the live
            one does; nothing has been published.
    """
    _check_notes(notes)
    signatures = _signatures(trainer_or_policy, max_new_tokens)
    base = _base(directory)
    _check_version(base, version)
    with _staging(base) as stage:
        _write(signatures, stage, base.name)
        parity = _verify(signatures, stage)
        described = _warm(stage)
        number = versions.next_free(base) if version is None else version
        manifest.write(
            stage,
            version=number,
            spaces=signatures.spaces,
            signatures=described,
            parity=parity,
            notes=notes or {},
            settings=signatures.settings,
        )
        path = _publish(stage, base, number)
    return Export(str(path), number, parity.max_abs, manifest.describe(described))


def _signatures(trainer_or_policy: Any, max_new_tokens: int | None) -> _Offered:
    """Returns what the policy can be asked."""
    policy, critic = _models(trainer_or_policy)
    if isinstance(policy, LanguagePolicy):
        settings = getattr(trainer_or_policy, "settings", None)
        return CompletionSignatures(
            policy, max_new_tokens or getattr(settings, "num_steps", None)
        )
    if max_new_tokens is not None:
        raise ValueError(
            "`max_new_tokens` has no effect on a policy that writes no text; leave it "
            f"out. Received: max_new_tokens={max_new_tokens}"
        )
    return Signatures(policy, critic)


def _models(trainer_or_policy: Any) -> tuple[Any, Any | None]:
    """Returns the policy and the critic, if there is one."""
    policy = getattr(trainer_or_policy, "policy", trainer_or_policy)
    critic = getattr(trainer_or_policy, "critic", None)
    for name in ("family", "observation_space"):
        if not hasattr(policy, name):
            raise ValueError(
                "What to export must be a trainer or a kpg.models.Policy. "
                f"Received: {type(trainer_or_policy).__name__}"
            )
    return policy, critic


def _check_notes(notes: Mapping[str, Any] | None) -> None:
    try:
        json.dumps(notes, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "notes must hold what JSON can: finite numbers, strings, lists and "
            f"dictionaries. Received: {error}"
        ) from error


def _base(directory: str | os.PathLike[str]) -> Path:
    base = Path(directory).absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            "The model's directory must be one that can be made and written to. "
            f"Received: {directory} ({error.strerror})"
        ) from error
    return base


def _check_version(base: Path, version: int | None) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(
            "version must be an integer of at least 1, or None for the next free one. "
            f"Received: version={version!r}"
        )
    if version in versions.published(base):
        raise _exists(base, version)


def _exists(base: Path, version: int) -> ValueError:
    return ValueError(
        "A version that servers may have loaded is never overwritten; leave version "
        f"away to take the next free one. Received: version={version}, which exists in "
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


def _write(signatures: _Offered, stage: Path, model_name: str) -> None:
    module, functions = signatures.module()
    with quiet():  # no "Assets written to" the staging directory
        tf.saved_model.save(module, str(stage), signatures=functions)
    requests = [
        request
        for size in signatures.warm_batch_sizes
        for request in signatures.examples(size)
    ]
    warmup.write(stage, model_name, requests)


def _verify(signatures: _Offered, stage: Path) -> Parity:
    examples = [
        example
        for size in signatures.verified_batch_sizes
        for example in signatures.examples(size)
    ]
    with quiet():  # nor that the live policy builds a graph for each shape
        return verify(stage, signatures.live, examples)


def _warm(stage: Path) -> dict[str, Any]:
    """Replays the warm-up requests, and returns the signatures as a server has them."""
    servable = Servable(stage)
    try:
        warmup.replay(servable)
        return servable.signatures
    except ServingError as error:
        raise VerificationError(
            f"The warm-up requests of an export must run. Received: {error}"
        ) from error
    finally:
        servable.close()


def _publish(stage: Path, base: Path, version: int) -> Path:
    """Makes the staged version durable, then visible."""
    for folder, _, names in os.walk(stage):
        for name in names:
            _sync(Path(folder, name))
        _sync(Path(folder))
    path = base / str(version)
    # rename() replaces an empty directory without a word.
    if version in versions.published(base):
        raise _exists(base, version)
    try:
        os.rename(stage, path)
    except OSError as error:
        raise ValueError(
            "The new version must be free to take its place; export again. "
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
