"""Blocks of a language model whose gradients compute them again, to save memory.

Between forward and backward pass a block then keeps its inputs alone.

Reference: Chen et al., "Training deep nets with sublinear memory cost" (2016),
https://arxiv.org/abs/1604.06174.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from kpg.graph.gradients import recomputed
from kpg.types import Nest

_PARTS = ("", "encoder_", "decoder_")


def blocks(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers that a backbone of KerasHub repeats.

    Raises:
        ValueError: If it does not name any.
    """
    names = [f"{part}transformer_layers" for part in _PARTS]
    found = [layer for name in names for layer in getattr(backbone, name, ())]
    if not found:
        raise ValueError(
            "`remat` needs a backbone that has `transformer_layers`, whose gradients "
            f"compute them again; omit it. Received: {type(backbone).__name__}"
        )
    return found


@contextlib.contextmanager
def rematerialised(backbone: keras.Model, active: bool) -> Iterator[None]:
    """Within it, if active, the gradients of a backbone's blocks compute them again.

    It is where Keras's own `RematScope` works, which fails in graphs: see `recomputed`.
    """
    layers = blocks(backbone) if active else []
    for layer in layers:
        layer._remat_mode = "kpg"
        layer.rematerialized_call = functools.partial(_call_of, layer)
    try:
        yield
    finally:
        for layer in layers:
            layer._remat_mode = None
            del layer.rematerialized_call


def _call_of(
    layer: keras.layers.Layer, call: Callable[..., Nest], *_: object, **__: object
) -> Callable[..., Nest]:
    """Returns what Keras calls in place of a layer's `call`."""

    def again(*args: Nest, **kwargs: Nest) -> Nest:
        given = (args, kwargs)
        leaves = tf.nest.flatten(given)
        # Masks stay what they are: they have no gradients.
        places = [
            place
            for place, leaf in enumerate(leaves)
            if tf.is_tensor(leaf) and leaf.dtype.is_floating
        ]

        def function(*inputs: Nest) -> Nest:
            own = list(leaves)
            for place, part in zip(places, inputs, strict=True):
                own[place] = part
            args, kwargs = tf.nest.pack_sequence_as(given, own)
            return call(*args, **kwargs)

        inputs = [leaves[place] for place in places]
        return recomputed(function, inputs, layer.variables)

    return again
