"""Versions come and go below a served directory."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import (
    file_system_storage_path_source_pb2,
)

from kpg.export import ServingError
from kpg.export.loading import versions, warmup
from kpg.export.serving.model import (
    AVAILABLE,
    END,
    LOADING,
    UNLOADING,
    Model,
    Retries,
    choose,
)


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
    inputs = {"x": np.zeros(1, np.float32)}
    with model.lease(None) as (number, servable):
        model.poll()  # does not wait for the request
        assert answer(model) == (2, 2.0)
        assert states(model) == {2: AVAILABLE, 1: UNLOADING}
        publish(tmp_path, 3)
        model.poll()
        assert answer(model) == (3, 3.0)
        assert states(model) == {3: AVAILABLE, 2: END, 1: UNLOADING}
        assert number == 1
        assert servable.run("serving_default", inputs)["version"] == [1.0]
    model.close()  # waits for all that is still being unloaded
    assert states(model) == {3: END, 2: END, 1: END}
    with pytest.raises(RuntimeError):
        servable.run("serving_default", inputs)


def test_a_version_that_fails_in_any_way_is_reported_in_words(tmp_path: Path) -> None:
    publish(tmp_path, 1)

    def load(path: Path) -> Any:
        raise KeyError("an output of no known type")

    model = Model("m", tmp_path, load=load)
    words = "KeyError: 'an output of no known type'"
    with pytest.raises(
        ServingError, match=f"Version 1 in .* cannot be served: {words}"
    ):
        model.poll()
    (state,) = model.states()
    assert (state.state, state.error and state.error.code) == (END, "INTERNAL")


def test_a_load_is_tried_again_so_often_and_after_so_long(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    tried = []

    def load(path: Path) -> Any:
        tried.append(path.name)
        if len(tried) < 4:
            raise ServingError("UNAVAILABLE", "not yet")
        return warmup.load(path)

    def attempts(retries: Retries, polls: int) -> int:
        tried.clear()
        model = Model("m", tmp_path, load=load, retries=retries)
        for _ in range(polls):
            with contextlib.suppress(ServingError):
                model.poll()
        assert model.has_given_up() == (
            not model.is_available() and not retries.seconds
        )
        model.close()
        return len(tried)

    assert attempts(Retries(5, 0.0), 6) == 4  # the fourth succeeds
    assert attempts(Retries(2, 0.0), 6) == 3
    assert attempts(Retries(0, 0.0), 6) == 1
    assert attempts(Retries(5, 60.0), 6) == 1


POLICY = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig
POLICIES = {
    "none": ("", [12]),
    "default": ("latest {}", [12]),
    "one": ("latest { num_versions: 1 }", [12]),
    "two": ("latest { num_versions: 2 }", [5, 12]),
    "more than there are": ("latest { num_versions: 9 }", [1, 3, 5, 12]),
    "all": ("all {}", [1, 3, 5, 12]),
    "specific": ("specific { versions: 3 versions: 12 }", [3, 12]),
    "specific and missing": ("specific { versions: 3 versions: 4 }", [3]),
    "specific and none": ("specific {}", []),
}


@pytest.mark.parametrize(("text", "chosen"), POLICIES.values(), ids=POLICIES.keys())
def test_a_policy_chooses_versions(
    text: str, chosen: list[int], tmp_path: Path
) -> None:
    for name in ("1", "003", "5", "12", "x", ".tmp-13", "13.0"):
        (tmp_path / name).mkdir()
    (tmp_path / "99").touch()  # a file is no version
    policy = text_format.Parse(text, POLICY.ServableVersionPolicy())
    assert sorted(choose(versions.published(tmp_path), policy)) == chosen


def test_several_versions_are_served_and_a_policy_may_change(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        publish(tmp_path, version)
    policy = POLICY.ServableVersionPolicy()
    policy.specific.versions.extend([1, 3])
    model = Model("m", tmp_path, policy)
    model.poll()
    assert answer(model) == answer(model, 3) == (3, 3.0)
    assert answer(model, 1) == (1, 1.0)
    with pytest.raises(ServingError, match=r"Specific\(m, 2\)"):
        answer(model, 2)
    policy.specific.versions[:] = [2]
    model.poll()
    assert answer(model) == (2, 2.0)
    assert states(model) == {1: END, 2: AVAILABLE, 3: END}
    model.close()


def test_one_broken_version_of_several_does_not_keep_the_others(tmp_path: Path) -> None:
    publish(tmp_path, 1)
    (tmp_path / "2").mkdir()
    publish(tmp_path, 3)
    policy = POLICY.ServableVersionPolicy()
    policy.all.SetInParent()
    model = Model("m", tmp_path, policy)
    with pytest.raises(ServingError, match="Version 2"):
        model.poll()
    assert states(model) == {1: AVAILABLE, 2: END, 3: AVAILABLE}
    model.close()


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
    deadline = time.monotonic() + 30
    while 4 not in served and time.monotonic() < deadline:
        time.sleep(0.01)
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
