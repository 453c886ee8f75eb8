"""kpg says at once that it needs Keras on TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(code: str, backend: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "KERAS_BACKEND": backend}
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )


@pytest.mark.parametrize("code", ["import kpg; kpg.make", "import kpg.models.policy"])
def test_another_backend_is_refused(code: str) -> None:
    result = run(code, "jax")
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: kpg needs Keras on TensorFlow")
    assert "set KERAS_BACKEND=tensorflow" in last
    assert last.endswith("Received: KERAS_BACKEND='jax'")


def test_a_client_needs_no_keras() -> None:
    code = "import kpg.export.client.client, sys; assert 'keras' not in sys.modules"
    assert run(code, "torch").returncode == 0
