"""The description that is written beside an export."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.export import Export
from kpg.export.loading import warmup
from kpg.export.writing import manifest, saved_model

SPACE = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    policy = kpg.models.Policy(SPACE, gym.spaces.Discrete(3), hidden_units=(4,))
    critic = kpg.models.Critic(SPACE, hidden_units=(4,))
    trainer: Any = SimpleNamespace(policy=policy, critic=critic)
    directory = tmp_path_factory.mktemp("models")
    return saved_model.publish(trainer, directory, notes={"env": "MountainCar-v0"})


def test_it_says_what_the_export_is_made_of(export: Export) -> None:
    directory = Path(export.path)
    content = json.loads((directory / manifest.PATH).read_text("utf-8"))
    assert content["version"] == export.version == 1
    assert content["notes"] == {"env": "MountainCar-v0"}
    assert content["settings"] == {}
    assert kpg.spaces.from_config(content["spaces"]["observation"]) == SPACE
    assert content["signatures"] == export.signatures
    assert content["parity"]["max_abs"] == export.parity_max_abs < 1e-4
    assert "MatMul" in content["operations"]
    assert content["packages"]["tensorflow"] == tf.__version__
    assert content["packages"]["kpg"] == kpg.__version__
    assert content["sha256"] == manifest.hashes(directory)
    assert {"saved_model.pb", str(warmup.PATH)} <= set(content["sha256"])
    assert str(manifest.PATH) not in content["sha256"]


def test_signatures_are_described(export: Export) -> None:
    found = export.signatures["sample"]
    assert found["docs"] == "Draws actions; equal seeds draw equal actions."
    assert found["inputs"]["seed"] == {"dtype": "int32", "shape": [2]}
    assert found["outputs"]["value"] == {"dtype": "float32", "shape": [None]}


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables" / "index").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert manifest.hashes(tmp_path) == {
        "empty": hashlib.sha256(b"").hexdigest(),
        "variables/index": hashlib.sha256(b"abc").hexdigest(),
    }
