"""Publishing a policy: what is written, what it computes, and what is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

import kpg
from kpg.export import Export, ServingError, VerificationError
from kpg.export.loading import warmup
from kpg.export.loading.servable import Servable
from kpg.export.writing import formats, manifest, saved_model
from kpg.export.writing.verification import Parity

OBSERVATIONS = gym.spaces.Box(
    np.array([-1.2, -np.inf], np.float32), np.array([0.6, np.inf], np.float32)
)
DISCRETE = gym.spaces.Discrete(3, start=1)
BOX = gym.spaces.Box(-0.05, 0.05, (2,), np.float32)


def trainer(action_space: gym.Space[Any], critic: bool = True, seed: int = 0) -> Any:
    """Returns what `publish` needs of a trainer, with moments that are not trivial."""
    units = (8,)
    policy = kpg.models.Policy(
        OBSERVATIONS, action_space, hidden_units=units, seed=seed
    )
    value = kpg.models.Critic(OBSERVATIONS, hidden_units=units, seed=seed)
    rng = np.random.default_rng(seed)
    for variable in [*policy.variables, *value.variables]:
        if "float" in str(variable.dtype):
            noise = rng.uniform(0.1, 1.0, variable.shape)
            variable.assign(noise.astype(np.float32))
    return SimpleNamespace(policy=policy, critic=value if critic else None)


@dataclasses.dataclass(frozen=True)
class Case:
    """A policy, what was published of it, and that in both of TensorFlow's loaders."""

    trainer: Any
    export: Export
    servable: Servable
    loaded: Any


@pytest.fixture(
    scope="module",
    params=[(DISCRETE, True), (BOX, True), (DISCRETE, False)],
    ids=["discrete", "box", "no-critic"],
)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Case:
    made = trainer(*request.param)
    directory = tmp_path_factory.mktemp("servables") / "mountain_car"
    export = saved_model.publish(made, directory, notes={"env": "MountainCar-v0"})
    loaded = tf.saved_model.load(export.path)
    return Case(made, export, Servable(export.path), loaded)


def observations(rows: int) -> Any:
    return np.random.default_rng(rows).normal(size=(rows, 2)).astype(np.float32)


def expected(trainer: Any, observation: Any, raw: Any) -> dict[str, Any]:
    """Computes the outputs from the public interface of the models."""
    policy = trainer.policy
    outputs = {
        "action": policy.family.to_environment(raw),
        "log_prob": policy.distribution(observation).log_prob(raw),
        **policy.family.named_parameters(policy(observation)),
    }
    if trainer.critic is not None:
        outputs["value"] = trainer.critic(observation)
    return {name: tensor.numpy() for name, tensor in outputs.items()}


def assert_outputs(got: Mapping[str, Any], right: Mapping[str, Any]) -> None:
    assert set(got) == set(right)
    for name, array in right.items():
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got[name], array, rtol=2e-5, atol=2e-5)
        else:
            np.testing.assert_array_equal(got[name], array)
        assert got[name].dtype == array.dtype


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_both_loaders_do_what_the_live_policy_does(case: Case, rows: int) -> None:
    observation, seed = observations(rows), np.array([3, 4], np.int32)
    policy = case.trainer.policy
    greedy = expected(case.trainer, observation, policy.mode(observation))
    raw, _ = policy.sample(observation, seed)
    sampled = expected(case.trainer, observation, raw)

    servable, signatures = case.servable, case.loaded.signatures
    inputs = {"observation": observation}
    assert_outputs(servable.run("serving_default", inputs), greedy)
    assert_outputs(servable.run("sample", {**inputs, "seed": seed}), sampled)

    constants = {"observation": tf.constant(observation)}
    served = signatures["serving_default"](**constants)
    assert_outputs({name: value.numpy() for name, value in served.items()}, greedy)
    served = signatures["sample"](**constants, seed=tf.constant(seed))
    assert_outputs({name: value.numpy() for name, value in served.items()}, sampled)


WITHOUT_KERAS = """
import sys
sys.modules["keras"] = None  # TensorFlow itself imports Keras where it can
import tensorflow as tf
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1])
    signature = meta_graph.signature_def["serving_default"]
    feed = {signature.inputs["observation"].name: [[0.25, -1.5]]}
    print(session.run(signature.outputs["log_prob"].name, feed)[0])
assert "kpg" not in sys.modules
import numpy as np
from kpg.export.loading.servable import Servable
inputs = {"observation": np.array([[0.25, -1.5]], np.float32)}
print(Servable(sys.argv[1]).run("serving_default", inputs)["log_prob"][0])
"""


@pytest.mark.parametrize("case", [(BOX, True)], ids=["box"], indirect=True)
def test_tensorflow_alone_can_serve_it(case: Case) -> None:
    """No Keras and no kpg in the process: nothing but the loader of servers.

    Nor does kpg's own loader need Keras.
    """
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, case.export.path],
        capture_output=True,
        text=True,
        check=True,
    )
    observation = np.array([[0.25, -1.5]], np.float32)
    raw = case.trainer.policy.mode(observation)
    right = expected(case.trainer, observation, raw)["log_prob"][0]
    found = [float(line) for line in process.stdout.splitlines()]
    assert found == pytest.approx([right, right], abs=1e-5)


def test_actions_belong_to_the_environment(case: Case) -> None:
    inputs = {"observation": observations(50), "seed": np.array([0, 1], np.int32)}
    actions = case.servable.run("sample", inputs)["action"]
    space = case.trainer.policy.action_space
    assert actions.dtype == space.dtype
    assert all(space.contains(action) for action in actions)


def test_equal_seeds_draw_equal_actions(case: Case) -> None:
    servable, observation = case.servable, observations(64)
    drawn = [
        servable.run("sample", {"observation": observation, "seed": seed})["log_prob"]
        for seed in np.array([[1, 2], [1, 2], [1, 3], [2, 2]], np.int32)
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(drawn[0], drawn[3])


def test_signatures(case: Case) -> None:
    found = case.export.signatures
    assert set(found) == {"serving_default", "sample"}
    observation = {"dtype": "float32", "shape": [None, 2]}
    seed = {"dtype": "int32", "shape": [2]}
    assert found["serving_default"]["inputs"] == {"observation": observation}
    assert found["sample"]["inputs"] == {"observation": observation, "seed": seed}
    outputs = found["serving_default"]["outputs"]
    assert found["sample"]["outputs"] == outputs
    rows = {"dtype": "float32", "shape": [None]}
    discrete = case.trainer.policy.action_space == DISCRETE
    three = {"dtype": "float32", "shape": [None, 3]}
    two = {"dtype": "float32", "shape": [None, 2]}
    assert outputs == {
        "log_prob": rows,
        **({"value": rows} if case.trainer.critic else {}),
        **(
            {"action": {"dtype": "int64", "shape": [None]}, "logits": three}
            if discrete
            else {"action": two, "loc": two, "scale": two}
        ),
    }


def test_a_wrong_width_is_refused_by_the_graph_itself(case: Case) -> None:
    inputs = {"observation": np.ones((2, 1), np.float32)}
    with pytest.raises(ServingError, match=r"\[2,1\] is not compatible"):
        case.servable.run("serving_default", inputs)


def test_warmup_covers_every_signature_and_batch_size(case: Case) -> None:
    seen = set()
    path = Path(case.export.path) / warmup.PATH
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        assert request.model_spec.name == "mountain_car"
        rows = tf.make_ndarray(request.inputs["observation"]).shape[0]
        seen.add((request.model_spec.signature_name, rows))
    names = ("serving_default", "sample")
    assert seen == {(name, rows) for name in names for rows in (1, 2, 8, 64)}
    assert warmup.replay(case.servable) == len(seen)


def test_a_server_of_another_user_can_read_it(case: Case) -> None:
    for path in [Path(case.export.path), *Path(case.export.path).rglob("*")]:
        assert path.stat().st_mode & 0o044 == 0o044


@pytest.fixture
def unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the comparison, which takes longest, where names alone count."""
    monkeypatch.setattr(formats, "verify", lambda *_, **__: Parity(0.0, {}, ()))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@pytest.mark.usefixtures("unverified")
def test_versions(tmp_path: Path) -> None:
    policy = trainer(DISCRETE).policy
    made = [
        kpg.export.export_policy(policy, tmp_path / "m"),
        kpg.export.export_policy(policy, tmp_path / "m", version=7),
        kpg.export.export_policy(policy, tmp_path / "m"),
    ]
    assert made == [str(tmp_path / "m" / name) for name in ("1", "7", "8")]
    assert names(tmp_path / "m") == {"1", "7", "8"}


@pytest.mark.parametrize("name", ["2", "002"])
def test_an_existing_version_is_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ValueError, match="never overwritten.*version=2, which exists"):
        kpg.export.export_policy(trainer(DISCRETE), tmp_path, version=2)
    assert names(tmp_path) == {name} and not any((tmp_path / name).iterdir())


@pytest.mark.usefixtures("unverified")
@pytest.mark.parametrize("occupied", [True, False])
def test_a_version_that_appears_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, occupied: bool
) -> None:
    def write(*args: Any, **options: Any) -> None:
        (tmp_path / "1").mkdir()
        if occupied:
            (tmp_path / "1" / "saved_model.pb").write_text("somebody else's")

    monkeypatch.setattr(manifest, "write", write)
    with pytest.raises(ValueError, match="version=1"):
        kpg.export.export_policy(trainer(DISCRETE), tmp_path, version=1)
    assert names(tmp_path) == {"1"}
    assert len(list((tmp_path / "1").iterdir())) == occupied


@pytest.mark.parametrize("version", [0, -1, 1.5, "1", True])
def test_what_is_no_version(tmp_path: Path, version: Any) -> None:
    with pytest.raises(ValueError, match="`version` must be a whole number.*Received"):
        kpg.export.export_policy(trainer(DISCRETE), tmp_path, version=version)
    assert not names(tmp_path)


def test_what_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"kpg\.models\.Policy\. Received: dict"):
        kpg.export.export_policy({}, tmp_path / "m")
    assert not names(tmp_path)


@pytest.mark.parametrize("note", [np.nan, np.float32(1), {1, 2}])
def test_notes_that_json_cannot_hold(tmp_path: Path, note: Any) -> None:
    with pytest.raises(ValueError, match="`notes` must be JSON"):
        saved_model.publish(trainer(DISCRETE), tmp_path, notes={"x": note})
    assert not names(tmp_path)


def test_a_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("important")
    with pytest.raises(ValueError, match="possible to make the model's directory"):
        kpg.export.export_policy(trainer(DISCRETE), tmp_path / "m")
    assert (tmp_path / "m").read_text() == "important"


def test_a_policy_that_is_not_finite(tmp_path: Path) -> None:
    made = trainer(DISCRETE)
    for weight in made.policy.trainable_variables:
        weight.assign(weight * np.nan)
    with pytest.raises(VerificationError, match="finite"):
        kpg.export.export_policy(made, tmp_path)
    assert not names(tmp_path)


@pytest.mark.usefixtures("unverified")
def test_a_failed_verification_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = kpg.export.export_policy(trainer(DISCRETE), tmp_path)
    hashes = manifest.hashes(Path(first))

    def fail(*args: Any, **options: Any) -> None:
        raise VerificationError("no parity")

    monkeypatch.setattr(formats, "verify", fail)
    with pytest.raises(VerificationError, match="no parity"):
        kpg.export.export_policy(trainer(DISCRETE), tmp_path)
    assert names(tmp_path) == {"1"} and manifest.hashes(Path(first)) == hashes


@pytest.mark.usefixtures("unverified")
def test_leftovers_of_a_crash_are_no_version_and_go(tmp_path: Path) -> None:
    (tmp_path / ".tmp-123-abc").mkdir()
    (tmp_path / ".tmp-123-abc" / "saved_model.pb").write_text("half")
    assert kpg.export.export_policy(trainer(DISCRETE), tmp_path).endswith("/1")
    assert names(tmp_path) == {"1"}


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Box(0, 255, (3, 4, 2), np.uint8),
        gym.spaces.Box(-np.inf, np.inf, (), np.float64),
        gym.spaces.Box(-3.4e38, 3.4e38, (3,), np.float32),
    ],
    ids=["image", "scalar", "any-float"],
)
def test_observation_spaces(tmp_path: Path, space: Any) -> None:
    policy = kpg.models.Policy(space, DISCRETE, hidden_units=(8,), seed=0)
    export = saved_model.publish(policy, tmp_path)
    inputs = export.signatures["serving_default"]["inputs"]["observation"]
    assert inputs == {"dtype": space.dtype.name, "shape": [None, *space.shape]}


def test_a_policy_of_a_mirrored_strategy(tmp_path: Path) -> None:
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        made = trainer(DISCRETE)
    export = saved_model.publish(made, tmp_path)
    inputs = {"observation": observations(4)}
    outputs = Servable(export.path).run("serving_default", inputs)
    mode = made.policy.mode(inputs["observation"])
    assert_outputs(outputs, expected(made, inputs["observation"], mode))


@pytest.mark.usefixtures("unverified")
def test_a_trainer(tmp_path: Path) -> None:
    made = trainer(DISCRETE)
    ppo = kpg.trainers.PPO(made.policy, made.critic, seed=0)
    observation = observations(20)
    inputs = {"observation": observation}
    path = kpg.export.export_policy(ppo, tmp_path)
    np.testing.assert_array_equal(
        Servable(path).run("serving_default", inputs)["action"],
        ppo.predict(observation),
    )
