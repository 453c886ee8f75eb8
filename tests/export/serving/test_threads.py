"""Requests that are answered where they arrive, and those that are not."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from kpg.export.loading.call import Parked
from kpg.export.serving.threads import LARGEST, Threads, is_known
from tests.served_models import refusal

grpc_server: Any = importlib.import_module("grpc._server")


class Served:
    """A method that notes its threads, and the client's stub of it.

    What begins with `w` would wait, and with `p` is parked; `e` is an error.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, str]] = []
        self.gate = threading.Event()
        self.parked: list[Any] = []

    def handle(self, message: bytes, context: Any) -> bytes:
        self.seen.append((message[:5], threading.current_thread().name))
        if message.startswith(b"w"):
            self.gate.wait(20)
        if message.startswith(b"e"):
            context.abort(grpc.StatusCode.NOT_FOUND, "as told")
        if message.startswith(b"fault"):
            raise KeyError("a fault")
        return b"answer to " + message[:5]

    def at_once(self, message: bytes, context: Any, resume: Any) -> Any:
        if message.startswith(b"p"):
            self.parked.append(resume)
            return Parked
        return None if message.startswith(b"w") else self.handle(message, context)


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture(params=["answered at once", "as gRPC does"])
def ask(
    request: pytest.FixtureRequest, served: Served, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """A stub of a method that may be answered at once, and in gRPC's own way."""
    is_old = request.param == "as gRPC does"
    if is_old:
        monkeypatch.setattr("kpg.export.serving.threads.is_known", lambda: False)

    def handler(message: bytes, context: Any) -> bytes:
        return served.handle(message, context)

    made: Any = handler
    made.at_once = served.at_once
    methods = {
        "m": grpc.unary_unary_rpc_method_handler(made),
        "int": grpc.unary_unary_rpc_method_handler(
            lambda number, _: number + 1,
            request_deserializer=int,
            response_serializer=lambda number: str(number).encode(),
        ),
        "sum": grpc.stream_unary_rpc_method_handler(
            lambda messages, _: b"".join(messages)
        ),
    }
    generic = grpc.method_handlers_generic_handler("s", methods)
    server = grpc.server(Threads(2), handlers=[generic])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary("/s/m")
        yield SimpleNamespace(stub=stub, channel=channel, is_old=is_old)
    served.gate.set()
    server.stop(None).wait()


def test_this_version_of_grpc_is_known() -> None:
    assert is_known() and not is_known(None)
    older = SimpleNamespace(**vars(grpc_server))
    older._status = lambda state: None
    assert not is_known(older)
    del older._status
    assert not is_known(older)
    bare = SimpleNamespace(**vars(grpc_server))
    del bare._RECEIVE_MESSAGE_TOKEN
    assert not is_known(bare)


def test_what_need_not_wait_is_answered_at_once(ask: Any, served: Served) -> None:
    for _ in range(3):
        assert ask.stub(b"x", timeout=20) == b"answer to x"
    assert ask.stub(b"", timeout=20) == b"answer to "
    in_pool = [name.startswith("ThreadPoolExecutor") for _, name in served.seen]
    assert in_pool == [ask.is_old] * 4


def test_what_waits_keeps_nobody_else(ask: Any, served: Served) -> None:
    waiting = ask.stub.future(b"wait", timeout=20)
    assert ask.stub(b"x", timeout=20) == b"answer to x"
    assert not waiting.done()
    served.gate.set()
    assert waiting.result(20) == b"answer to wait"
    assert dict(served.seen)[b"wait"].startswith("ThreadPoolExecutor")


@pytest.mark.parametrize("ask", ["answered at once"], indirect=True)
def test_who_is_parked_keeps_no_thread(ask: Any, served: Served) -> None:
    parked = [ask.stub.future(b"park%d" % number, timeout=20) for number in range(8)]
    while len(served.parked) < 8:
        time.sleep(0.01)
    assert not any(call.done() for call in parked) and served.seen == []
    answers: dict[bytes, bytes] = {}
    for number, resume in enumerate(served.parked):
        resume(
            lambda message, _, number=number: answers.setdefault(
                message, b"%d" % number
            )
        )
    assert [call.result(20) for call in parked] == [
        answers[b"park%d" % n] for n in range(8)
    ]


@pytest.mark.parametrize("ask", ["answered at once"], indirect=True)
def test_who_was_parked_may_fail_or_be_gone(ask: Any, served: Served) -> None:
    lost = ask.stub.future(b"park", timeout=20)
    failed = ask.stub.future(b"park", timeout=20)
    while len(served.parked) < 2:
        time.sleep(0.01)
    lost.cancel()
    called = []

    def abort(message: bytes, context: Any) -> bytes:
        called.append(message)
        context.abort(grpc.StatusCode.NOT_FOUND, "as told")
        raise AssertionError

    for resume in served.parked:
        resume(abort)
    assert failed.exception(20).details() == "as told"
    assert called == [b"park"] * 2  # what it has kept is given back
    assert ask.stub(b"x", timeout=20) == b"answer to x"


def test_a_large_message_is_read_in_a_thread(ask: Any, served: Served) -> None:
    assert ask.stub(b"x" * (LARGEST + 1), timeout=20) == b"answer to xxxxx"
    assert served.seen[0][1].startswith("ThreadPoolExecutor")


def test_errors_and_faults(ask: Any) -> None:
    assert refusal(ask.stub, b"e", timeout=20) == ("NOT_FOUND", "as told")
    code, words = refusal(ask.stub, b"fault", timeout=20)
    assert code == "UNKNOWN" and "a fault" in words
    assert ask.stub(b"x", timeout=20) == b"answer to x"


def test_no_message(ask: Any) -> None:
    nothing = ask.channel.stream_unary("/s/m")
    code, words = refusal(nothing, iter(()), timeout=20)
    assert code == "UNIMPLEMENTED" and "requires exactly one request" in words


def test_who_gives_up_is_forgotten(ask: Any, served: Served) -> None:
    for call in [ask.stub.future(b"wait", timeout=20) for _ in range(8)]:
        call.cancel()
    assert refusal(ask.stub, b"wait", timeout=0.1)[0] == "DEADLINE_EXCEEDED"
    served.gate.set()
    assert ask.stub(b"x", timeout=20) == b"answer to x"


def test_messages_may_have_a_form(ask: Any) -> None:
    stub = ask.channel.unary_unary("/s/int")
    assert stub(b"41", timeout=20) == b"42"
    code, words = refusal(stub, b"x", timeout=20)
    assert (code, words) == ("INTERNAL", "Exception deserializing request!")
    assert ask.channel.stream_unary("/s/sum")(iter([b"a", b"b"]), timeout=20) == b"ab"


@pytest.mark.parametrize("ask", ["answered at once"], indirect=True)
def test_who_sends_no_message_keeps_no_thread(ask: Any) -> None:
    end = threading.Event()

    def never() -> Iterator[bytes]:
        end.wait(20)
        yield from ()

    slow = [ask.channel.stream_unary("/s/m").future(never()) for _ in range(8)]
    assert ask.stub(b"large" + b"x" * LARGEST, timeout=20) == b"answer to large"
    assert ask.channel.unary_unary("/s/int")(b"1", timeout=20) == b"2"
    end.set()
    for call in slow:
        call.cancel()
