"""The examples, run as they stand but briefly."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "mountain_car.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("mountain_car", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestMountainCar:
    # An installed wheel has no examples; a checkout always has.
    __test__ = (ROOT / "setup.py").is_file()

    def test_a_short_run_ends_and_is_not_solved(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # What runs once is not worth compiling.
        monkeypatch.setattr("kpg.trainers.running.programs.pays_off", lambda *_: False)
        example = load()
        mean_return = example.main(epochs=1, steps_per_epoch=1, episodes=4)
        assert -200.0 <= mean_return < example.THRESHOLD
        assert example.verdict(mean_return) == 1
        printed = capsys.readouterr().out
        assert f"Mean return of 4 new episodes: {mean_return:.1f}" in printed
        assert "Not solved: -110 is wanted." in printed

    @pytest.mark.parametrize(("mean_return", "code"), [(-110.0, 0), (-110.1, 1)])
    def test_the_exit_code_is_the_verdict(self, mean_return: float, code: int) -> None:
        assert load().verdict(mean_return) == code

    @pytest.mark.slow
    def test_it_ends_solved_in_under_two_minutes(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, str(EXAMPLE)], env=environment, stdout=subprocess.PIPE
        )
        assert result.returncode == 0, result.stdout.decode()[-2000:]
        assert time.monotonic() - start < 120


class TestDemoText:
    __test__ = (ROOT / "setup.py").is_file()

    @pytest.mark.slow
    def test_it_ends_learned_in_under_five_minutes(self, tmp_path: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        start = time.monotonic()
        result = subprocess.run(
            [sys.executable, str(ROOT / "examples" / "demo_text.py")],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-2000:]
        assert "Learned: " in result.stdout
        assert time.monotonic() - start < 300
