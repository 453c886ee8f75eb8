"""Functions of a user's own as signatures: what works, and what is refused in words."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export import Client, Server, ServingError, VerificationError
from kpg.export.loading import warmup
from kpg.export.loading.servable import Servable
from kpg.export.writing import manifest, saved_model

BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
NESTED = gym.spaces.Dict(
    {
        "legal": gym.spaces.MultiBinary(2),
        "seen": gym.spaces.Tuple([BOX, gym.spaces.Text(3, charset="ab")]),
    }
)
ACTIONS = gym.spaces.Discrete(2)


def make_policy(space: Any = BOX, **options: Any) -> Any:
    return kpg.models.Policy(space, ACTIONS, hidden_units=(4,), seed=0, **options)


def make_critic(space: Any = BOX, **options: Any) -> Any:
    return kpg.models.Critic(space, hidden_units=(4,), seed=1, **options)


@pytest.fixture(scope="module")
def policy() -> Any:
    return make_policy()


@pytest.fixture(scope="module")
def critic() -> Any:
    return make_critic()


def observations(rows: int) -> Any:
    return np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def export(
    policy: Any, critic: Any, tmp_path_factory: pytest.TempPathFactory
) -> saved_model.Export:
    """An export with two functions of a critic that the policy knows nothing of."""

    def risk(observation: Any) -> Any:
        """Value and entropy of each state.

        Not for the manifest.
        """
        entropy = policy.entropy(observation)
        return {"value": critic(observation), "entropy": entropy}

    def noise(*, seed: Any, observation: Any, scale: float = 0.5) -> Any:
        drawn = tf.random.stateless_normal(tf.shape(observation)[:1], seed)
        return scale * drawn

    directory = tmp_path_factory.mktemp("models")
    functions: dict[str, Any] = {"risk": risk, "noise": noise}
    return saved_model.publish(policy, directory, signatures=functions)


def test_a_function_is_served(export: Any, policy: Any, critic: Any) -> None:
    batch = observations(5)
    directory = Path(export.path).parent
    with Server(directory, port=0) as server, Client(server.address) as client:
        assert set(client.metadata()["risk"].outputs) == {"value", "entropy"}
        served = client.predict({"observation": batch}, signature_name="risk")
        np.testing.assert_allclose(served["value"], critic(batch), rtol=1e-5)
        np.testing.assert_allclose(served["entropy"], policy.entropy(batch), rtol=1e-5)
        one = client.predict(batch[:1], signature_name="risk", outputs=["value"])
        np.testing.assert_allclose(one["value"], critic(batch[:1]), rtol=1e-5)
        np.testing.assert_allclose(
            client.act(batch), policy.mode(batch), rtol=1e-5
        )  # the built-in ones are still there
        with pytest.raises(ServingError, match=r"\[2,2\] is not compatible"):
            client.predict(batch[:2, :2], signature_name="risk")


def test_one_tensor_is_named_after_its_signature(export: Any) -> None:
    seed = np.array([1, 2], np.int32)
    inputs = {"observation": observations(4), "seed": seed}
    outputs = Servable(export.path).run("noise", inputs)
    right = 0.5 * tf.random.stateless_normal([4], seed)
    assert list(outputs) == ["noise"]
    np.testing.assert_allclose(outputs["noise"], right, rtol=1e-6)


def test_it_is_verified_warmed_up_and_in_the_manifest(export: Any) -> None:
    path = Path(export.path)
    content = json.loads((path / manifest.PATH).read_text("utf-8"))
    rows = {"dtype": "float32", "shape": [None]}
    assert content["signatures"]["risk"] == {
        "docs": "Value and entropy of each state.",
        "inputs": {"observation": {"dtype": "float32", "shape": [None, 3]}},
        "outputs": {"value": rows, "entropy": rows},
    }
    assert content["signatures"]["noise"]["docs"] == ""
    assert {"risk/value", "risk/entropy", "noise/noise"} < set(
        content["parity"]["outputs"]
    )
    assert warmup.replay(Servable(path)) == 4 * 4  # signatures × batch sizes


def test_both_loaders_know_it(export: Any, critic: Any) -> None:
    loaded = tf.saved_model.load(export.path).signatures["risk"]
    batch = observations(3)
    outputs = loaded(observation=tf.constant(batch))
    np.testing.assert_allclose(outputs["value"], critic(batch), rtol=1e-5)


def run(made: Any, directory: Path, name: str, inputs: Any, **functions: Any) -> Any:
    """Exports with some functions and runs one of them."""
    path = kpg.export.export_policy(made, directory, signatures=functions)
    return Servable(path).run(name, inputs)


def test_a_nest_is_given_as_a_nest_or_by_part(tmp_path: Path) -> None:
    made, critic = make_policy(NESTED, action_mask="legal"), make_critic(NESTED)
    inputs = {
        "observation_legal": np.ones((2, 2), np.int8),
        "observation_seen_0": observations(2),
        "observation_seen_1": np.array([b"ab", b"b"], object),
    }

    def parts(observation_seen_0: Any, observation_seen_1: Any) -> Any:
        codes = tf.cast(observation_seen_1, tf.float32)
        return tf.reduce_sum(observation_seen_0, -1) + tf.reduce_sum(codes, -1)

    functions = {"value": lambda observation: critic(observation), "parts": parts}
    value = run(made, tmp_path, "value", inputs, **functions)["value"]
    emitted = {"legal": inputs["observation_legal"]}
    emitted["seen"] = (inputs["observation_seen_0"], ["ab", "b"])
    encoded = kpg.spaces.encode(NESTED, emitted)
    np.testing.assert_allclose(value, critic(encoded), rtol=1e-5)
    servable = Servable(tmp_path / "1")
    signature = servable.signatures["parts"]
    assert set(signature.inputs) == {"observation_seen_0", "observation_seen_1"}
    outputs = servable.run("parts", inputs)["parts"]
    right = inputs["observation_seen_0"].sum(-1) + [3, 2]  # "a" is 1, "b" is 2
    np.testing.assert_allclose(outputs, right, rtol=1e-5)
    for name, values, text in (
        ("observation_legal", np.zeros((2, 2), np.int8), "must have a legal action"),
        ("observation_seen_0", observations(3), "must have the same number of rows"),
        ("observation_seen_1", np.array([b"c", b""], object), "characters of its"),
    ):
        with pytest.raises(ServingError, match=text):
            servable.run("value", inputs | {name: values})


def test_a_state_can_be_asked_for(tmp_path: Path) -> None:
    made = make_policy(memory="gru", memory_units=5)
    critic = make_critic(memory="lstm", memory_units=5)  # which no built-in one serves

    def size(state_0: Any, observation: Any) -> Any:
        return critic(observation) + tf.norm(state_0, axis=-1)

    state = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    inputs = {"observation": observations(4), "state_0": state}
    outputs = run(made, tmp_path, "size", inputs, size=size)["size"]
    right = critic(inputs["observation"]) + np.linalg.norm(state, axis=-1)
    np.testing.assert_allclose(outputs, right, rtol=1e-5)


def test_variables_of_any_kind_are_saved(policy: Any, tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        mirrored = make_critic()
    plain, constant = tf.Variable(3.0), tf.constant(np.arange(300.0, dtype=np.float32))
    keras_weight = keras.Variable(2.0)

    def weighed(observation: Any, limit: float) -> Any:
        return limit * plain * mirrored(observation) * keras_weight + constant[7]

    function = functools.partial(weighed, limit=0.5)
    inputs = {"observation": observations(3)}
    outputs = run(policy, tmp_path, "weighed", inputs, weighed=tf.function(function))
    right = 0.5 * 3.0 * mirrored(inputs["observation"]) * 2.0 + 7.0
    np.testing.assert_allclose(outputs["weighed"], right, rtol=1e-5)


class Scorer:
    """A method, and an object, can be functions too."""

    def __call__(self, observation: Any) -> Any:
        return self.score(observation)

    def score(self, observation: Any) -> Any:
        """How far from the middle."""
        return tf.norm(observation, axis=-1)


def test_methods_and_objects_are_functions(policy: Any, tmp_path: Path) -> None:
    functions: dict[str, Any] = {"method": Scorer().score, "thing": Scorer()}
    export = saved_model.publish(policy, tmp_path, signatures=functions)
    docs = {name: export.signatures[name]["docs"] for name in functions}
    assert docs == {"method": "How far from the middle.", "thing": ""}


def branching(observation: Any) -> Any:
    return observation if observation[0, 0] > 0 else -observation


def making(observation: Any) -> Any:
    return observation * tf.Variable(2.0)


def vanishing(observation: Any) -> Any:
    with tf.init_scope():
        factor = tf.Variable(2.0)
    return observation * factor


def failing(observation: Any) -> Any:
    raise KeyError("temperature")


def constant_rows(observation: Any) -> Any:
    return tf.zeros([7])


def python(observation: Any) -> Any:
    doubled = tf.py_function(lambda x: 2 * x, [observation], tf.float32)
    return tf.ensure_shape(doubled, observation.shape)


def changing(observation: Any, count: Any = tf.Variable(0.0)) -> Any:  # noqa: B008
    return observation + count.assign_add(1.0)


TABLE = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2]), 0)


def looking_up(observation: Any) -> Any:
    return TABLE.lookup(tf.cast(observation[:, 0], tf.int32))


def compiled(observation: Any) -> Any:
    return tf.function(tf.square, jit_compile=True)(observation)


def random(observation: Any) -> Any:
    return tf.random.normal(tf.shape(observation))


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (3, "must be a function of tensors. Received: 3"),
        (max, "parameters that Python can inspect.*Received: <built-in function max>"),
        (lambda: tf.zeros([1]), r"take an input with a batch axis.*inputs \[\]"),
        (lambda seed: seed, r"take an input with a batch axis.*\['seed'\]"),
        (lambda obs: obs, "named after the inputs: observation, seed.*parameter obs"),
        (lambda *observation: observation[0], r"Received: a parameter \*observation"),
        (lambda **inputs: inputs, r"Received: a parameter \*\*inputs"),
        (lambda observation, /: observation, "Received: a parameter observation"),
        (lambda observation: None, "dense tensor.*Received: {'mine': 'NoneType'}"),
        (lambda observation: {}, "dense tensor or a dictionary.*Received: {}"),
        (lambda observation: np.ones(3), "dense tensor.*'ndarray'"),
        (lambda observation: 1.0, "dense tensor.*'float'"),
        (lambda observation: [observation], "dense tensor.*'list'"),
        (lambda observation: {"a": {"b": observation}}, "dense tensor.*'a': 'dict'"),
        (
            lambda observation: tf.RaggedTensor.from_tensor(observation),
            "dense tensor.*'RaggedTensor'",
        ),
        (lambda observation: {"a b": observation}, "output names.*Received: 'a b'"),
        (lambda observation: {1: observation, "a": observation}, "names.*Received: 1"),
        (lambda observation: tf.reduce_mean(observation), r"batch axis.*shape \(\)"),
        (constant_rows, r"batch axis.*mine of shape \(7,\)"),
        (lambda observation: tf.transpose(observation), r"batch axis.*\(3, None\)"),
        (lambda observation: tf.concat([observation] * 2, 0), "batch axis.*rows"),
        (
            lambda observation: tf.cast(
                observation, tf.dtypes.experimental.float8_e5m2
            ),
            "mine of float8_e5m2",
        ),
        (branching, "run as a graph.*OperatorNotAllowedInGraphError"),
        (making, "run as a graph.*singleton tf.Variables"),
        (vanishing, "(must run|must not use).*variable"),
        (
            failing,
            "graph of TensorFlow operations. Received: KeyError: 'temperature'",
        ),
        (python, "'mine' cannot be served.*call back into Python.*PyFunc"),
        (compiled, "'mine' cannot be served.*must not need XLA"),
        (changing, "must not change variables.*AssignAddVariableOp"),
        (looking_up, "nothing else is saved.*Received: 1 other resource"),
        (random, "mine with observation .*must be within"),
    ],
)
def test_what_cannot_be_exported(
    policy: Any, tmp_path: Path, function: Any, text: str
) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        kpg.export.export_policy(policy, tmp_path / "m", signatures={"mine": function})
    assert "mine" in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.glob("m/*"))


def same(observation: Any) -> Any:
    return observation


@pytest.mark.parametrize("name", ["", "2nd", "a b", "a-b", "é", "__init", 3, None])
def test_what_is_no_name(policy: Any, tmp_path: Path, name: Any) -> None:
    with pytest.raises(ValueError, match="ASCII letters, digits.*Received: "):
        kpg.export.export_policy(policy, tmp_path, signatures={name: same})


@pytest.mark.parametrize("name", ["serving_default", "sample", "complete"])
def test_a_name_that_is_taken(policy: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"must not be taken.*Received: '{name}'"):
        kpg.export.export_policy(policy, tmp_path, signatures={name: same})


@pytest.mark.parametrize("signatures", [same, [same], "risk"])
def test_what_is_no_dictionary(policy: Any, tmp_path: Path, signatures: Any) -> None:
    with pytest.raises(ValueError, match="dictionary of functions by name. Received:"):
        kpg.export.export_policy(policy, tmp_path, signatures=signatures)


def test_a_function_is_traced_once(policy: Any, tmp_path: Path) -> None:
    traced = []

    def counted(observation: Any) -> Any:
        traced.append(not tf.executing_eagerly())
        return observation

    kpg.export.export_policy(policy, tmp_path, signatures={"counted": counted})
    assert sum(traced) == 1


def test_a_value_that_is_not_finite(policy: Any, tmp_path: Path) -> None:
    function: Callable[..., Any] = lambda observation: observation / 0.0  # noqa: E731
    with pytest.raises(VerificationError, match="bad with observation.*finite"):
        kpg.export.export_policy(policy, tmp_path, signatures={"bad": function})
