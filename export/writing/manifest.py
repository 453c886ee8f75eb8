"""What an export is made of, written beside it for people and for later checks."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kpg.export.loading import operations
from kpg.export.wire import tensors
from kpg.export.writing.verification import Parity
from kpg.version import __version__

PATH = Path("assets.extra", "kpg_manifest.json")

_PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "gymnasium", "numpy")


def write(
    directory: Path,
    *,
    version: int,
    spaces: Mapping[str, Any],
    signatures: Mapping[str, Any],
    parity: Parity,
    notes: Mapping[str, Any],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes `assets.extra/kpg_manifest.json`; every other file must be there already.

    Args:
        directory: The SavedModel's directory.
        version: The version that it is going to be.
        spaces: The `observation` and the `action` space, see `kpg.spaces.to_config`.
        signatures: SignatureDef messages by name.
        parity: What verification found.
        notes: Anything else worth knowing, such as `env` and `return_mean`.
        settings: What the signatures were made with. Defaults to nothing.
    """
    content = {
        "version": version,
        "notes": dict(notes),
        "settings": dict(settings or {}),
        "spaces": dict(spaces),
        "signatures": describe(signatures),
        "parity": {"max_abs": parity.max_abs, "outputs": parity.outputs},
        "operations": list(parity.operations),
        "operations_beyond_tensorflow": operations.not_core(parity.operations),
        "packages": _packages(),
        "sha256": hashes(directory),
    }
    path = directory / PATH
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", "utf-8")


def describe(signatures: Mapping[str, Any]) -> dict[str, Any]:
    """Describes signatures as plain data.

    Args:
        signatures: SignatureDef messages by name.

    Returns:
        For each public signature, `inputs` and `outputs`: name to `dtype` (NumPy's
        name) and `shape`, with None for a size that varies.
    """
    return {
        name: {
            "inputs": _describe(signature.inputs),
            "outputs": _describe(signature.outputs),
        }
        for name, signature in sorted(signatures.items())
        if not name.startswith("__")
    }


def hashes(directory: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file below `directory`, but for the manifest itself.

    Args:
        directory: The SavedModel's directory.

    Returns:
        Hexadecimal digests by path relative to `directory`.
    """
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


def _describe(infos: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "dtype": _dtype(info.dtype),
            "shape": [dim.size if dim.size >= 0 else None for dim in _dims(info)],
        }
        for name, info in sorted(infos.items())
    }


def _dims(info: Any) -> Any:
    return info.tensor_shape.dim


def _dtype(number: int) -> str:
    kind = tensors.kind_of_number(number)
    if kind is None:
        return tensors.type_name(number)
    return "string" if kind.name == "string" else kind.dtype.name


def _packages() -> dict[str, str]:
    found = {"kpg": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # such as tensorflow installed as -cpu
            continue
    return found
