"""Gradients of one's own that do not outlive the graphs that they are in."""

from __future__ import annotations

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.python.framework import ops

from kpg.types import Nest, Tensor

_KEPT = "_kpg_gradients"


@contextlib.contextmanager
def graph_keeps_gradients() -> Iterator[None]:
    """Gives custom gradients that are made inside to the graph that is being built.

    TensorFlow keeps them for ever, by name, and each with its whole graph: of every
    trainer some megabytes. Keras's optimizers make one, too.
    """
    # Where TensorFlow keeps them is not public; elsewhere they stay as they are.
    registry = getattr(ops, "gradient_registry", None)
    known: dict[str, dict[str, Nest]] | None = getattr(registry, "_registry", None)
    if tf.executing_eagerly() or known is None:
        yield
        return
    before = set(known)
    yield
    graph = tf.compat.v1.get_default_graph()
    for name in set(known) - before:
        kept = known[name]["type"]
        known[name]["type"] = functools.partial(_call, weakref.ref(kept))
        setattr(graph, _KEPT, [*getattr(graph, _KEPT, []), kept])
        weakref.finalize(kept, known.pop, name, None).atexit = False


def _call(held: weakref.ref[Callable[..., Nest]], *arguments: Nest) -> Nest:
    alive = held()
    return None if alive is None else alive(*arguments)


def with_gradient(function: Callable[..., tuple[Nest, Callable[..., Nest]]]) -> Nest:
    """Decorates a function of tensors as `tf.custom_gradient` does.

    The gradient is gone with its graph; see `graph_keeps_gradients`.
    """
    own = tf.custom_gradient(function)

    @functools.wraps(function)
    def call(*tensors: Tensor) -> Nest:
        with graph_keeps_gradients():
            return own(*tensors)

    return call
