"""SavedModels that TensorFlow Serving does not serve, and why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.doctor import NAMES, diagnose_saved_model, saved_models
from kpg.export.loading import warmup

SPEC = tf.TensorSpec([None, 2], name="observation")


def save(path: Path, function: Callable[..., Any], *specs: Any, key: str = "") -> None:
    """Saves a function, by default of `observation`, as one signature."""
    module = tf.Module()
    module.function = tf.function(function, list(specs or [SPEC]), autograph=False)
    signatures = {key or "serving_default": module.function}
    tf.saved_model.save(module, str(path), signatures=signatures)


def found(path: Path, *, notes: bool = False) -> dict[str, str]:
    """Returns the words of the findings, or of the notes, by name."""
    findings = diagnose_saved_model(path)
    assert all(one.name in NAMES for one in findings)
    return {one.name: one.words for one in findings if one.note == notes}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    space = gym.spaces.Box(-1.0, 1.0, (2,))
    policy = kpg.models.Policy(space, gym.spaces.Discrete(2), hidden_units=(4,))
    directory = tmp_path_factory.mktemp("models") / "m"
    kpg.export.export_policy(policy, directory)
    return directory


def test_an_export_is_healthy(export: Path) -> None:
    assert saved_models.find(export) and saved_models.find(export / "1")
    assert diagnose_saved_model(export) == diagnose_saved_model(export / "1") == []


def test_an_export_that_was_changed(export: Path) -> None:
    file = export / "1" / "more.txt"
    file.touch()
    assert "again: more.txt" in found(export)["changed_files"]
    file.unlink()
    assert not found(export)


def test_a_model_of_others_is_healthy_with_notes(tmp_path: Path) -> None:
    save(tmp_path / "1", lambda x: {"double": 2.0 * x})
    assert found(tmp_path) == {}
    assert found(tmp_path, notes=True).keys() == {"no_warm_up"}
    assert found(tmp_path / "1", notes=True).keys() == {"no_warm_up"}


def test_what_keras_saves_for_python_only(tmp_path: Path) -> None:
    def model() -> Any:
        return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    tf.saved_model.save(model(), str(tmp_path / "1"))
    assert "Could not find variable" in found(tmp_path)["does_not_load"]
    model().export(str(tmp_path / "2"), verbose=False)
    assert found(tmp_path) == {}
    assert "output_0" in found(tmp_path, notes=True)["passing_names"]


def test_directories(tmp_path: Path) -> None:
    assert not saved_models.find(tmp_path) and not saved_models.find(tmp_path / "no")
    assert "`kpg export` makes one" in found(tmp_path)["no_version"]
    save(tmp_path / "model", lambda x: {"double": 2.0 * x})
    notes = found(tmp_path / "model", notes=True)
    assert str(tmp_path / "model" / "1") in notes["outside_a_version"]
    (tmp_path / "model").rename(tmp_path / "7")
    (tmp_path / "007").mkdir()
    (tmp_path / ".tmp-1-ab").mkdir()
    notes = found(tmp_path, notes=True)
    assert "007, 7." in notes["twice_a_version"] and "1 export(s)" in notes["leftovers"]
    (tmp_path / "12").mkdir()
    assert "readable saved_model.pb" in found(tmp_path)["not_servable"]
    (tmp_path / "12" / "saved_model.pb").write_bytes(b"half")
    assert "readable saved_model.pb" in found(tmp_path)["not_servable"]


def test_a_half_copied_version(tmp_path: Path) -> None:
    module = tf.Module()
    module.weight = tf.Variable([1.0, 2.0])
    function = tf.function(lambda x: {"y": module.weight * x}, [SPEC], autograph=False)
    tf.saved_model.save(module, str(tmp_path / "1"), {"serving_default": function})
    assert not found(tmp_path)
    for file in (tmp_path / "1" / "variables").iterdir():
        file.unlink()
    assert found(tmp_path).keys() == {"does_not_load"}


def test_what_a_server_lacks(tmp_path: Path) -> None:
    def python(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": tf.numpy_function(np.sin, [x], tf.float32)}

    save(tmp_path / "1", python)
    assert "call back into Python" in found(tmp_path)["not_servable"]


def test_no_graph_for_serving(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        builder = tf.compat.v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(session, ["train"])
        builder.save()
    assert "[['train']]" in found(tmp_path)["no_serve_tag"]


def test_signatures(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "1"))
    assert found(tmp_path).keys() == {"no_signature"}
    strange = tf.dtypes.experimental.float8_e5m2
    save(tmp_path / "2", lambda x: {"y": tf.cast(x, strange)}, key="act")
    assert found(tmp_path)["no_numpy_type"].endswith(": y.")
    assert "one of act." in found(tmp_path, notes=True)["no_default_signature"]


def test_a_sparse_input(tmp_path: Path) -> None:
    """TensorFlow 2 takes such an input apart; an older program's has none of this."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        sparse = v1.sparse_placeholder(tf.float32, [None, 2])
        infos = [
            {key: v1.saved_model.utils.build_tensor_info(one)}
            for key, one in {"x": sparse, "y": tf.sparse.to_dense(sparse)}.items()
        ]
        signature = v1.saved_model.build_signature_def(*infos, "predict")
        builder = v1.saved_model.Builder(str(tmp_path / "1"))
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}
        )
        builder.save()
    assert found(tmp_path)["not_dense"].endswith("which these are not: x.")


def test_shapes(tmp_path: Path) -> None:
    save(tmp_path / "1", lambda x: {"y": x}, tf.TensorSpec([1, 2], name="observation"))
    assert "observation [1, 2]" in found(tmp_path, notes=True)["fixed_batch"]
    save(tmp_path / "2", lambda x: {"y": tf.reshape(x, [1, 2])})
    assert found(tmp_path, notes=True).keys() == {"no_warm_up", "does_not_run"}
    assert "in a batch of 3" in found(tmp_path, notes=True)["does_not_run"]


def test_warm_up(tmp_path: Path) -> None:
    save(tmp_path / "1", lambda x: {"y": 2.0 * x})
    request = {"observation": np.ones((1, 2), np.float32)}
    warmup.write(tmp_path / "1", "m", [("serving_default", request)])
    assert diagnose_saved_model(tmp_path) == []
    warmup.write(tmp_path / "1", "m", [("act", request)])
    assert '"act" not found' in found(tmp_path)["warm_up_fails"]


def test_an_examination_writes_nothing(export: Path) -> None:
    before = sorted((one, one.stat().st_mtime_ns) for one in export.rglob("*"))
    diagnose_saved_model(export)
    assert before == sorted((one, one.stat().st_mtime_ns) for one in export.rglob("*"))
