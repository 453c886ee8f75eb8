"""What no client may do to a server: crash it, fill it up, read what is not a model."""

from __future__ import annotations

import http.client
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from kpg.export import Server
from kpg.types import Array
from tests import fuzzing
from tests.served_models import examples, free_port, publish

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

    def __init__(self, directory: Path, *flags: str) -> None:
        self.directory, self.rest_port = directory, free_port()
        command = [sys.executable, "-m", "kpg", "serve", "--port=0", "--json"]
        command += [str(directory), f"--rest_api_port={self.rest_port}", *flags]
        self.process = subprocess.Popen(
            command,
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
    started = Process(directory, "--file_system_poll_wait_seconds=0.2")
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
    codes: Counter[str] = Counter()
    sent = fuzzing.messages(seed)
    for at in range(0, messages, 500):
        some = min(500, messages - at)
        codes += send(process.address, itertools.islice(sent, some))
        restore(process)
    assert set(codes) <= CODES | {UNPARSED}, codes
    assert codes[UNPARSED] < messages
    statuses = post(
        process.rest_address, itertools.islice(fuzzing.documents(seed), documents)
    )
    assert set(statuses) <= STATUSES, statuses


def restore(process: Process) -> None:
    """Serves the model again: a list without it is a configuration, too."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="default", base_path=str(process.directory), model_platform="tensorflow"
    )
    with grpc.insecure_channel(process.address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        stub.HandleReloadConfigRequest(request, timeout=60)


def request_of(x: Array, **more: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "default"
    for name, value in {"x": x, **more}.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def is_well(process: Process) -> bool:
    request = request_of(np.full(1, 2.0, np.float32))
    with grpc.insecure_channel(process.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        response = stub.Predict(request, timeout=20)
    return list(response.outputs["y"].float_val) == [3.0]


def test_malformed_requests_do_no_harm(process: Process) -> None:
    fuzz(process, 500, 200, seed=0)  # whatever is made once is made now
    before, files = process.megabytes(), process.files()
    fuzz(process, 1500, 500, seed=1)
    assert process.megabytes() < before + 16
    assert process.files() <= files + 8
    assert is_well(process)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_malformed_requests_do_no_harm(process: Process) -> None:
    fuzz(process, 10_000, 2_000, seed=2)
    before = process.megabytes()
    fuzz(process, 80_000, 20_000, seed=3)
    after = process.megabytes()
    print(f"resident memory: {before:.0f} MB before, {after:.0f} MB after")
    assert after < 1.05 * before
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


# What versions add to half of what they get, the even ones and the odd ones.
NUMBERS = (20.0, 2.0)


class Questions:
    """One of each kind for a server; whether it has answered it right."""

    def __init__(self, process: Process) -> None:
        self.channel = grpc.insecure_channel(process.address)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)
        self.rest = http.client.HTTPConnection(process.rest_address, timeout=60)
        self.kinds = (self.row, self.rows, self.classify, self.post, self.status)

    def row(self, number: int = 1) -> bool:
        request = request_of(np.full(number, 2.0, np.float32))
        response = self.stub.Predict(request, timeout=60)
        wanted = [1.0 + NUMBERS[response.model_spec.version.value % 2]] * number
        return list(response.outputs["y"].float_val) == wanted

    def rows(self) -> bool:
        return self.row(200)

    def classify(self) -> bool:
        request = classification_pb2.ClassificationRequest(input=examples(2.0))
        request.model_spec.name = "default"
        request.model_spec.signature_name = "classify_x_to_y"
        response = self.stub.Classify(request, timeout=60)
        wanted = 1.0 + NUMBERS[response.model_spec.version.value % 2]
        found = response.result.classifications[0].classes[0].score
        return bool(found == wanted)

    def post(self) -> bool:
        sent = json.dumps({"instances": [2.0, 4.0]})
        self.rest.request("POST", "/v1/models/default:predict", sent)
        found = json.loads(self.rest.getresponse().read())["predictions"]
        return found in [[1.0 + one, 2.0 + one] for one in NUMBERS]

    def status(self) -> bool:
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "default"
        found = self.models.GetModelStatus(request, timeout=60).model_version_status
        return any(one.state == 30 for one in found)

    def close(self) -> None:
        self.channel.close()
        self.rest.close()


def soak(
    process: Process, versions: list[Path], root: Path, seconds: float, swap: float
) -> Counter[str]:
    """Asks in every way while versions come and go; returns what there was how often.

    Besides right and wrong answers that is how often versions changed, and by how much
    memory grew after the first tenth of the time.
    """
    counts: Counter[str] = Counter()
    stop, lock = threading.Event(), threading.Lock()

    def ask(question: Callable[[], bool]) -> None:
        while not stop.is_set():
            try:
                kind = "right" if question() else "wrong"
            except Exception as error:  # whatever it is, somebody was not answered
                kind = f"dropped: {error}"
            with lock:
                counts[kind] += 1

    asked = Questions(process)
    threads = [threading.Thread(target=ask, args=(kind,)) for kind in asked.kinds]
    for thread in threads:
        thread.start()
    start, sizes, version = time.monotonic(), list[float](), 1
    while time.monotonic() < start + seconds:
        version += 1
        shutil.copytree(versions[version % 2], root / ".tmp")
        (root / ".tmp").rename(root / str(version))
        if version > 2:
            shutil.rmtree(root / str(version - 1))
        time.sleep(swap)
        if time.monotonic() > start + seconds / 10:
            sizes.append(process.megabytes())
    stop.set()
    for thread in threads:
        thread.join()
    asked.close()
    counts["swaps"] = version - 1
    counts["growth in %"] = round(100 * (max(sizes) / min(sizes) - 1))
    return counts


@pytest.mark.parametrize(
    ("seconds", "swap", "growth"),
    [
        (1.5, 0.5, 15),
        pytest.param(
            600.0, 10.0, 5, marks=(pytest.mark.slow, pytest.mark.timeout(900))
        ),
    ],
)
def test_mixed_load_with_swaps(
    process: Process,
    directory: Path,
    tmp_path: Path,
    seconds: float,
    swap: float,
    growth: int,
) -> None:
    versions = [publish(tmp_path, 2, NUMBERS[0]), directory / "1"]
    counts = soak(process, versions, directory, seconds, swap)
    print(counts)
    swaps, grown = counts.pop("swaps"), counts.pop("growth in %", 0)
    assert set(counts) == {"right"} and counts["right"] > 50 * seconds
    assert swaps >= 3 and grown <= growth


@pytest.mark.slow
def test_deadlines_keep_what_cannot_be_answered_from_the_cores(
    process: Process,
) -> None:
    steps = 2**10
    while (took := seconds_of(process, steps)) < 0.15:
        steps *= 2
    steps = round(steps * 0.2 / took)  # a model of 0.2 seconds
    alone = ask_again_and_again(process, steps, clients=1, seconds=10.0)
    crowd = ask_again_and_again(process, steps, clients=60, seconds=10.0, timeout=1.0)
    print(f"one at a time: {alone}, 60 with a deadline of 1 s: {crowd}")
    assert set(crowd) == {"OK", "DEADLINE_EXCEEDED"}
    assert crowd["OK"] > 0.9 * alone["OK"]


def seconds_of(process: Process, steps: int) -> float:
    """Returns how long the model works so many steps, once it has been asked."""
    times = []
    for _ in range(3):
        start = time.monotonic()
        ask_again_and_again(process, steps, clients=1, seconds=0.0)
        times.append(time.monotonic() - start)
    return min(times)


def ask_again_and_again(
    process: Process,
    steps: int,
    clients: int,
    seconds: float,
    timeout: float | None = None,
) -> Counter[str]:
    """Returns how often clients were told what, in so many seconds."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    request = request_of(np.zeros(1, np.float32), steps=np.int32(steps))
    request.model_spec.signature_name = "work"

    def ask(stub: Any) -> None:
        while True:
            call = stub.Predict.future(request, timeout=timeout)
            counts[call.code().name] += 1
            if time.monotonic() >= end:
                return

    with grpc.insecure_channel(process.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        threads = [threading.Thread(target=ask, args=(stub,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return counts
