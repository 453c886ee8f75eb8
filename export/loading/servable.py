"""One version of a model, loaded the way TensorFlow Serving loads it.

TensorFlow's wheel has the C++ loader and session of TensorFlow Serving.
`tf.saved_model.load` is another loader, which forgives faults that this one does not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from kpg.export.loading import supported_operations
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

_Call: TypeAlias = Callable[..., Sequence[Array]]

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Servable:
    """A SavedModel in a session, ready to answer from any thread."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Loads `path`; a `ServingError` says if a variable is left without a value."""
        self.path = os.fspath(path)
        supported_operations.register(self.path)
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        self._callables: dict[tuple[str, tuple[str, ...]], _Call] = {}
        self._lock = threading.Lock()
        try:
            with as_serving_errors(), self._graph.as_default(), quiet():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, ["serve"], self.path
                )
                self._check_variables()
        except BaseException:
            self.close()
            raise
        # Among them is TensorFlow's own `__saved_model_init_op`.
        self.signatures: dict[str, SignatureDef] = dict(meta_graph.signature_def)

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays of its data types; returns all or some outputs."""
        signature = self.signatures[signature_name]
        names = tuple(sorted(signature.outputs) if outputs is None else outputs)
        feeds = [inputs[name] for name in sorted(signature.inputs)]
        call = self._callables.get((signature_name, names))
        if call is None:
            call = self._prepare(signature_name, names)
        # Not `as_serving_errors`: a generator would cost a tenth of the call.
        try:
            return dict(zip(names, call(*feeds), strict=True))
        except tf.errors.OpError as error:
            raise _translate(error) from error

    def close(self) -> None:
        """Frees the memory. No request may still be running."""
        self._callables.clear()
        self._session.close()

    def _check_variables(self) -> None:
        """Finds variables without a value now, before a request does."""
        handles = [
            operation.outputs[0]
            for operation in self._graph.get_operations()
            if operation.type == "VarHandleOp" and _is_used(operation.outputs[0])
        ]
        present = self._session.run(
            [tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in handles]
        )
        missing = sorted(
            handle.op.get_attr("shared_name").decode() or handle.op.name
            for handle, there in zip(handles, present, strict=True)
            if not there
        )
        if missing:
            raise ServingError(
                "FAILED_PRECONDITION",
                f"Could not find variable {missing[0]}: the graph reads "
                f"{len(missing)} variable(s) that its checkpoint does not restore, as "
                "tf.saved_model.save writes for a Keras 3 model; export it with "
                f"kpg.export.export_policy or Model.export. Received: {self.path}",
            )

    def _prepare(self, signature_name: str, names: tuple[str, ...]) -> _Call:
        """Compiles one way of calling the session."""
        signature = self.signatures[signature_name]
        feeds = [tensor_name(signature.inputs[key]) for key in sorted(signature.inputs)]
        fetches = [tensor_name(signature.outputs[name]) for name in names]
        key = signature_name, names
        with self._lock, as_serving_errors():
            if key not in self._callables:
                self._callables[key] = self._make_callable(feeds, fetches)
            return self._callables[key]

    def _make_callable(self, feeds: list[str], fetches: list[str]) -> _Call:
        """Makes a function of the fed arrays that runs in the calling thread.

        A call of a small model takes 20 µs there, 45 µs in the session's pool, and
        160 µs through `Session.run`, the fallback: the option is not public.
        """
        make = getattr(self._session, "_make_callable_from_options", None)
        if make is None:
            session = self._session
            return lambda *arrays: session.run(
                fetches, dict(zip(feeds, arrays, strict=True))
            )
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        options.run_options.inter_op_thread_pool = -1
        made: _Call = make(options)
        return made


@contextlib.contextmanager
def as_serving_errors() -> Iterator[None]:
    """Turns what TensorFlow raises while loading or running into a `ServingError`."""
    try:
        yield
    except tf.errors.OpError as error:
        raise _translate(error) from error
    except (OSError, RuntimeError) as error:
        if isinstance(error, ServingError):
            raise
        # A missing file and a missing "serve" tag are NOT_FOUND to TensorFlow Serving.
        raise ServingError("NOT_FOUND", str(error)) from error
    except (ValueError, TypeError, KeyError) as error:
        raise invalid(str(error)) from error


def tensor_name(info: meta_graph_pb2.TensorInfo) -> str:
    """Returns the tensor's name, and refuses sparse and ragged ones."""
    if info.WhichOneof("encoding") != "name":
        raise ServingError(
            "UNIMPLEMENTED",
            "Only dense tensors can be served; make the signature take and return "
            f"dense ones. Received: {info.WhichOneof('encoding')}",
        )
    return str(info.name)


def _is_used(handle: tf.Tensor) -> bool:
    """Whether anything becomes of a variable: `Model.export` writes idle ones, too."""
    return any(
        one.type != "ReadVariableOp" or one.outputs[0].consumers()
        for one in handle.consumers()
    )


def _translate(error: tf.errors.OpError) -> ServingError:
    return ServingError(_CODES.get(error.error_code, "UNKNOWN"), error.message)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides TensorFlow's warnings about what is done here on purpose."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
