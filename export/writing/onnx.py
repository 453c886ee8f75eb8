"""A policy for ONNX Runtime, as a file of ONNX."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from typing_extensions import override

from kpg import imports
from kpg.export.writing import aliases
from kpg.export.writing.conversion import Converted
from kpg.export.writing.signature import Arrays, Signature, Tensors

_OPSET = 18  # of ONNX 1.13, from 2022


class ONNX(Converted):
    """A graph whose inputs and outputs have names of their own.

    An input `state_0` is called `previous_state_0`: an output has its name.
    """

    name = "ONNX"
    file = "model.onnx"

    @override
    def convert(self, signature: Signature, owner: tf.Module) -> bytes:
        tf2onnx = _package("tf2onnx")

        def call(*inputs: tf.Tensor) -> Tensors:
            return signature.function(
                **dict(zip(signature.inputs, inputs, strict=True))
            )

        specs = [
            tf.TensorSpec(spec.shape, spec.dtype, aliases.of_input(name))
            for name, spec in signature.inputs.items()
        ]
        logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
        model, _ = tf2onnx.convert.from_function(
            tf.function(call, specs, autograph=False),
            specs,
            opset=_OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
        known = _package("onnx").defs.has
        unknown = {node.op_type for node in model.graph.node if not known(node.op_type)}
        if unknown:
            raise self.refusal(
                "has no such operation; export a SavedModel, or use another backbone",
                ", ".join(sorted(unknown)),
            )
        return bytes(model.SerializeToString())

    @override
    def load(self, path: str | os.PathLike[str]) -> _Model:
        return _Model(os.fspath(path))


class _Model:
    """A file of ONNX in its runtime."""

    def __init__(self, path: str) -> None:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def run(self, name: str, inputs: Arrays) -> Arrays:
        feeds = {aliases.of_input(key): array for key, array in inputs.items()}
        outputs = [output.name for output in self._session.get_outputs()]
        return dict(zip(outputs, self._session.run(None, feeds), strict=True))


def _erfc(context: Any, node: Any, name: str, arguments: Sequence[object]) -> None:
    """Writes erfc(x) as 1 − erf(x): ONNX has the latter only, tf2onnx neither name."""
    (x,), number = node.input, context.get_dtype(node.output[0])
    dtype = _package("tf2onnx.utils").map_onnx_to_numpy_type(number)
    one = context.make_const(f"{name}_one", np.ones([], dtype))
    context.remove_node(node.name)
    erf = context.make_node("Erf", [x], name=f"{name}_erf")
    context.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name
    )


def _package(name: str) -> Any:
    return imports.optional(name, name.partition(".")[0], "onnx", 'format="onnx"')
