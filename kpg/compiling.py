"""How kpg turns functions into graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kpg import random


def compiled(function: Callable[..., Any], jit_compile: bool) -> Any:
    """Returns a `tf.function` without AutoGraph.

    Args:
        function: Builds graph.
        jit_compile: Whether XLA compiles it; its random numbers, the same ones, are
            then drawn in the way that suits XLA.
    """

    @functools.wraps(function)
    def traced(*args: Any) -> Any:
        with random.drawn_for_xla(jit_compile):
            return function(*args)

    return tf.function(traced, jit_compile=jit_compile, autograph=False)
