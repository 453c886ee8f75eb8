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
"""A NumPy array of any shape and dtype."""

Tensor: TypeAlias = "tf.Tensor"
"""A tensor of TensorFlow, symbolic or not."""

Nest: TypeAlias = Any
"""Tensors or arrays in tuples and dictionaries, nested at will, or a single one."""

Space: TypeAlias = "gymnasium.Space[Any]"
"""A space of Gymnasium."""

Config: TypeAlias = dict[str, Any]
"""A configuration as Keras knows it: plain values that can be written as JSON."""

Metrics: TypeAlias = "dict[str, tf.Tensor]"
"""Scalars by the names under which they are logged."""

Logs: TypeAlias = dict[str, float]
"""What a callback receives: numbers by name."""

Factory: TypeAlias = Callable[..., Any]
"""A class or a function that makes something."""


class LayerArguments(TypedDict, total=False):
    """What every Keras layer and model of kpg takes besides its own arguments."""

    name: str | None
    dtype: str | Config | None
    trainable: bool
