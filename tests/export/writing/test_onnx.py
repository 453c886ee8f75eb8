"""Files of ONNX, run by ONNX Runtime where it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kpg
from kpg.export.writing.offer import offer_of
from tests import policies


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r'tf2onnx.*pip install "kpg\[onnx\]"'):
        kpg.export.export_policy(policies.policy("discrete"), tmp_path, format="onnx")
    assert not any(tmp_path.iterdir())


def check(file: Path, policy: Any, rows: int) -> None:
    runtime: Any = pytest.importorskip("onnxruntime")
    offer = offer_of(policy, None)
    ((_, inputs), _) = offer.requests([rows])
    live = offer.live("serving_default", inputs)
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    given = {key: f"previous_{key}" if "state" in key else key for key in inputs}
    assert {one.name for one in session.get_inputs()} == set(given.values())
    names = [one.name for one in session.get_outputs()]
    missing = {"log_prob"} if "concentration0" in live else set()
    assert set(names) == live.keys() - missing
    found = session.run(None, {given[key]: array for key, array in inputs.items()})
    for name, array in zip(names, found, strict=True):
        assert array.dtype == live[name].dtype
        np.testing.assert_allclose(array, live[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", policies.KINDS)
def test_every_kind(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx")
    policy = policies.policy(kind)
    path = kpg.export.export_policy(policy, tmp_path, format="onnx")
    for rows in (1, 5):
        check(Path(path) / "model.onnx", policy, rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gru", "masked"])
def test_what_others_convert_themselves(kind: str, tmp_path: Path) -> None:
    """tf2onnx names inputs and outputs after their specifications."""
    pytest.importorskip("tf2onnx")
    policy = policies.policy(kind)
    path, file = kpg.export.export_policy(policy, tmp_path), tmp_path / "model.onnx"
    command = [sys.executable, "-m", "tf2onnx.convert", "--saved-model", path]
    command += ["--tag", "serve", "--signature_def", "serving_default"]
    command += ["--opset", "18", "--output", str(file)]
    subprocess.run(command, check=True, capture_output=True)
    check(file, policy, 5)
