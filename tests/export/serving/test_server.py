"""Starting, following a directory, and stopping."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export import Client, Server, ServingError


def publish(directory: Path, version: int) -> Path:
    """Writes a model that answers with its version."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], name="observation")])
    def function(observation: Any) -> dict[str, Any]:
        return {"action": 0.0 * observation + version}

    module.function = function
    stage = directory / f".tmp-{version}"
    tf.saved_model.save(module, str(stage), signatures={"serving_default": function})
    return stage.rename(directory / str(version))


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_it_serves(tmp_path: Path) -> None:
    publish(tmp_path, 5)
    with Server(tmp_path, port=0) as server:
        assert server.port > 0
        with Client(server.address) as client:
            assert client.act(np.zeros(2)).tolist() == [5.0, 5.0]
            assert client.status() == [(5, "AVAILABLE", "")]
    with pytest.raises(ServingError, match="unavailable"):
        Client(server.address, timeout=1).status()


def test_a_new_version_is_swapped_in_under_load(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    stop, errors, seen = threading.Event(), list[BaseException](), list[float]()

    def ask(address: str) -> None:
        with Client(address) as client:
            try:
                while not stop.is_set():
                    seen.append(float(client.act(np.zeros(1))[0]))
            except BaseException as error:
                errors.append(error)

    with Server(tmp_path, port=0, file_system_poll_wait_seconds=0.05) as server:
        threads = [threading.Thread(target=ask, args=(server.address,)) for _ in "ab"]
        for thread in threads:
            thread.start()
        wait_for(lambda: 1.0 in seen)
        publish(tmp_path, 2)
        wait_for(lambda: bool(seen) and seen[-1] == 2.0)
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not errors
    assert set(seen) == {1.0, 2.0}


def test_a_broken_version_is_reported_and_not_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path, 1)
    with (
        Server(tmp_path, port=0, file_system_poll_wait_seconds=0.05) as server,
        Client(server.address) as client,
        caplog.at_level(logging.WARNING, "kpg.export"),
    ):
        (tmp_path / "2").mkdir()
        wait_for(lambda: len(client.status()) == 2 and bool(client.status()[0].error))
        newest, old = client.status()
        assert (newest.version, newest.state) == (2, "END")
        assert "saved_model.pb" in newest.error
        assert old == (1, "AVAILABLE", "")
        assert client.act(np.zeros(1)) == [1.0]
        time.sleep(0.2)
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 1 and "Version 2" in warnings[0]


def test_a_directory_that_goes_away_does_no_harm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(tmp_path / "m", 1)
    with (
        Server(tmp_path / "m", port=0, file_system_poll_wait_seconds=0.05) as server,
        Client(server.address) as client,
    ):
        shutil.rmtree(tmp_path / "m")
        wait_for(lambda: "No such file" in caplog.text)
        assert client.act(np.zeros(1)) == [1.0]


def test_without_a_directory_it_waits_for_a_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    threading.Timer(0.2, publish, (tmp_path / "m", 3)).start()
    with Server(
        port=0,
        model_name="m",
        model_base_path=str(tmp_path / "m"),
        file_system_poll_wait_seconds=0.05,
    ) as server:
        assert server.model.states()[0].version == 3
        with Client(server.address, model_name="m") as client:
            assert client.act(np.zeros(1)) == [3.0]
    assert "1 model(s) did not become available" in caplog.text
    assert "No such file" in caplog.text


def test_without_a_directory_a_broken_version_is_tried_so_often(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    with pytest.raises(ServingError, match="did not become available.*saved_model.pb"):
        Server(
            port=0,
            model_base_path=str(tmp_path),
            file_system_poll_wait_seconds=0.01,
            max_num_load_retries=2,
            load_retry_interval_micros=0,
        )


def test_files_may_be_looked_at_only_once(tmp_path: Path) -> None:
    publish(tmp_path, 3)
    with Server(tmp_path, port=0, file_system_poll_wait_seconds=0) as server:
        publish(tmp_path, 4)
        time.sleep(0.2)
        with Client(server.address) as client:
            assert client.status() == [(3, "AVAILABLE", "")]


def test_a_busy_port(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=f"Received: 127.0.0.1:{port}, which"):
            Server(tmp_path, port=port)
    with Server(tmp_path, port=0) as server:
        with pytest.raises(ServingError, match="choose another port"):
            Server(tmp_path, port=server.port)
        with Client(server.address) as client:
            assert client.act(np.zeros(1)) == [1.0]


def test_an_empty_directory(tmp_path: Path) -> None:
    (tmp_path / ".tmp-1").mkdir()
    with pytest.raises(ServingError, match="must hold a version.*Received: /"):
        Server(tmp_path, port=0)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="must exist"):
        Server(tmp_path / "nowhere", port=0)


def test_a_broken_model(tmp_path: Path) -> None:
    path = publish(tmp_path, 1)
    shutil.rmtree(path / "variables")
    (path / "saved_model.pb").write_bytes(b"\xff" * 20)
    with pytest.raises(
        ServingError, match="Version 1 in .* cannot be served"
    ) as caught:
        Server(tmp_path, port=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"port": 70000}, "`port` must be in 0 … 65535.*Received: port=70000"),
        ({"model_name": ""}, "`model_name` must not be empty"),
        ({"file_system_poll_wait_seconds": -1}, "must be a finite number ≥ 0"),
        (
            {"grpc_max_threads": 0},
            "`grpc_max_threads` must be a whole number of at least 1",
        ),
        ({"rest_api_port": 8500}, "must differ from `port`"),
        ({"batching_parameters_file": "x"}, "needs `enable_batching`"),
        ({"use_alts_credentials": True}, "must be False: .*use ssl_config_file"),
        ({"prot": 1}, "`prot` is no setting. .*port"),
    ],
)
def test_settings(tmp_path: Path, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        kpg.export.serve(tmp_path, **settings)


def test_address_of_ipv6(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    server = Server(tmp_path, port=0)
    server.host = "::1"
    assert server.address == f"[::1]:{server.port}"
    server.stop()


# A process takes long to start: the tests below are stages of a single one. In the last
# but one and the one before, a thread that waits for nothing receives the signal.
PROGRAM = """
import signal, sys, threading, time, kpg.export
from kpg.export.serving.server import announce

def send(to, number):
    time.sleep(0.3)
    signal.pthread_kill(to, number)

for number in (None, None, signal.SIGTERM, signal.SIGINT, None):
    def on_ready(server):
        announce(server)
        if number is not None:
            idle = threading.Thread(target=time.sleep, args=(600,), daemon=True)
            idle.start()
            threading.Thread(target=send, args=(idle.ident, number)).start()
    kpg.export.serve(sys.argv[1], port=0, on_ready=on_ready)
"""


@pytest.fixture(scope="module")
def process(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path_factory.mktemp("served")
    publish(path, 1)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as started:
        yield started
        started.kill()


def ready_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_signal_stops_it_cleanly(process: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        line = ready_line(process)
        assert re.match(r"Serving default, version 1 of /.*, at 127\.0\.0\.1:", line)
        with Client(line.split()[-2]) as client:
            assert client.act(np.zeros(1)) == [1.0]
        process.send_signal(number)


def test_a_signal_that_another_thread_receives_stops_it(
    process: subprocess.Popen[str],
) -> None:
    for _ in (signal.SIGTERM, signal.SIGINT):
        assert ready_line(process).startswith("Serving default")


def test_a_server_that_is_killed_in_the_middle(
    process: subprocess.Popen[str],
) -> None:
    address = ready_line(process).split()[-2]
    with Client(address) as client:
        with pytest.raises(ServingError) as caught:
            for step in range(1_000_000):
                client.act(np.zeros(1))
                if step == 20:
                    os.kill(process.pid, signal.SIGKILL)
    assert caught.value.code == "UNAVAILABLE"
    assert f"The server at {address} is unavailable" in str(caught.value)
    assert "\n" not in str(caught.value)
    _, errors = process.communicate(timeout=30)
    assert "Traceback" not in errors
