"""Clients that ask as fast as they are answered, each a process with a connection.

A client of gRPC for Python takes as long for a request as the servers that it should
measure, on the same cores. These write the frames of HTTP/2 themselves, which takes a
tenth of that, and are the same for all servers. Python's own `grpc` has sent the first
request: what it accepts is right.
"""

from __future__ import annotations

import multiprocessing
import socket
import statistics
import struct
import time
from typing import Any, NamedTuple

METHOD = "/tensorflow.serving.PredictionService/Predict"
WARM_UP = 0.3  # seconds, before what is counted

_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM = _ACK = 1
_LARGEST_WINDOW = 2**31 - 1
# Both ends keep a table of headers that have been sent; what is in it is one byte.
_SHORT = bytes([0x83, 0x86, 0xC1, 0xC0, 0xBF, 0xBE])


class Load(NamedTuple):
    """What clients have seen of a server."""

    per_second: float
    p50: float  # seconds
    p99: float
    asked: int  # requests, those of the warm-up among them


def measure(port: int, message: bytes, clients: int, seconds: float) -> Load:
    """Lets clients ask a server on this machine for so long."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(clients), context.SimpleQueue()
    arguments = (port, message, seconds, barrier, results)
    processes = [
        context.Process(target=_client, args=arguments, daemon=True)
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    times, asked = list[float](), 0
    for _ in processes:
        found = results.get()
        if isinstance(found, str):
            raise RuntimeError(found)
        times += found[0]
        asked += found[1]
    for process in processes:
        process.join()
    p99 = statistics.quantiles(times, n=100)[98]
    return Load(len(times) / seconds, statistics.median(times), p99, asked)


def _client(
    port: int, message: bytes, seconds: float, barrier: Any, results: Any
) -> None:
    try:
        connection = _Connection(port, message)
        connection.ask()
        barrier.wait(60)
        start = time.perf_counter() + WARM_UP
        end, times, asked = start + seconds, [], 1
        while (begun := time.perf_counter()) < end:
            connection.ask()
            asked += 1
            if begun >= start:
                times.append(time.perf_counter() - begun)
        results.put((times, asked))
    except Exception as error:  # the process that waits must learn of it
        results.put(f"{type(error).__name__}: {error}")


class _Connection:
    """A connection that asks the same again and again."""

    def __init__(self, port: int, message: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._message = b"\0" + struct.pack(">I", len(message)) + message
        self._stream, self._read = 1, b""
        # Nothing is pushed, and answers of any size may come.
        settings = struct.pack(">HIHI", 2, 0, 4, _LARGEST_WINDOW)
        window = struct.pack(">I", _LARGEST_WINDOW - 65535)
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(8, 0, 0, window)
        )

    def ask(self) -> None:
        """Sends a request, and waits for the whole answer."""
        stream, self._stream = self._stream, self._stream + 2
        headers = _SHORT if stream > 1 else _headers()
        self._socket.sendall(
            _frame(_HEADERS, 4, stream, headers)
            + _frame(_DATA, _END_STREAM, stream, self._message)
        )
        received = 0
        while True:
            kind, flags, payload = self._frame()
            if kind == _DATA:
                received += len(payload)
            if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
                if received < 6:  # of which 5 say how long it is
                    raise RuntimeError("The server has refused a request.")
                return

    def _frame(self) -> tuple[int, int, bytes]:
        """Reads a frame, and answers one that wants an answer."""
        while len(self._read) < 9 or len(self._read) < 9 + self._length():
            received = self._socket.recv(65536)
            if not received:
                raise RuntimeError("The server has closed the connection.")
            self._read += received
        end = 9 + self._length()
        kind, flags, payload = self._read[3], self._read[4], self._read[9:end]
        self._read = self._read[end:]
        if kind in (_SETTINGS, _PING) and not flags & _ACK:
            answer = payload if kind == _PING else b""
            self._socket.sendall(_frame(kind, _ACK, 0, answer))
        if kind in (_RESET, _GOAWAY):
            raise RuntimeError("The server has ended the connection.")
        return kind, flags, payload

    def _length(self) -> int:
        return int.from_bytes(self._read[:3], "big")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + (
        struct.pack(">BBI", kind, flags, stream) + payload
    )


def _headers() -> bytes:
    """Returns the headers of the first request, for which the server's table is empty.

    See RFC 7541: the method POST, the scheme http, and four to be put into the table.
    """
    path, content = METHOD.encode(), b"application/grpc"
    host, te = b"localhost", b"trailers"
    return b"\x83\x86" + b"".join(
        [
            b"\x44" + bytes([len(path)]) + path,
            b"\x41" + bytes([len(host)]) + host,
            b"\x5f" + bytes([len(content)]) + content,
            b"\x40\x02te" + bytes([len(te)]) + te,
        ]
    )
