"""A description of an export, written beside it for people and for later checks."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import tensorflow as tf

from kpg import spaces
from kpg.export.loading.supported_operations import not_core
from kpg.export.writing.offer import Offer
from kpg.export.writing.verification import Parity
from kpg.types import Config
from kpg.version import __version__

PATH = Path("assets.extra", "kpg_manifest.json")

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def write(
    directory: Path,
    version: int,
    format: str,
    offer: Offer,
    parity: Parity,
    notes: Mapping[str, object],
) -> None:
    """Writes the manifest of the version in `directory`, whose other files exist."""
    content = {
        "version": version,
        "format": format,
        "notes": dict(notes),
        "settings": offer.settings,
        "spaces": {
            "observation": spaces.to_config(offer.policy.observation_space),
            "action": spaces.to_config(offer.policy.action_space),
        },
        "signatures": describe(offer),
        "parity": {"max_abs": parity.max_abs, "outputs": parity.outputs},
        "operations": list(parity.operations),
        "operations_beyond_tensorflow": not_core(parity.operations),
        "packages": _packages(),
        "sha256": hashes(directory),
    }
    path = directory / PATH
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def describe(offer: Offer) -> Config:
    """Returns the signatures of an offer, as in `Export.signatures`."""
    return {
        name: {
            "docs": signature.docs,
            "inputs": _describe(signature.inputs),
            "outputs": _describe(signature.traced.structured_outputs),
        }
        for name, signature in sorted(offer.signatures.items())
    }


def hashes(directory: Path) -> dict[str, str]:
    """Returns the hexadecimal SHA-256 of each other file, by its relative path."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): _digest(path)
        for path in sorted(files)
        if path != directory / PATH
    }


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _describe(specs: Mapping[str, tf.TensorSpec]) -> Config:
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()}
        for name, spec in sorted(specs.items())
    }


def _packages() -> dict[str, str]:
    found = {"kpg": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # such as tensorflow installed as -cpu
            continue
    return found
