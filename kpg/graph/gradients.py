"""Gradients of one's own that do not outlive the graphs that they are in."""

from __future__ import annotations

import contextlib
import functools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence

import keras
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


def recomputed(
    function: Callable[..., Nest],
    inputs: Sequence[Tensor],
    variables: Sequence[keras.Variable],
) -> Nest:
    """Returns `function(*inputs)`; its gradient computes all of it again.

    Nothing that the function computes on its way is kept for the backward pass. It is
    built anew there, from inputs that XLA and TensorFlow cannot know to be the same,
    or they would keep what they have.

    Keras's `RematScope` does this by `tf.recompute_grad`, which takes no arguments by
    name in a graph, adds numbers to masks of booleans, and finds variables by itself.
    Here masks are the function's own, and the variables are said.

    Args:
        function: Makes a nest of floating-point tensors of such tensors.
        inputs: What it is given.
        variables: Those that it reads; the trainable ones get gradients.
    """
    learned = [own for own in variables if own.trainable]
    frozen = [(own, tf.stop_gradient(own)) for own in variables if not own.trainable]
    count = len(inputs)

    def call(tensors: Sequence[Tensor]) -> Nest:
        pairs = zip(learned, tensors[count:], strict=True)
        with keras.StatelessScope([*pairs, *frozen], collect_losses=False):
            return function(*tensors[:count])

    def own(*tensors: Tensor) -> tuple[Nest, Callable[..., list[Tensor]]]:
        def backward(*outer: Tensor) -> list[Tensor]:
            first = tf.reshape(outer[0], [-1])[0]
            same = tf.where(first == first, 0.0, math.nan)  # not so if it is NaN
            again = [part + tf.cast(same, part.dtype) for part in tensors[:count]]
            again += tensors[count:]
            with tf.GradientTape() as tape:
                tape.watch(again)
                results = tf.nest.flatten(call(again))
            none = tf.UnconnectedGradients.ZERO
            found: list[Tensor] = tape.gradient(
                results, again, outer, unconnected_gradients=none
            )
            return found

        return call(tensors), backward

    weights = [tf.convert_to_tensor(variable) for variable in learned]
    return with_gradient(own)(*inputs, *weights)
