"""Threads for gRPC's requests, and answers without any for those that are quick.

gRPC for Python hands each request from the thread that has learnt of it to another one,
which asks for the message and sleeps until the first one has received it. To wake up a
thread takes as long as a small model. Here the first thread asks for the message, and
answers at once what need not wait. That needs parts of gRPC that are not public: where
they are not as they are known, gRPC goes on in its own way.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, NamedTuple, TypeAlias

from typing_extensions import override

from kpg.export.loading.call import Parked

grpc_server: Any
grpc_common: Any
cygrpc: Any
try:
    grpc_server = importlib.import_module("grpc._server")
    grpc_common = importlib.import_module("grpc._common")
    cygrpc = importlib.import_module("grpc._cython.cygrpc")
except ImportError:
    grpc_server = grpc_common = cygrpc = None

# A handler of gRPC's with an attribute `at_once`: the same, with a third argument, and
# it returns None where it would wait, and is then called in the usual way; or `Parked`,
# when it calls its third argument later, with a handler that has the answer.
_Handler: TypeAlias = Any
_Event: TypeAlias = Any  # gRPC's, of a request that has arrived
_State: TypeAlias = Any

LARGEST = 2**13  # bytes of a message; to read a larger one takes time
_KNOWN = {
    "_abort": "state call code details",
    "_call_behavior": "rpc_event state behavior argument request_deserializer",
    "_possibly_finish_call": "state token",
    "_serialize_response": "rpc_event state response response_serializer",
    "_status": "rpc_event state serialized_response",
    "_unary_response_in_pool": "rpc_event state behavior argument_thunk "
    "request_deserializer response_serializer",
}
_VALUES = ("_OPEN", "_CLOSED", "_RECEIVE_MESSAGE_TOKEN", "_is_rpc_state_active")
_NO_FLAGS = 0

_logger = logging.getLogger(__name__)


def is_known(internals: Any = grpc_server) -> bool:
    """Whether the installed gRPC is one whose requests can be answered at once."""
    for name, wanted in _KNOWN.items():
        found = getattr(internals, name, None)
        if found is None:
            return False
        parameters = list(inspect.signature(found).parameters)
        if parameters[: len(wanted.split())] != wanted.split():
            return False
    there = all(hasattr(internals, name) for name in _VALUES)
    return there and hasattr(grpc_common, "deserialize")


class Threads(futures.ThreadPoolExecutor):
    """The threads that answer, for `grpc.server` and `experimental_thread_pool`.

    A client that does not send its message keeps none of them.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self._is_known = is_known()
        # What gRPC wants for a request that keeps no thread.
        self._done: futures.Future[Any] = futures.Future()
        self._done.set_result(None)

    @override
    def submit(
        self, function: Callable[..., Any], /, *args: Any, **named: Any
    ) -> futures.Future[Any]:
        """See `concurrent.futures.Executor.submit`."""
        if not self._is_known or not _is_unary(args):
            return super().submit(function, *args, **named)
        _, event, state, handler, _, deserializer, serializer = args
        self._receive(_Request(event, state, handler, deserializer, serializer))
        return self._done

    def _receive(self, request: _Request) -> None:
        """Asks for the message of a request; gRPC holds its lock meanwhile."""
        state, token = request.state, grpc_server._RECEIVE_MESSAGE_TOKEN

        def received(got: _Event) -> object:
            try:
                self._answer(request, got.batch_operations[0].message())
            except Exception:  # gRPC's only thread must not end
                _logger.exception("A request was not answered")
            with state.condition:
                return grpc_server._possibly_finish_call(state, token)

        operation = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
        request.event.call.start_server_batch((operation,), received)
        state.due.add(token)

    def _answer(self, request: _Request, message: bytes | None) -> None:
        if message is None:
            request.refuse()
            return
        at_once = getattr(request.handler, "at_once", None)
        if at_once is not None and len(message) <= LARGEST:
            resume = functools.partial(self._resume, request, message)
            handler = functools.partial(at_once, resume=resume)
            if request.answer(handler, message):
                return
        super().submit(request.answer, request.handler, message)

    @staticmethod
    def _resume(request: _Request, message: bytes, handler: _Handler) -> None:
        """Answers a request that was parked, in the thread that can."""
        try:
            request.send(handler, message)
        except Exception:  # that thread has others to answer
            _logger.exception("A request was not answered")


class _Request(NamedTuple):
    """What gRPC knows about a request."""

    event: _Event
    state: _State
    handler: _Handler
    deserializer: Any
    serializer: Any

    def answer(self, handler: _Handler, message: bytes) -> bool:
        """Answers as gRPC does; False if the handler would have to wait."""
        event, state = self.event, self.state
        if not grpc_server._is_rpc_state_active(state):
            return True  # nobody waits any more
        read = grpc_common.deserialize(message, self.deserializer)
        if read is None:
            code, words = (
                cygrpc.StatusCode.internal,
                b"Exception deserializing request!",
            )
            with state.condition:
                grpc_server._abort(state, event.call, code, words)
            return True
        return self.send(handler, read)

    def send(self, handler: _Handler, read: Any) -> bool:
        """Sends what a handler answers, also to nobody; False if it must be later."""
        event, state = self.event, self.state
        answer, is_right = grpc_server._call_behavior(event, state, handler, read, None)
        if is_right and answer is None and handler is not self.handler:
            return False
        if is_right and answer is not Parked:
            write = self.serializer
            sent = grpc_server._serialize_response(event, state, answer, write)
            if sent is not None:
                grpc_server._status(event, state, sent)
        return True

    def refuse(self) -> None:
        """Ends a request without a message, in gRPC's words."""
        method = self.event.call_details.method.decode()
        words = f'"{method}" requires exactly one request message.'.encode()
        with self.state.condition:
            if self.state.client is grpc_server._OPEN:
                self.state.client = grpc_server._CLOSED
            if self.state.client is grpc_server._CLOSED:
                code = cygrpc.StatusCode.unimplemented
                grpc_server._abort(self.state, self.event.call, code, words)


def _is_unary(args: Sequence[Any]) -> bool:
    """Whether gRPC hands over a request with a single message."""
    if len(args) != 7 or args[0] is not grpc_server._unary_response_in_pool:
        return False
    return getattr(args[4], "__name__", "") == "unary_request"
