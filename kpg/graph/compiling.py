"""How kpg turns functions into graphs."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_for_xla = contextvars.ContextVar("_for_xla", default=False)


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Returns a `tf.function` without AutoGraph.

    Args:
        function: Builds graph.
        jit_compile: Whether XLA compiles it; `for_xla` is then true inside.
    """

    @functools.wraps(function)
    def traced(*args: Any) -> Any:
        with building_for_xla(jit_compile):
            return function(*args)

    return tf.function(traced, jit_compile=jit_compile, autograph=False)


def for_xla() -> bool:
    """Whether XLA will compile the graph that is being built.

    The same results are then best computed in other ways: XLA joins small operations
    into one kernel, each of which is a kernel of its own elsewhere.
    """
    return _for_xla.get()


@contextlib.contextmanager
def building_for_xla(active: bool = True) -> Iterator[None]:
    """Says what `for_xla` answers inside."""
    token = _for_xla.set(active)
    try:
        yield
    finally:
        _for_xla.reset(token)
