"""The client against a served policy, and against a server that is not kpg's."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, predict_pb2

import kpg
from kpg.export import Client, Server, ServingError

OBSERVATIONS = gym.spaces.Box(-1, 1, (2,), np.float32)
ACTIONS = gym.spaces.Box(-0.5, 0.5, (1,), np.float32)


@pytest.fixture(scope="module")
def trainer() -> Any:
    policy = kpg.models.Policy(OBSERVATIONS, ACTIONS, hidden_units=(8,), seed=0)
    critic = kpg.models.Critic(OBSERVATIONS, hidden_units=(8,), seed=0)
    return SimpleNamespace(policy=policy, critic=critic)


@pytest.fixture(scope="module")
def server(trainer: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("servables")
    kpg.export.export_policy(trainer, directory)
    with Server(directory, port=0) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.address) as connected:
        yield connected


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_act(client: Client, trainer: Any, rows: int) -> None:
    observations = np.random.default_rng(rows).normal(size=(rows, 2))
    actions = client.act(observations)  # float64: the client casts
    policy = trainer.policy
    mode = policy.mode(observations.astype(np.float32))
    expected = policy.family.to_environment(mode).numpy()
    assert actions.dtype == ACTIONS.dtype and actions.shape == (rows, 1)
    np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)


def test_act_on_one_observation(client: Client) -> None:
    one, many = client.act([0.5, -0.5]), client.act([[0.5, -0.5]])
    assert one.shape == (1,)
    np.testing.assert_array_equal([one], many)
    action, state = client.step([0.5, -0.5], seed=3)
    assert action.shape == (1,) and state == {}
    outputs = client.sample([0.5, -0.5], seed=3)
    assert outputs["log_prob"].shape == () and outputs["loc"].shape == (1,)


def test_served_actions_are_those_of_the_trainer(tmp_path: Path) -> None:
    policy = kpg.models.Policy(OBSERVATIONS, gym.spaces.Discrete(5), seed=1)
    ppo = kpg.trainers.PPO(policy, kpg.models.Critic(OBSERVATIONS, seed=1), seed=0)
    kpg.export.export_policy(ppo, tmp_path)
    observations = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    with Server(tmp_path, port=0) as server, Client(server.address) as client:
        actions = client.act(observations)
        np.testing.assert_array_equal(actions, ppo.predict(observations))
        singly = np.concatenate([client.act(row[None]) for row in observations[:20]])
        np.testing.assert_array_equal(singly, actions[:20])


def test_sample(client: Client) -> None:
    observations = np.zeros((50, 2), np.float32)
    first = client.sample(observations, seed=7)
    assert set(first) == {"action", "log_prob", "value", "loc", "scale"}
    again = client.sample(observations, seed=[7, 0])
    other = client.sample(observations, seed=8)
    np.testing.assert_array_equal(first["action"], again["action"])
    assert not np.array_equal(first["action"], other["action"])
    assert len(np.unique(first["log_prob"])) == 50


def test_predict(client: Client) -> None:
    observations = [[0.5, -0.5]]
    everything = client.predict(observations)
    assert set(everything) == {"action", "log_prob", "value", "loc", "scale"}
    some = client.predict({"observation": observations}, outputs=["value"], version=1)
    assert list(some) == ["value"]
    np.testing.assert_array_equal(some["value"], everything["value"])


def test_metadata_and_status(client: Client) -> None:
    found = client.metadata()
    assert set(found) == {"serving_default", "sample"}
    inputs = {"observation": ("float", (None, 2)), "seed": ("int32", (2,))}
    assert found["sample"].inputs == inputs
    assert found["sample"].outputs["action"] == ("float", (None, 1))
    assert client.metadata(version=1) == found
    assert client.status() == client.status(version=1) == [(1, "AVAILABLE", "")]


@pytest.mark.parametrize(
    ("call", "code", "text"),
    [
        (
            lambda client: client.predict([[0.0, 0.0]], signature_name="zz"),
            "FAILED_PRECONDITION",
            'Serving signature key "zz" not found.',
        ),
        (
            lambda client: client.predict([[0.0, 0.0]], version=9),
            "NOT_FOUND",
            r"Servable not found for request: Specific\(default, 9\)",
        ),
        (
            lambda client: client.predict([[0.0, 0.0]], seed=1),
            "INVALID_ARGUMENT",
            "Sent extra: {seed}",
        ),
        (
            lambda client: client.predict({"x": [[0.0, 0.0]]}),
            "INVALID_ARGUMENT",
            "Signature input alias: observation",
        ),
        (
            lambda client: client.predict([["left", "right"]]),
            "INVALID_ARGUMENT",
            "to be float but string is provided",
        ),
        (lambda client: client.act(0.0), "INVALID_ARGUMENT", "not compatible"),
        (
            lambda client: client.act([[0.0] * 3]),
            "INVALID_ARGUMENT",
            r"\[1,3\] is not compatible with expected shape \[\?,2\]",
        ),
        (
            lambda client: client.predict([[0.0, 0.0]], outputs=["q"]),
            "INVALID_ARGUMENT",
            "not found in signature: q",
        ),
        (lambda client: client.status(version=9), "NOT_FOUND", "find version 9"),
    ],
)
def test_refusals(
    client: Client, call: Callable[[Client], Any], code: str, text: str
) -> None:
    with pytest.raises(ServingError, match=text) as caught:
        call(client)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    assert client.act([[0.0, 0.0]]).shape == (1, 1)


def test_an_unknown_model(server: Server) -> None:
    with Client(server.address, model_name="nope") as client:
        with pytest.raises(ServingError, match=r"Latest\(nope\)"):
            client.act([[0.0, 0.0]])
        with pytest.raises(ServingError, match="any versions of model nope"):
            client.wait_until_ready(timeout=0.1)


def test_no_server() -> None:
    with Client("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(ServingError, match="at 127.0.0.1:1 is unavailable"):
            client.act([[0.0, 0.0]])


def test_timeout_must_be_positive() -> None:
    with pytest.raises(ValueError, match="timeout=0"):
        Client(timeout=0)


def test_a_server_without_a_version(tmp_path: Path) -> None:
    save(tmp_path, 1, tf.float32)
    with (
        Server(tmp_path, port=0, file_system_poll_wait_seconds=0) as server,
        Client(server.address) as client,
    ):
        client.wait_until_ready(timeout=0)
        server.model.close()
        with pytest.raises(ServingError, match="must have a version available.*END"):
            client.wait_until_ready(timeout=0)


def test_it_waits_for_a_server_that_starts(server: Server, tmp_path: Path) -> None:
    late = Server(server.model.directory, port=0)
    ready = threading.Event()

    def wait() -> None:
        with Client(late.address) as client:
            client.wait_until_ready(timeout=30)
            ready.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    assert not ready.is_set()
    with late:
        assert ready.wait(30)
    thread.join()


def test_a_server_that_comes_back_is_found(server: Server) -> None:
    first = Server(server.model.directory, port=0).start()
    with Client(first.address, timeout=20) as client:
        client.wait_until_ready()
        first.stop()
        with pytest.raises(ServingError, match="unavailable"):
            client.act([[0.0, 0.0]])
        with Server(server.model.directory, port=first.port):
            client.wait_until_ready()
            assert client.act([[0.0, 0.0]]).shape == (1, 1)


def save(directory: Path, version: int, dtype: Any) -> None:
    """Writes a model that returns its input, of a given type."""
    module = tf.Module()
    spec = tf.TensorSpec([None], dtype, name="x")
    module.function = tf.function(lambda x: {"y": x}, [spec], autograph=False)
    stage = directory / ".tmp"
    tf.saved_model.save(
        module, str(stage), signatures={"serving_default": module.function}
    )
    stage.rename(directory / str(version))


def test_casts_follow_a_new_version(tmp_path: Path) -> None:
    save(tmp_path, 1, tf.uint8)
    with (
        Server(tmp_path, port=0, file_system_poll_wait_seconds=0) as server,
        Client(server.address) as client,
    ):
        returned = client.predict([1, 255])["y"]
        assert returned.dtype == np.uint8 and returned.tolist() == [1, 255]
        for values in ([0.5], [256], [-1], [np.nan]):
            with pytest.raises(ValueError, match="Input x must hold values of uint8"):
                client.predict(values)
        save(tmp_path, 2, tf.float64)
        server.model.poll()
        with pytest.raises(ServingError, match="double but uint8 is provided"):
            client.predict([1])
        returned = client.predict([0.5, -1])["y"]
        assert returned.dtype == np.float64 and returned.tolist() == [0.5, -1.0]
        save(tmp_path, 3, tf.string)
        server.model.poll()
        with pytest.raises(ServingError):
            client.predict([0.5])
        assert client.predict(["left"])["y"].tolist() == [b"left"]


def test_a_server_that_is_too_slow() -> None:
    """A server of TensorFlow Serving's own stubs that knows nothing of kpg."""

    class Slow(model_service_pb2_grpc.ModelServiceServicer):
        def GetModelStatus(self, request: Any, context: Any) -> Any:
            time.sleep(1)
            return predict_pb2.PredictResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Slow(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", timeout=0.2) as client:
        with pytest.raises(ServingError, match=r"did not answer within 0\.2 seconds"):
            client.status()
    server.stop(None).wait()


def test_it_needs_no_tensorflow(server: Server) -> None:
    code = (
        "import sys\n"
        "import kpg.export\n"
        "from kpg.export import Client, ServingError\n"
        f"with Client({server.address!r}) as client:\n"
        "    client.wait_until_ready()\n"
        "    print(client.act([[0.1, 0.2]]).shape)\n"
        "    print(client.sample([[0.1, 0.2]], seed=3)['log_prob'].shape)\n"
        "heavy = {'tensorflow', 'keras', 'tensorflow_serving', 'gymnasium'}\n"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.splitlines() == ["(1, 1)", "(1,)", "[]"]
