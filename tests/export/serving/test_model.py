"""Versions come and go below a served directory."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.export import ServingError
from kpg.export.loading import warmup
from kpg.export.serving.model import AVAILABLE, END, LOADING, Model


def publish(directory: Path, version: int) -> Path:
    """Writes a model that answers with its version."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], name="x")])
    def function(x: Any) -> dict[str, Any]:
        return {"version": 0.0 * x + version}

    module.function = function
    path = directory / str(version)
    stage = directory / f".tmp-{version}"
    tf.saved_model.save(module, str(stage), signatures={"serving_default": function})
    stage.rename(path)
    return path


def answer(model: Model, version: int | None = None) -> tuple[int, float]:
    """Returns which version the model says it asked, and which one answered."""
    with model.lease(version) as (number, servable):
        inputs = {"x": np.zeros(1, np.float32)}
        return number, float(servable.run("serving_default", inputs)["version"][0])


def states(model: Model) -> dict[int, int]:
    return {state.version: state.state for state in model.states()}


def test_the_newest_version_is_served(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    publish(tmp_path, 12)
    model = Model("m", tmp_path)
    model.poll()
    assert answer(model) == answer(model, 12) == (12, 12.0)
    assert states(model) == {12: AVAILABLE}
    for version, text in ((1, r"Specific\(m, 1\)"), (99, r"Specific\(m, 99\)")):
        with pytest.raises(ServingError, match=text):
            answer(model, version)
    model.close()
    assert states(model) == {12: END}
    with pytest.raises(ServingError, match=r"Latest\(m\)"):
        answer(model)


def test_a_new_version_takes_over_and_can_be_rolled_back(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    publish(tmp_path, 2)
    model.poll()
    assert answer(model) == (2, 2.0)
    assert [state.version for state in model.states()] == [2, 1]
    assert states(model) == {2: AVAILABLE, 1: END}
    shutil.rmtree(tmp_path / "2")
    model.poll()
    assert answer(model) == (1, 1.0)
    assert states(model) == {2: END, 1: AVAILABLE}


def test_a_broken_version_leaves_the_old_one_serving(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    (tmp_path / "2").mkdir()
    with pytest.raises(ServingError, match="Version 2 in .* cannot be served"):
        model.poll()
    assert answer(model) == (1, 1.0)
    assert states(model) == {2: END, 1: AVAILABLE}
    error = model.states()[0].error
    assert error is not None and "saved_model.pb" in error.message
    model.poll()  # silent: nothing has changed


def test_a_version_that_was_half_copied_is_tried_again(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    whole = publish(tmp_path / "elsewhere", 2)
    (tmp_path / "2").mkdir()
    with pytest.raises(ServingError):
        model.poll()
    shutil.copytree(whole, tmp_path / "2", dirs_exist_ok=True)
    model.poll()
    assert answer(model) == (2, 2.0)
    assert states(model) == {2: AVAILABLE, 1: END}
    assert model.states()[0].error is None


def test_a_version_whose_warmup_fails_is_not_served(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    path = publish(tmp_path / "elsewhere", 2)
    warmup.write(path, "m", [("serving_default", {"y": np.zeros(1, np.float32)})])
    path.rename(tmp_path / "2")
    with pytest.raises(ServingError, match="Signature input alias: x"):
        model.poll()
    assert answer(model) == (1, 1.0)


def test_the_old_version_waits_for_its_last_request(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    publish(tmp_path, 2)
    poll = threading.Thread(target=model.poll)
    with model.lease(None) as (number, servable):
        poll.start()
        deadline = time.monotonic() + 30
        while answer(model)[0] == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert answer(model) == (2, 2.0)
        assert number == 1 and poll.is_alive()
        inputs = {"x": np.zeros(1, np.float32)}
        assert servable.run("serving_default", inputs)["version"] == [1.0]
    poll.join(30)
    assert states(model) == {2: AVAILABLE, 1: END}
    with pytest.raises(RuntimeError):
        servable.run("serving_default", inputs)


def test_requests_during_many_swaps(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    model.poll()
    stop, errors, served = threading.Event(), list[BaseException](), set[int]()

    def ask() -> None:
        try:
            while not stop.is_set():
                number, value = answer(model)
                assert number == value
                served.add(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        publish(tmp_path, version)
        model.poll()
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not errors
    assert {1, 4} <= served


def test_an_empty_directory_unloads_and_an_unreadable_one_does_not(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "m"
    publish(directory, 1)
    model = Model("m", directory)
    model.poll()
    directory.rename(tmp_path / "away")
    with pytest.raises(OSError):
        model.poll()
    assert answer(model) == (1, 1.0)
    directory.mkdir()
    model.poll()
    assert states(model) == {1: END}


def test_a_version_is_loading_while_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, 1)
    model = Model("m", tmp_path)
    seen = []

    def replay(servable: Any) -> int:
        seen.append(states(model))
        return 0

    monkeypatch.setattr(warmup, "replay", replay)
    model.poll()
    assert seen == [{1: LOADING}]
