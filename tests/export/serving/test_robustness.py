"""What no client may do to a server: crash it, fill it up, read what is not a model."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from kpg.export import Client, Server
from tests import fuzzing
from tests.served_models import free_port, publish

# What clients may be told, whatever they send.
CODES = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
CODES.add("OUT_OF_RANGE")  # of the initialiser, which TensorFlow lists as a signature
UNPARSED = "a message that cannot be parsed"
STATUSES = {200, 400, 404, 501}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("m")
    publish(path)
    return path


class Process:
    """A server in a process of its own, whose memory can be measured."""

    def __init__(self, *flags: str) -> None:
        self.rest_port = free_port()
        command = [sys.executable, "-m", "kpg", "serve", "--port=0", "--json"]
        self.process = subprocess.Popen(
            [*command, f"--rest_api_port={self.rest_port}", *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "it did not start"
        self.address = json.loads(line)["address"]
        self.rest_address = f"127.0.0.1:{self.rest_port}"

    def megabytes(self) -> float:
        """Returns the resident memory."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize() / 2**20

    def files(self) -> int:
        """Returns the number of open files."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture(scope="module")
def process(directory: Path) -> Iterator[Process]:
    started = Process(str(directory))
    yield started
    started.process.kill()
    started.process.communicate()


def send(address: str, sent: Any) -> Counter[str]:
    """Sends messages, many at a time, and returns how often there was each code."""
    codes: Counter[str] = Counter()
    with grpc.insecure_channel(address) as channel:
        calls: list[Any] = []
        for method, data in sent:
            calls.append(channel.unary_unary(method).future(data, timeout=60))
            if len(calls) == 64:
                codes.update(map(told, calls))
                calls.clear()
        codes.update(map(told, calls))
    return codes


def told(call: Any) -> str:
    """Returns the code of an answer, and more of one that is the server's fault."""
    name, words = call.code().name, call.details()
    if name != "INTERNAL":
        return str(name)
    # That is what gRPC says of a message that cannot be parsed, in C++ as well.
    return UNPARSED if "cannot be parsed as" in words else f"INTERNAL: {words}"


def post(address: str, bodies: Any) -> Counter[int]:
    """Posts bodies over one connection, and returns how often there was each status."""
    host, port = address.split(":")
    statuses: Counter[int] = Counter()
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        answers = connection.makefile("rb")
        for number, body in enumerate(bodies):
            verb = "classify" if number % 4 == 0 else "predict"
            head = (
                f"POST /v1/models/default:{verb} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            connection.sendall(head.encode() + body)
            statuses[int(answers.readline().split()[1])] += 1
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            answers.read(length)
    return statuses


def fuzz(process: Process, messages: int, documents: int, seed: int) -> None:
    sent = itertools.islice(fuzzing.messages(seed), messages)
    codes = send(process.address, sent)
    assert set(codes) <= CODES | {UNPARSED}, codes
    assert codes[UNPARSED] < messages
    statuses = post(
        process.rest_address, itertools.islice(fuzzing.documents(seed), documents)
    )
    assert set(statuses) <= STATUSES, statuses


def is_well(process: Process) -> bool:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
    with grpc.insecure_channel(process.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=20)
    return list(response.outputs["y"].float_val) == [3.0]


def test_malformed_requests_do_no_harm(process: Process) -> None:
    fuzz(process, 1500, 500, seed=0)  # whatever is made once is made now
    before, files = process.megabytes(), process.files()
    fuzz(process, 3000, 1000, seed=1)
    assert process.megabytes() < before + 16
    assert process.files() <= files + 8
    assert is_well(process)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_malformed_requests_do_no_harm(process: Process) -> None:
    fuzz(process, 10_000, 2_000, seed=2)
    before = process.megabytes()
    fuzz(process, 80_000, 20_000, seed=3)
    assert process.megabytes() < 1.05 * before
    assert is_well(process)


def test_what_cannot_be_parsed_leaves_nothing_behind(process: Process) -> None:
    method = f"{fuzzing.SERVICE}PredictionService/Predict"
    send(process.address, [(method, b"\xff" * 20)] * 500)
    before = process.megabytes()
    codes = send(process.address, [(method, b"\xff" * 20)] * 2000)
    assert codes == {UNPARSED: 2000}
    # 15 to 19 KB each, 30 MB, if gRPC deserialises.
    assert process.megabytes() < before + 8


def test_a_few_bytes_do_not_become_gigabytes(process: Process) -> None:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    tensor = request.inputs["x"]
    tensor.dtype = 1
    tensor.float_val.append(1.0)
    tensor.tensor_shape.dim.add(size=300_000_000)
    data = request.SerializeToString()
    assert len(data) < 50
    before = process.megabytes()
    method = f"{fuzzing.SERVICE}PredictionService/Predict"
    assert send(process.address, [(method, data)] * 16) == {"INVALID_ARGUMENT": 16}
    assert process.megabytes() < before + 16


def test_nothing_listens_beyond_this_machine(directory: Path) -> None:
    with Server(directory, port=0, rest_api_port=free_port()) as server:
        for port in (server.port, server.rest_api_port):
            with pytest.raises(OSError):
                host = socket.gethostbyname(socket.gethostname())
                if host.startswith("127."):
                    raise OSError("this machine has no other address")
                socket.create_connection((host, port), timeout=5)


def test_no_code_of_an_artefact_is_run(directory: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(directory / "1", tmp_path / "m" / "1"))
    proof = tmp_path / "proof"
    code = f"open({str(proof)!r}, 'w').close()\n"
    for name in ("__init__.py", "saved_model.py", "assets.extra/setup.py"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(code)
    pickled = b"cbuiltins\nexec\n(S" + repr(code).encode() + b"\ntR."
    for name in ("keras_metadata.pb", "model.pkl", "assets/x.pkl"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(pickled)
    with Server(tmp_path / "m", port=0):
        assert not proof.exists()


def soak(process: Process, root: Path, seconds: float, swap: float) -> Counter[str]:
    """Asks in four threads while versions come; an answer names its version."""
    counts: Counter[str] = Counter()
    stop = threading.Event()
    lock = threading.Lock()

    def ask(number: int) -> None:
        x = {"x": np.full(1 + 7 * number, 2.0, np.float32)}
        with Client(process.address, timeout=60) as client:
            while not stop.is_set():
                try:
                    y = client.predict(x)["y"]
                    good = len(set(y.tolist())) == 1 and 0 <= y[0] - 1.0 < 10_000
                    kind = "right" if good and len(y) == len(x["x"]) else "wrong"
                except Exception as error:
                    kind = f"dropped: {error}"
                with lock:
                    counts[kind] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    end, sizes, first = time.monotonic() + seconds, [], time.monotonic() + seconds / 10
    version = 2
    while time.monotonic() < end:
        stage = root / ".tmp"
        shutil.copytree(root / "1", stage)
        stage.rename(root / str(version))
        if version > 2:
            shutil.rmtree(root / str(version - 1))
        version += 1
        time.sleep(swap)
        if time.monotonic() > first:
            sizes.append(process.megabytes())
    stop.set()
    for thread in threads:
        thread.join()
    counts["swaps"] = version - 2
    counts["growth in %"] = round(100 * (max(sizes) / min(sizes) - 1))
    return counts


@pytest.mark.parametrize(
    ("seconds", "swap", "growth"),
    [
        (4.0, 1.0, 15),
        pytest.param(
            600.0, 10.0, 5, marks=(pytest.mark.slow, pytest.mark.timeout(900))
        ),
    ],
)
def test_mixed_load_with_swaps(
    directory: Path, tmp_path: Path, seconds: float, swap: float, growth: int
) -> None:
    root = Path(shutil.copytree(directory, tmp_path / "m"))
    process = Process(str(root), "--file_system_poll_wait_seconds=0.2")
    try:
        counts = soak(process, root, seconds, swap)
    finally:
        process.process.kill()
        process.process.communicate()
    print(counts)
    swaps, grown = counts.pop("swaps"), counts.pop("growth in %", 0)
    assert set(counts) == {"right"} and counts["right"] > 10 * seconds
    assert swaps >= 3 and grown <= growth
