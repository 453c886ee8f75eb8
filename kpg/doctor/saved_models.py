"""What is wrong with a SavedModel, of whomever, for TensorFlow Serving to load it.

It is loaded as TensorFlow Serving loads it, into a session; Python's own loader is more
forgiving.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kpg.export.loading import supported_operations, versions, warmup
from kpg.export.loading.servable import Servable, quiet
from kpg.export.wire import names, tensors
from kpg.export.wire.errors import ServingError, VerificationError
from kpg.export.wire.tensors import SignatureDef
from kpg.export.writing import manifest
from kpg.testing.finding import Finding
from kpg.types import Array

NAMES = (
    "no_version",
    "outside_a_version",
    "twice_a_version",
    "leftovers",
    "changed_files",
    "no_serve_tag",
    "not_servable",
    "does_not_load",
    "no_signature",
    "no_default_signature",
    "not_dense",
    "no_numpy_type",
    "passing_names",
    "fixed_batch",
    "warm_up_fails",
    "no_warm_up",
    "does_not_run",
)

_FILE = "saved_model.pb"
_ROWS = (1, 3)
# What Keras calls inputs and outputs without a name.
_PASSING = re.compile(r"(keras_tensor|args?|inputs?|output)(_\d+)?")


def find(directory: str | os.PathLike[str]) -> bool:
    """Whether a directory is a SavedModel or has versions of a model in it."""
    path = Path(directory)
    return (path / _FILE).is_file() or bool(path.is_dir() and versions.published(path))


def diagnose_saved_model(directory: str | os.PathLike[str]) -> list[Finding]:
    """Examines a SavedModel, or the newest version in a model's directory.

    Nothing is written. A finding that is no note means that TensorFlow Serving, or
    `kpg serve`, does not serve the model or a signature of it.
    """
    return list(_examine(Path(directory)))


def _examine(base: Path) -> Iterator[Finding]:
    path = base
    if not (base / _FILE).is_file():
        found = versions.published(base)
        if not found:
            yield Finding(
                "no_version",
                "A server looks for directories whose names are integers, with a "
                f"{_FILE} in each, and finds none in {base}. `kpg export` makes one.",
            )
            return
        path = found[max(found)]
        yield from _around(base)
    elif versions.parse(base.absolute().name) is None:
        yield _note(
            "outside_a_version",
            f"A server is given the directory above and looks for integers there: move "
            f"this into {base / '1'}, and give it {base}.",
        )
    yield from _changed(path)
    try:
        tags = supported_operations.tags(path)
        if {"serve"} not in tags:
            yield Finding(
                "no_serve_tag",
                "A server loads the graph that is tagged `serve` and nothing else. The "
                f"tags here are {[sorted(one) for one in tags]}: save it with "
                "tf.saved_model.save, or tag it so.",
            )
            return
        supported_operations.check(path)
        with quiet():
            servable = Servable(path)
    except VerificationError as error:
        yield Finding("not_servable", str(error))
        return
    except ServingError as error:
        yield Finding("does_not_load", str(error))
        return
    try:
        yield from _loaded(servable)
    finally:
        servable.close()


def _around(base: Path) -> Iterator[Finding]:
    """Looks at what lies beside the newest version."""
    by_number: dict[int, list[str]] = {}
    for one in sorted(base.iterdir()):
        number = versions.parse(one.name)
        if number is not None and one.is_dir():
            by_number.setdefault(number, []).append(one.name)
    twice = [name for same in by_number.values() if len(same) > 1 for name in same]
    if twice:
        yield _note(
            "twice_a_version",
            "Several directories stand for one number, of which a server takes the "
            f"last: {', '.join(twice)}.",
        )
    hidden = [one.name for one in base.glob(".tmp-*")]
    if hidden:
        yield _note(
            "leftovers",
            f"{len(hidden)} export(s) are under way or were killed; the next one "
            "removes what the dead have left.",
        )


def _changed(path: Path) -> Iterator[Finding]:
    """Compares the files of an export of kpg's with its manifest."""
    file = path / manifest.PATH
    if not file.is_file():
        return
    try:
        written = json.loads(file.read_text("utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError):
        written = {}
    there = manifest.hashes(path)
    changed = sorted(
        k for k in written.keys() | there if written.get(k) != there.get(k)
    )
    if changed:
        yield Finding(
            "changed_files",
            "Files are missing, or were added or changed since the export was checked; "
            f"export or copy it again: {', '.join(changed)}.",
        )


def _loaded(servable: Servable) -> Iterator[Finding]:
    signatures = {
        name: one
        for name, one in sorted(servable.signatures.items())
        if not name.startswith("__")
    }
    if not signatures:
        yield Finding(
            "no_signature",
            "It has no signature, so there is nothing to ask it for. Use Model.export, "
            "or tf.saved_model.save(..., signatures={'serving_default': function}).",
        )
        return
    if names.GREEDY not in signatures:
        yield _note(
            "no_default_signature",
            f"A request that names no signature asks for {names.GREEDY}, which is not "
            f"one of {', '.join(signatures)}.",
        )
    for name, signature in signatures.items():
        yield from _signature(name, signature)
    try:
        with quiet():
            count = warmup.replay(servable)
    except ServingError as error:
        yield Finding(
            "warm_up_fails",
            f"A server refuses a version whose warm-up requests fail: {error}.",
        )
        return
    if not count:
        yield _note(
            "no_warm_up",
            f"There are no requests in {warmup.PATH}, so the first ones of clients "
            "take a hundred times as long.",
        )
        for name, signature in signatures.items():
            yield from _tried(servable, name, signature)


def _signature(name: str, signature: SignatureDef) -> Iterator[Finding]:
    """Looks at the names, types and shapes of one signature."""
    infos = {**signature.inputs, **signature.outputs}
    sparse = [k for k, one in infos.items() if one.WhichOneof("encoding") != "name"]
    if sparse:
        yield Finding(
            "not_dense",
            f"{name}: a request can only hold dense tensors, which these are not: "
            f"{', '.join(sorted(sparse))}.",
        )
    strange = [k for k, one in infos.items() if one.dtype not in tensors.BY_NUMBER]
    if strange:
        yield Finding(
            "no_numpy_type",
            f"{name}: these have types that NumPy does not, and that `kpg serve` and "
            f"most clients do not take; use tf.cast: {', '.join(sorted(strange))}.",
        )
    passing = sorted(filter(_PASSING.fullmatch, infos))
    if passing:
        yield _note(
            "passing_names",
            f"{name}: Keras made up names that the next export may not have; name the "
            f"inputs, and return a dictionary: {', '.join(passing)}.",
        )
    shapes = {k: tensors.shape_of(one) for k, one in signature.inputs.items()}
    fixed = [f"{k} {list(shape)}" for k, shape in sorted(shapes.items()) if shape]
    if fixed and all(
        shape is None or None not in shape[:1] for shape in shapes.values()
    ):
        yield _note(
            "fixed_batch",
            f"{name}: no input has a batch axis of any size, so requests cannot be of "
            f"several rows, nor batched: {', '.join(fixed)}.",
        )


def _tried(servable: Servable, name: str, signature: SignatureDef) -> Iterator[Finding]:
    """Runs a signature on ones, in batches of several sizes."""
    for rows in _ROWS:
        inputs = _ones(signature.inputs, rows)
        if inputs is None:
            return
        try:
            servable.run(name, inputs)
        except ServingError as error:
            yield _note(
                "does_not_run",
                f"{name}: it did not run on ones in a batch of {rows}: {error}.",
            )
            return


def _ones(
    infos: Mapping[str, tensors.TensorInfo], rows: int
) -> dict[str, Array] | None:
    """Makes inputs of ones, or `None` if it takes more than their shapes tell."""
    made = {}
    for name, info in infos.items():
        kind, shape = tensors.BY_NUMBER.get(info.dtype), tensors.shape_of(info)
        if kind is None or kind.name == "string" or shape is None:
            return None
        sizes = [rows if size is None else size for size in shape[:1]]
        sizes += [1 if size is None else size for size in shape[1:]]
        made[name] = np.ones(sizes, kind.dtype)
    return made


def _note(name: str, words: str) -> Finding:
    return Finding(name, words, note=True)
