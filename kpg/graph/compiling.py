"""How kpg turns functions into graphs."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

_for_xla = contextvars.ContextVar("_for_xla", default=False)
_device = contextvars.ContextVar("_device", default="")


def compiled(
    function: Callable[..., object], jit_compile: bool
) -> tf.types.experimental.Callable:
    """Returns a `tf.function` without AutoGraph; inside, `for_xla` is `jit_compile`."""

    @functools.wraps(function)
    def traced(*args: object) -> object:
        with building_for_xla(jit_compile):
            return function(*args)

    return traceable(traced, jit_compile=jit_compile)


def traceable(
    function: Callable[..., object],
    input_signature: Sequence[tf.TypeSpec] | None = None,
    jit_compile: bool | None = None,
) -> tf.types.experimental.PolymorphicFunction:
    """Returns a `tf.function` without AutoGraph, for one of many objects or calls.

    TensorFlow counts traces by a function's code, and would warn of retracing where
    each of several objects is traced once. A `partial` has no code.
    """
    own = functools.partial(function)
    functools.update_wrapper(own, function)
    vars(own).pop("__wrapped__")  # which leads to the code
    return tf.function(own, input_signature, autograph=False, jit_compile=jit_compile)


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Builds what a `with` block builds in a graph that is thrown away.

    It tells shapes and names, in less time than a `tf.function` that never runs.
    """
    with tf.__internal__.FuncGraph("aside").as_default():
        yield


def for_xla() -> bool:
    """Whether XLA will compile the graph that is being built.

    It fuses small operations into one kernel; elsewhere each is a kernel of its own,
    and another way to the same result may be the fastest.
    """
    return _for_xla.get()


def for_gpu() -> bool:
    """Whether XLA will compile the graph that is being built for a GPU.

    There a small kernel takes no longer to run than to launch, and a loop or a branch
    whose course only the device knows makes the host wait for it. A CPU has neither
    cost, and prefers small loops that stay in its cache.
    """
    device = _device.get() or ("GPU" if tf.config.list_logical_devices("GPU") else "")
    return for_xla() and device == "GPU"


@contextlib.contextmanager
def building_for_device(device: str) -> Iterator[None]:
    """Builds for "CPU" or "GPU" inside a `with` block, whatever this machine has."""
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


@contextlib.contextmanager
def building_for_xla(active: bool = True) -> Iterator[None]:
    """Sets what `for_xla` answers inside a `with` block."""
    token = _for_xla.set(active)
    try:
        yield
    finally:
        _for_xla.reset(token)
