"""One version of a model, loaded the way TensorFlow Serving loads it.

TensorFlow's wheel has the C++ loader and session of TensorFlow Serving.
`tf.saved_model.load` is another loader, which forgives faults that this one does not.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import grpc
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from kpg.export.loading import supported_operations
from kpg.export.loading.call import Call, Later, Turns
from kpg.export.wire.errors import ServingError, invalid
from kpg.export.wire.tensors import SignatureDef
from kpg.types import Array

_CODES = {code.value[0]: code.name for code in grpc.StatusCode}

# A client chooses the outputs, and every choice costs memory.
_MOST_PROGRAMS = 64
# What takes longer than this, in seconds, can be stopped by its deadline. That needs
# the public session, whose 0.1 ms would be most of the time of a small model.
_SLOW = 0.01
# What takes less, on inputs of no more bytes, may run in a thread that has other work:
# to hand it to another one, and to come back, takes as long.
_QUICK, _SMALL = 2.5e-4, 2**13
_LOOPS = ("While", "StatelessWhile", "Enter")


class Plan(NamedTuple):
    """A signature as requests use it: maps of protocol buffers are slow to read."""

    inputs: dict[str, int]  # data types by name, sorted
    outputs: dict[str, int]

    @staticmethod
    def of(signature: SignatureDef) -> Plan:
        """Returns the plan of a signature."""
        return Plan(
            {name: signature.inputs[name].dtype for name in sorted(signature.inputs)},
            {name: signature.outputs[name].dtype for name in sorted(signature.outputs)},
        )


class Loaded(Protocol):
    """A version of a model that can be asked, from any thread."""

    path: str
    signatures: dict[str, SignatureDef]
    plans: dict[str, Plan]
    checks_method_names: bool

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        call: Call | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays of its data types; returns all or some outputs."""
        ...

    def run_tensors(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], call: Call
    ) -> list[Array]:
        """Runs the graph from and to tensors by their names in it."""
        ...

    def close(self) -> None:
        """Frees the memory. No request may still be running."""


@dataclass(frozen=True)
class Loading:
    """How versions are loaded and run.

    Attributes:
        tags: The tags of the meta graph.
        config: TensorFlow's options of the session.
        turns: What limits the computations that run at a time.
        checks_method_names: Whether signatures must be made for the method that uses
            them, which TensorFlow 2 does not write.
    """

    tags: tuple[str, ...] = ("serve",)
    config: config_pb2.ConfigProto = field(default_factory=config_pb2.ConfigProto)
    turns: Turns = field(default_factory=lambda: Turns(os.cpu_count() or 1))
    checks_method_names: bool = False


def _has_loops(graph: tf.Graph) -> bool:
    definition = graph.as_graph_def()
    nodes = [*definition.node]
    for function in definition.library.function:
        nodes += function.node_def
    return any(node.op in _LOOPS for node in nodes)


class _Program:
    """One way of calling the session."""

    def __init__(
        self, session: tf.compat.v1.Session, feeds: Sequence[str], fetches: list[str]
    ) -> None:
        """Makes a function of the fed arrays that runs in the calling thread.

        A call of a small model takes 20 µs there, 45 µs in the session's pool, and
        160 µs through `Session.run`, the fallback: the option is not public.
        """
        self._session, self._feeds, self._fetches = session, feeds, fetches
        self._function: Callable[..., Sequence[Array]] | None = None
        self.seconds = 0.0  # how long a run takes, by the last ones
        self._least = 0.0  # the same, by those that nothing has interrupted
        self._loops = _has_loops(session.graph)
        make = getattr(session, "_make_callable_from_options", None)
        if make is not None:
            options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            options.run_options.inter_op_thread_pool = -1
            self._function = make(options)

    def is_quick(self, arrays: Sequence[Array]) -> bool:
        """Whether a run will soon be over, by those so far."""
        if self._loops or self._function is None or not 0.0 < self._least < _QUICK:
            return False
        return sum(array.nbytes for array in arrays) <= _SMALL

    def run(self, arrays: Sequence[Array], call: Call) -> Sequence[Array]:
        """Runs it, and stops it at the deadline if it is a slow one."""
        # What loops may take long although it has not so far.
        slow = self._loops or self.seconds > _SLOW
        timeout = call.remaining() if slow else None
        started = time.perf_counter()
        try:
            if timeout is None and self._function is not None:
                return self._function(*arrays)
            options = config_pb2.RunOptions()
            if timeout is not None:
                options.timeout_in_ms = max(int(timeout * 1000), 1)
            feeds = dict(zip(self._feeds, arrays, strict=True))
            fetched: list[Array] = self._session.run(self._fetches, feeds, options)
            return fetched
        finally:
            took = time.perf_counter() - started
            call.runtime += took
            self.seconds = 0.5 * (self.seconds + took) if self.seconds else took
            self._least = min(took, 1.1 * self._least or took)


class Servable:
    """A SavedModel in a session, ready to answer from any thread."""

    def __init__(
        self, path: str | os.PathLike[str], loading: Loading | None = None
    ) -> None:
        """Loads `path`; a `ServingError` says if a variable is left without a value."""
        loading = loading or Loading()
        self.path = os.fspath(path)
        self.checks_method_names = loading.checks_method_names
        supported_operations.register(self.path)
        self._turns = loading.turns
        self._graph = tf.Graph()
        config = loading.config
        self._session = tf.compat.v1.Session(graph=self._graph, config=config)
        self._programs: dict[object, tuple[list[str], _Program]] = {}
        self._lock = threading.Lock()
        try:
            with as_serving_errors(), self._graph.as_default(), quiet():
                meta_graph = tf.compat.v1.saved_model.load(
                    self._session, list(loading.tags), self.path
                )
                self._check_variables()
        except BaseException:
            self.close()
            raise
        # Among them is TensorFlow's own `__saved_model_init_op`.
        self.signatures: dict[str, SignatureDef] = dict(meta_graph.signature_def)
        self.plans = {name: Plan.of(one) for name, one in self.signatures.items()}

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, Array],
        outputs: Sequence[str] | None = None,
        call: Call | None = None,
    ) -> dict[str, Array]:
        """Runs a signature on arrays of its data types; returns all or some outputs."""
        names = None if outputs is None else tuple(outputs)
        found = self._programs.get((signature_name, names))
        if found is None:
            if not (call or Call()).may_wait:
                raise Later
            found = self._prepare(signature_name, names)
        keys, program = found
        feeds = [inputs[name] for name in self.plans[signature_name].inputs]
        values = dict(zip(keys, self._run(program, feeds, call or Call()), strict=True))
        if names is not None and len(names) != len(keys):
            return {name: values[name] for name in names}
        return values

    def run_tensors(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], call: Call
    ) -> list[Array]:
        """See `Loaded.run_tensors`."""
        names = sorted(feeds)
        key = tuple(names), tuple(fetches)
        if not call.may_wait and key not in self._programs:
            raise Later
        with self._lock, as_serving_errors():
            if key not in self._programs:
                if len(self._programs) >= 2 * _MOST_PROGRAMS:
                    self._programs.clear()
                program = _Program(self._session, names, list(fetches))
                self._programs[key] = list(fetches), program
            _, program = self._programs[key]
        return list(self._run(program, [feeds[name] for name in names], call))

    def _run(
        self, program: _Program, arrays: Sequence[Array], call: Call
    ) -> Sequence[Array]:
        if not call.may_wait and not program.is_quick(arrays):
            raise Later
        self._turns.take(call, program.seconds)
        # Not `as_serving_errors`: a generator would cost a tenth of the call.
        try:
            return program.run(arrays, call)
        except tf.errors.OpError as error:
            raise _translate(error) from error
        except ValueError as error:  # the public session looks at shapes itself
            raise invalid(str(error)) from error
        finally:
            self._turns.give_back()

    def close(self) -> None:
        """Frees the memory. No request may still be running."""
        self._programs.clear()
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

    def _prepare(
        self, signature_name: str, names: tuple[str, ...] | None
    ) -> tuple[list[str], _Program]:
        """Compiles a signature for some outputs, or for all if many were asked for."""
        signature = self.signatures[signature_name]
        if len(self._programs) >= _MOST_PROGRAMS:
            names = None
        keys = sorted(signature.outputs) if names is None else list(names)
        feeds = [tensor_name(signature.inputs[key]) for key in sorted(signature.inputs)]
        fetches = [tensor_name(signature.outputs[key]) for key in keys]
        with self._lock, as_serving_errors():
            key = signature_name, names
            if key not in self._programs:
                program = _Program(self._session, feeds, fetches)
                self._programs[key] = keys, program
            return self._programs[key]


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
    # The public session puts words of its own around what the kernel has said.
    said = error.__context__ if isinstance(error.__context__, type(error)) else error
    return ServingError(_CODES.get(said.error_code, "UNKNOWN"), said.message)


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
