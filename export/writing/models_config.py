"""The file that tells a server which versions of which models it serves, and as what.

Reference: https://www.tensorflow.org/tfx/serving/serving_config.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kpg.export.loading import versions


def configure(
    file: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    labels: Mapping[str, int] | None = None,
    *,
    model_name: str | None = None,
) -> frozenset[int]:
    """Writes a model into a `--model_config_file`, and labels some of its versions.

    Nothing else in the file changes, not even the model's `base_path` if it is there
    already: a container may see another one. A server gets the newest version, and each
    that has a label; labels of versions that are gone are removed.

    Args:
        file: The file, in protocol buffers' text format; made if need be. It is
            replaced in one step, so a server that polls it never reads half of it.
        directory: The model's directory, with at least one version.
        labels: Versions by label, such as `{"stable": 3}`; a label that another version
            has moves. Defaults to none.
        model_name: What clients call the model. Defaults to the directory's name.

    Returns:
        The versions that have a label.

    Raises:
        ValueError: If a version does not exist, or the file cannot be read or written.
    """
    base, path = Path(directory).absolute(), Path(file)
    found = set(versions.published(base)) if base.is_dir() else set()
    missing = {k: v for k, v in (labels or {}).items() if v not in found}
    if missing or not found:
        raise ValueError(
            f"A version that is served must be in {base}, which has "
            f"{sorted(found) or 'none'}. Received: labels={dict(labels or {})!r}"
        )
    config = _read(path)
    name = model_name or base.name
    models = config.model_config_list.config
    model = next((one for one in models if one.name == name), None) or models.add(
        name=name, base_path=str(base), model_platform="tensorflow"
    )
    kept = {k: v for k, v in model.version_labels.items() if v in found}
    model.version_labels.clear()
    model.version_labels.update(kept | dict(labels or {}))
    labelled = frozenset(model.version_labels.values())
    policy = model.model_version_policy
    if labelled and not policy.HasField("all"):
        policy.specific.Clear()
        policy.specific.versions.extend(sorted({*labelled, max(found)}))
    _replace(path, text_format.MessageToString(config))
    return labelled


def _read(path: Path) -> model_server_config_pb2.ModelServerConfig:
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(path.read_text("utf-8") if path.exists() else "", config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ValueError(
            "A file of models must be TensorFlow Serving's, in the text format of "
            f"protocol buffers; correct or remove it. Received: {path} ({error})"
        ) from error
    return config


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        beside.write_text(text, "utf-8")
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ValueError(
            "It must be possible to write the file of models; it is unchanged. "
            f"Received: {path} ({error.strerror})"
        ) from error
