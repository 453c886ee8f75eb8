"""One loaded version: the session, and what can be wrong with it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.export import ServingError
from kpg.export.loading.call import Call, Later
from kpg.export.loading.servable import Servable, tensor_name

ONES = {"observation": np.ones((3, 2), np.float32)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one variable: `observation * 2`, and the number of rows."""
    module = tf.Module()
    module.factor = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="observation")])
    def function(observation: Any) -> dict[str, Any]:
        checked = tf.ensure_shape(observation, [None, 2])
        return {"product": checked * module.factor, "rows": tf.shape(observation)[0]}

    module.function = function
    directory = tmp_path_factory.mktemp("saved") / "model"
    tf.saved_model.save(
        module, str(directory), signatures={"serving_default": function}
    )
    return directory


@pytest.fixture
def path(saved: Path, tmp_path: Path) -> Path:
    """A copy of that model, which a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_runs_signatures(path: Path) -> None:
    servable = Servable(path)
    assert set(servable.signatures) == {"serving_default", "__saved_model_init_op"}
    outputs = servable.run("serving_default", ONES)
    np.testing.assert_array_equal(outputs["product"], np.full((3, 2), 2.0))
    assert outputs["rows"] == 3
    assert list(servable.run("serving_default", ONES, ["rows"])) == ["rows"]
    servable.close()


def test_many_threads_at_once(path: Path) -> None:
    servable = Servable(path)
    results: dict[int, bool] = {}

    def work(number: int) -> None:
        inputs = {"observation": np.full((number + 1, 2), number, np.float32)}
        for _ in range(50):
            outputs = servable.run("serving_default", inputs)
            right = outputs["product"] == 2 * inputs["observation"]
            results[number] = results.get(number, True) and bool(right.all())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), True)


def test_what_is_quick_needs_no_thread_that_may_wait(path: Path) -> None:
    servable, hurried = Servable(path), Call(may_wait=False)
    with pytest.raises(Later):  # nobody knows yet how long it takes
        servable.run("serving_default", ONES, None, hurried)
    for _ in range(1000):
        outputs = servable.run("serving_default", ONES)
        with contextlib.suppress(Later):
            outputs = servable.run("serving_default", ONES, None, hurried)
            break
    else:
        pytest.fail("a model of one multiplication is not quick")
    np.testing.assert_array_equal(outputs["product"], np.full((3, 2), 2.0))
    many = {"observation": np.ones((5000, 2), np.float32)}
    with pytest.raises(Later):
        servable.run("serving_default", many, None, hurried)
    with pytest.raises(Later):
        servable.run_tensors({}, ["never asked for:0"], hurried)
    servable.close()


def test_the_public_session_is_the_fallback(path: Path) -> None:
    servable = Servable(path)
    fast = servable.run("serving_default", ONES)
    servable._session = PublicSession(servable._session)
    servable._programs.clear()
    slow = servable.run("serving_default", ONES)
    assert set(fast) == set(slow)
    for name in fast:
        np.testing.assert_array_equal(fast[name], slow[name])
    with pytest.raises(ServingError, match="Cannot feed value") as caught:
        servable.run("serving_default", {"observation": np.ones(4, np.float32)})
    assert caught.value.code == "INVALID_ARGUMENT"


class PublicSession:
    """A session of which only the public interface is left."""

    def __init__(self, session: Any) -> None:
        self.run, self.graph = session.run, session.graph


def test_errors_of_the_runtime(path: Path) -> None:
    servable = Servable(path)
    wide = {"observation": np.ones((3, 4), np.float32)}
    with pytest.raises(ServingError, match=r"\[3,4\] is not compatible") as caught:
        servable.run("serving_default", wide)
    assert caught.value.code == "INVALID_ARGUMENT"
    assert "\n" not in str(caught.value)


def broken(path: Path, how: str) -> None:
    """Damages a SavedModel."""
    graph, index = path / "saved_model.pb", path / "variables" / "variables.index"
    data = path / "variables" / "variables.data-00000-of-00001"
    if how == "no graph":
        graph.unlink()
    elif how == "no graph at all":
        graph.write_bytes(b"\xff" * 50)
    elif how == "no index":
        index.unlink()
    elif how == "no data":
        data.unlink()
    elif how == "cut data":
        data.write_bytes(data.read_bytes()[:1])


@pytest.mark.parametrize(
    "how", ["no graph", "no graph at all", "no index", "no data", "cut data"]
)
def test_a_damaged_model(path: Path, how: str) -> None:
    broken(path, how)
    with pytest.raises(ServingError):
        Servable(path)


def test_a_tag_that_nobody_serves(path: Path, tmp_path: Path) -> None:
    builder = tf.compat.v1.saved_model.builder.SavedModelBuilder(str(tmp_path / "v1"))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        builder.add_meta_graph_and_variables(session, ["train"])
    builder.save()
    with pytest.raises(ServingError, match="serve") as caught:
        Servable(tmp_path / "v1")
    assert caught.value.code == "NOT_FOUND"


def test_a_sparse_input_is_refused(path: Path) -> None:
    info = Servable(path).signatures["serving_default"].inputs["observation"]
    assert tensor_name(info) == "serving_default_observation:0"
    info.coo_sparse.values_tensor_name = "values:0"
    with pytest.raises(ServingError, match="dense"):
        tensor_name(info)


# In the fast tests one process without Keras reads an export: `test_saved_model.py`.
@pytest.mark.slow
def test_loads_without_keras(path: Path) -> None:
    """The session loader must not lean on classes that Keras has registered."""
    code = (
        "import sys\n"
        "sys.modules['keras'] = None  # TensorFlow itself imports it where it can\n"
        "import numpy as np\n"
        "from kpg.export.loading.servable import Servable\n"
        f"servable = Servable({str(path)!r})\n"
        "inputs = {'observation': np.ones((2, 2), np.float32)}\n"
        "print(servable.run('serving_default', inputs)['product'].sum())\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout == "8.0\n"
