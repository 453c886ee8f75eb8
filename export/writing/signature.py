"""One function of an exported policy: named, typed, and traced as a graph."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import tensorflow as tf

from kpg.distributions import portable
from kpg.export.loading import supported_operations
from kpg.export.wire import tensors
from kpg.export.wire.errors import VerificationError
from kpg.types import Array

Tensors: TypeAlias = dict[str, tf.Tensor]
Arrays: TypeAlias = Mapping[str, Array]

_NAME = re.compile("[A-Za-z][A-Za-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class Signature:
    """A function that servers run by name."""

    name: str
    inputs: Mapping[str, tf.TensorSpec]  # a batched one has None as its first size
    function: Callable[..., Tensors]  # takes the inputs by name
    docs: str  # what it does, in a sentence for the manifest
    live: Callable[[Arrays], Arrays] | None = None  # runs `function` eagerly if None

    @functools.cached_property
    def traced(self) -> tf.types.experimental.ConcreteFunction:
        """The function as a graph, traced once."""
        named = {
            name: tf.TensorSpec(spec.shape, spec.dtype, name)
            for name, spec in self.inputs.items()
        }
        function = tf.function(self.function, autograph=False, jit_compile=False)
        with portable.operations():
            return function.get_concrete_function(**named)

    @functools.cached_property
    def operations(self) -> frozenset[str]:
        """The kinds of operations in the graph."""
        graph = self.traced.graph.as_graph_def()
        return frozenset(supported_operations.of_graph(graph))

    def run(self, inputs: Arrays) -> Arrays:
        """Returns the outputs of the live models, which an export must reproduce."""
        if self.live is not None:
            return self.live(inputs)
        outputs = self.function(
            **{k: tf.constant(array) for k, array in inputs.items()}
        )
        return {name: value.numpy() for name, value in outputs.items()}

    def check(self) -> None:
        """Refuses an output that cannot be sent, or an operation that servers lack."""
        for name, spec in self.traced.structured_outputs.items():
            if spec.dtype.as_datatype_enum not in tensors.BY_NUMBER:
                raise ValueError(
                    f"Signature {self.name!r} must return real numbers, booleans or "
                    f"strings; use tf.cast. Received: {name} of {spec.dtype.name}"
                )
        try:
            supported_operations.check_kinds(self.operations)
        except VerificationError as error:
            raise VerificationError(
                f"Signature {self.name!r} cannot be served. {error}"
            ) from error


def require(conditions: tf.Tensor, text: str, *received: tf.Tensor) -> tf.Operation:
    """Refuses a request, when it runs, unless all conditions hold."""
    return tf.debugging.Assert(tf.reduce_all(conditions), [text, *received])


def check_name(what: str, name: object) -> None:
    """Refuses what is no ASCII identifier, and so no name on the wire."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{what} must be made of ASCII letters, digits and underscores, and begin "
            f"with a letter. Received: {name!r}"
        )
