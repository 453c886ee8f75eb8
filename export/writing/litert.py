"""A policy for phones and boards: a file of LiteRT, formerly TensorFlow Lite."""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import tensorflow as tf
from typing_extensions import override

from kpg.export.writing.conversion import Converted
from kpg.export.writing.signature import Arrays, Signature


class LiteRT(Converted):
    """A flatbuffer that TensorFlow Serving can load, too, if told to."""

    name = "LiteRT"
    file = "model.tflite"  # TensorFlow Serving's name for it

    @override
    def convert(self, signature: Signature, owner: tf.Module) -> bytes:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [signature.traced], owner
        )
        return bytes(converter.convert())

    @override
    def load(self, path: str | os.PathLike[str]) -> _Model:
        return _Model(os.fspath(path))


class _Model:
    """A file of LiteRT in its interpreter."""

    def __init__(self, path: str) -> None:
        self._interpreter = _interpreter(path)

    def run(self, name: str, inputs: Arrays) -> Arrays:
        outputs: Arrays = self._interpreter.get_signature_runner(name)(**inputs)
        return outputs


def _interpreter(path: str) -> Any:
    """Returns LiteRT's own interpreter, or the same one inside TensorFlow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow recommends the other one
        try:
            package = importlib.import_module("ai_edge_litert.interpreter")
        except ImportError:
            package = tf.lite
        return package.Interpreter(model_path=path)
