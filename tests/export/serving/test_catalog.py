"""Several models: which there are, what is loaded when, and what labels mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorflow_serving.apis import model_pb2
from tensorflow_serving.config import model_server_config_pb2

from kpg.export import ServingError
from kpg.export.serving.catalog import Catalog
from kpg.export.serving.model import Retries


class Loaded:
    """A version that is its path."""

    checks_method_names = False
    plans: Any = {}
    signatures: Any = {}

    def __init__(self, path: Path) -> None:
        if (path / "broken").exists():
            raise ServingError("DATA_LOSS", "broken")
        self.path = str(path)

    def run(self, *arguments: Any) -> Any: ...

    def run_tensors(self, *arguments: Any) -> Any: ...

    def close(self) -> None: ...


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in ("a/1", "a/2", "b/5"):
        (tmp_path / version).mkdir(parents=True)
    return tmp_path


def catalog(**settings: Any) -> Catalog:
    load: Any = Loaded
    return Catalog(load, **settings)


def config(root: Path, *names: str, **labels: int) -> Any:
    made = model_server_config_pb2.ModelServerConfig()
    made.model_config_list.SetInParent()
    for name in names:
        one = made.model_config_list.config.add(name=name, model_platform="tensorflow")
        one.base_path = str(root / name)
        one.model_version_policy.all.SetInParent()
        for label, version in labels.items():
            one.version_labels[label] = version
    return made


def asked(made: Catalog, name: str, **spec: Any) -> str:
    """Returns the end of the path of the version that answers."""
    version = spec.pop("version", None)
    asked_for = model_pb2.ModelSpec(name=name, **spec)
    if version is not None:
        asked_for.version.value = version
    with made.lease(asked_for) as (_, servable):
        return "/".join(Path(servable.path).parts[-2:])


def test_models_are_loaded_and_unloaded(root: Path) -> None:
    made = catalog()
    made.reload(config(root, "a", "b"))
    assert asked(made, "a") == "a/2" and asked(made, "a", version=1) == "a/1"
    assert asked(made, "b") == "b/5" and made.is_ready()
    made.reload(config(root, "b"))
    with pytest.raises(ServingError, match=r"Latest\(a\)"):
        asked(made, "a")
    states = made.states(model_pb2.ModelSpec(name="a"))
    assert [(one.version, one.state) for one in states] == [(2, 50), (1, 50)]
    made.reload(config(root, "a", "b"))
    assert asked(made, "a") == "a/2"
    made.reload(model_server_config_pb2.ModelServerConfig())  # an empty one: no models
    assert made.models == {}
    made.close()


def test_another_directory(root: Path) -> None:
    made = catalog()
    made.reload(config(root, "a"))
    changed = config(root, "a")
    changed.model_config_list.config[0].base_path = str(root / "b")
    made.reload(changed)
    assert asked(made, "a") == "b/5"
    with pytest.raises(ServingError, match=r"Specific\(a, 1\)"):
        asked(made, "a", version=1)


def test_a_new_model_that_does_not_load(root: Path) -> None:
    (root / "a/1/broken").touch()
    (root / "a/2/broken").touch()
    made = catalog(retries=Retries(1, 0.0))
    with pytest.raises(ServingError) as caught:
        made.reload(config(root, "a", "b", "c"))
    assert caught.value.code == "UNKNOWN"
    text = caught.value.message
    assert text.startswith(
        "2 model(s) did not become available: {{{Name: a Version: 2} due to error: "
    )
    assert "broken" in text and "{Name: c}" in text
    assert asked(made, "b") == "b/5" and not made.is_ready()
    assert not made.models["a"].has_given_up()
    made.poll()
    assert made.models["a"].has_given_up()
    with pytest.raises(ServingError, match="did not become available.*broken"):
        made.check()
    (root / "a/1/broken").unlink()
    (root / "c/1").mkdir(parents=True)
    made.poll()
    assert asked(made, "a") == "a/1" and asked(made, "c") == "c/1" and made.is_ready()
    made.check()


def test_labels_name_versions_that_are_loaded_with_them(root: Path) -> None:
    made = catalog()
    made.reload(config(root, "a", stable=1, canary=2))
    assert asked(made, "a", version_label="stable") == "a/1"
    with pytest.raises(
        ServingError, match="label to version 3 of model b, which is not"
    ):
        made.reload(config(root, "b", stable=3))
    assert list(made.models) == ["a"]  # nothing has changed
    assert asked(made, "a", version_label="stable") == "a/1"
    made.reload(config(root, "a", stable=2))
    assert asked(made, "a", version_label="stable") == "a/2"
    with pytest.raises(
        ServingError, match="Unrecognized servable version label: canary"
    ):
        asked(made, "a", version_label="canary")


def test_labels_before_versions(root: Path) -> None:
    made = catalog(labels_before_versions=True)
    made.reload(config(root, "a", stable=1, next=3))
    with pytest.raises(ServingError, match=r"Specific\(a, 3\)"):
        asked(made, "a", version_label="next")
    (root / "a/3").mkdir()
    made.poll()
    assert asked(made, "a", version_label="next") == "a/3"
    with pytest.raises(ServingError, match="label to version 9"):
        made.reload(config(root, "a", stable=9))  # a label in use is not moved so


def test_models_load_side_by_side(root: Path) -> None:
    changes = []
    made = catalog(load_threads=4, on_change=lambda: changes.append(1))
    made.reload(config(root, "a", "b"))
    assert asked(made, "a") == "a/2" and asked(made, "b") == "b/5"
    assert changes


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model_type": 1}, "Illegal setting both .* model name is a"),
        (
            {"model_type": 2, "model_platform": ""},
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        ({"base_path": "a/b"}, r"absolute path or URI; got base_path\(\)=a/b"),
    ],
)
def test_a_wrong_configuration(root: Path, fields: Any, words: str) -> None:
    wrong = config(root, "a")
    for name, value in fields.items():
        setattr(wrong.model_config_list.config[0], name, value)
    with pytest.raises(ServingError, match=words):
        catalog().reload(wrong)


def test_the_deprecated_type_is_tensorflow(root: Path) -> None:
    old = config(root, "a")
    old.model_config_list.config[0].model_platform = ""
    old.model_config_list.config[0].model_type = 1
    made = catalog()
    made.reload(old)
    assert asked(made, "a") == "a/2"


def test_what_this_server_does_not_have(root: Path) -> None:
    logged = config(root, "a")
    logged.model_config_list.config[0].logging_config.SetInParent()
    with pytest.raises(ServingError, match="use --access_log"):
        catalog().reload(logged)
    custom = model_server_config_pb2.ModelServerConfig()
    custom.custom_model_config.SetInParent()
    with pytest.raises(ServingError, match="does not yet support custom"):
        catalog().reload(custom)
