"""What `--model_config_file` of a server says about an export."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from kpg.export import configure


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "cart_pole"
    for version in (1, 2, 5):
        (directory / str(version)).mkdir(parents=True)
    return directory


def read(file: Path) -> model_server_config_pb2.ModelConfigList:
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse(file.read_text(), config).model_config_list


def test_a_new_file(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    assert configure(file, base) == frozenset()
    (model,) = read(file).config
    assert (model.name, model.base_path) == ("cart_pole", str(base))
    assert model.model_platform == "tensorflow"
    assert not model.version_labels and not model.HasField("model_version_policy")


def test_labels_move_and_their_versions_stay(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    assert configure(file, base, {"stable": 1, "canary": 2}) == {1, 2}
    (model,) = read(file).config
    assert list(model.model_version_policy.specific.versions) == [1, 2, 5]
    assert configure(file, base, {"canary": 5}) == {1, 5}
    (model,) = read(file).config
    assert dict(model.version_labels) == {"stable": 1, "canary": 5}
    assert list(model.model_version_policy.specific.versions) == [1, 5]
    (base / "1").rmdir()
    (base / "6").mkdir()
    assert configure(file, base) == {5}
    (model,) = read(file).config
    assert dict(model.version_labels) == {"canary": 5}
    assert list(model.model_version_policy.specific.versions) == [5, 6]


def test_the_rest_of_the_file_stays(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        """model_config_list {
          config { name: "other" base_path: "/models/other" }
          config { name: "mine" base_path: "/models/mine"
                   model_version_policy { all {} } }
        }"""
    )
    configure(file, base, {"stable": 2}, model_name="mine")
    other, mine = read(file).config
    assert other.base_path == "/models/other" and not other.version_labels
    assert mine.base_path == "/models/mine" and mine.version_labels["stable"] == 2
    assert mine.model_version_policy.HasField("all")
    assert {path.name for path in tmp_path.iterdir()} == {file.name, base.name}


def test_what_is_refused(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    with pytest.raises(ValueError, match=r"has \[1, 2, 5\]. Received: .*'stable': 3"):
        configure(file, base, {"stable": 3})
    with pytest.raises(ValueError, match="which has none"):
        configure(file, tmp_path / "nothing")
    with pytest.raises(ValueError, match="possible to write the file of models"):
        configure(tmp_path / "no" / "models.config", base)
    assert not file.exists()
    file.write_text("model_config_list { confg {} }")
    with pytest.raises(ValueError, match=r"correct or remove it.*confg"):
        configure(file, base)
    assert "confg" in file.read_text()
