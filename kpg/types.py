"""Names of the types that many files share.

For a checker TensorFlow's and Keras's classes are `Any`; the names are for readers.
Nothing is imported at run time: a client of a served policy has no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

if TYPE_CHECKING:
    import gymnasium
    import numpy as np
    import tensorflow as tf

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Tensor: TypeAlias = "tf.Tensor"
# Tensors or arrays in tuples and dictionaries, or a single one.
Nest: TypeAlias = Any
Space: TypeAlias = "gymnasium.Space[Any]"
# Plain values that can be written as JSON, as Keras's.
Config: TypeAlias = dict[str, Any]
# Scalars by the names under which they are logged.
Metrics: TypeAlias = "dict[str, tf.Tensor]"
# What a callback receives: numbers by name.
Logs: TypeAlias = dict[str, float]
Factory: TypeAlias = Callable[..., Any]


class InputNumber:
    """A number that a compiled program takes; see `kpg.graph.inputs.Number`."""


class LayerArguments(TypedDict, total=False):
    """What every Keras layer and model of kpg takes besides its own arguments."""

    name: str | None
    dtype: str | Config | None
    trainable: bool
