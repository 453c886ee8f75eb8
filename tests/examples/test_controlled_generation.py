"""The example of a steered language model, as it stands but briefly."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kpg

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "controlled_generation.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("controlled_generation", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What `NamedTuple` and the annotations look for.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class TestControlledGeneration:
    # An installed wheel has no examples; a checkout always has.
    __test__ = (ROOT / "setup.py").is_file()

    @pytest.mark.slow
    def test_a_short_run_prints_its_table(
        self,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        one_by_one: None,
    ) -> None:
        shallow = functools.partial(kpg.text.gpt2, num_layers=1)
        monkeypatch.setattr(kpg.text, "gpt2", shallow)
        example = load()
        monkeypatch.setattr(example, "MAX_NEW_TOKENS", 8)
        code = example.main(
            iterations=1,
            epochs=1,
            characters=2000,
            episodes=32,
            interactions=["two_way"],
        )
        printed = capsys.readouterr().out
        rows = re.findall(r"^(\w+_way) +0 +(-?\d+\.\d+) +(-?\d+\.\d+) ", printed, re.M)
        assert [row[0] for row in rows] == ["two_way"]
        assert "The executor's weights are as they were." in printed
        rose = re.search(r"The reward rose in (\d) of 1 trainings.", printed)
        assert rose is not None and code == 1 - int(rose[1])
        before, after = map(float, rows[0][1:])
        assert before == after or (after > before) == (code == 0)

    def test_rewards_count_what_the_table_says(self) -> None:
        example = load()
        texts = [" class class", " value", " module function import"]
        counted = example.wanted_words(["x"] * 3, texts)
        assert counted == [1.0, 0.0, 3.0]

    @pytest.mark.slow
    def test_the_reward_rises_in_under_two_minutes(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, str(EXAMPLE)], env=environment, stdout=subprocess.PIPE
        )
        assert result.returncode == 0, result.stdout.decode()[-2000:]
        assert time.monotonic() - start < 120
