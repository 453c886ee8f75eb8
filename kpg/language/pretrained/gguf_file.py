"""Files of the format GGUF: metadata and tensors, quantised or not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from kpg import imports
from kpg.types import Array

_MAGIC = b"GGUF"
_REQUIRED = object()


class GGUFFile:
    """Reads a GGUF file; its tensors stay on disk until they are asked for.

    The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._gguf = imports.optional("gguf", "gguf", "gguf", "A GGUF file")
        if not self.path.is_file():
            raise ValueError(f"`path` must be a GGUF file. Received: {self.path}")
        with self.path.open("rb") as file:
            magic = file.read(len(_MAGIC))
        if magic != _MAGIC:
            raise ValueError(
                f"A GGUF file begins with {_MAGIC!r}. Received: {self.path}, which "
                f"begins with {magic!r}"
            )
        try:
            reader = self._gguf.GGUFReader(self.path)
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(
                "A GGUF file must be complete and of a version that the package gguf "
                f"reads. Received: {self.path} ({error})"
            ) from error
        self._fields = reader.fields
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._read: set[str] = set()

    def value(self, key: str, default: object = _REQUIRED) -> Any:
        """Returns an entry of the metadata or, if there is none, `default`."""
        if key in self._fields:
            return self._fields[key].contents()
        if default is _REQUIRED:
            raise ValueError(f"{self.path} must have an entry {key}. Received: none")
        return default

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of a tensor, in NumPy's order."""
        if name not in self:
            raise ValueError(
                f"{self.path} must have every tensor of its architecture. Received: no "
                f"{name} among {len(self._tensors)} tensors"
            )
        # The file names the fastest axis first.
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def array(self, name: str) -> Array:
        """Returns a tensor in float32, whatever its quantisation."""
        shape, tensor = self.shape(name), self._tensors[name]
        try:
            values = self._gguf.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:  # the package does not know the type
            raise ValueError(
                "A tensor must be of a type that the package gguf reads; convert the "
                f"file to another one, such as Q8_0. Received: {name} of {self.path}, "
                f"{tensor.tensor_type!r}"
            ) from error
        self._read.add(name)
        return np.asarray(values, np.float32).reshape(shape)

    def unread(self) -> list[str]:
        """Returns the names of the tensors that were never read."""
        return sorted(set(self._tensors) - self._read)
