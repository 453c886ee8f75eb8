"""What an H100 would do in an iteration: how it is counted, and how much it may be."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

# A loop of 3 passes with a kernel and a branch, in a loop of unknown length.
PROGRAM = """HloModule example

%inner (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  %x = f32[4]{0} get-tuple-element(%p), index=1
  %y = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused
  %z = f32[4]{0} conditional(%c, %y, %y), branch_computations={%light, %heavy}
  ROOT %t = (s32[], f32[4]{0}) tuple(%i, %z)
}

%light (p: f32[4]) -> f32[4] {
  ROOT %p = f32[4]{0} parameter(0)
}

%heavy (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %q = (f32[4]{0}, f32[4]{0}) custom-call(%p), custom_call_target="__cublas$gemm"
  ROOT %r = f32[4]{0} copy(%p)
}

%outer (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[], f32[4]{0}) parameter(0)
  ROOT %w = (s32[], /*index=1*/f32[4]{0}) while(%p), condition=%c3, body=%inner, \
backend_config={"known_trip_count":{"n":"3"}}
}

ENTRY %main (a: f32[4]) -> f32[4] {
  %a = f32[4]{0} parameter(0)
  %s = f32[4]{0} copy-start(%a)
  %d = f32[4]{0} copy-done(%s)
  %w = (s32[], f32[4]{0}) while(%d), condition=%more, body=%outer
  ROOT %e = f32[4]{0} call(%w), to_apply=%heavy
}
"""

# Kernels, waits and megabytes planned; kernels and memory may grow by 5 %.
BOUNDS = {
    "cart_pole_4096": (1934, 1, 49.8),
    "mountain_car_4096": (4034, 1, 53.6),
}


# Runs the packed program for iterations and prints the mean return of the last ones.
PLAYED = """
import sys
from pathlib import Path
from contenders import contenders
from works import WORKS
name, folder = sys.argv[1:]
ours = contenders(name, WORKS[name], {"kpg": Path(folder)})["kpg"]
ours.compile()
print([ours.run(1) for _ in range(4)][-1])
"""
# The mean return of episodes that end in the fourth iteration: a pole that is balanced
# for 17 steps at first is for longer then, and no car arrives within its first 200.
MEANS = {"cart_pole_4096": 34.8, "mountain_car_4096": -200.0}


class TestCounting:
    # An installed wheel has no benchmarks; a checkout always has.
    __test__ = BENCHMARKS.is_dir()

    @pytest.fixture(autouse=True)
    def scripts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.syspath_prepend(str(BENCHMARKS / "gpu"))

    def test_loops_of_known_length_count_so_often(self) -> None:
        count = importlib.import_module("kernels").count
        # Each pass has a kernel, and the heavier branch's two behind a wait.
        assert count(PROGRAM) == (1 + 3 * 3 + 2, 1 + 3)

    def test_the_host_waits_after_each_pass_of_a_loop_of_unknown_length(self) -> None:
        count = importlib.import_module("kernels").count
        unknown = PROGRAM.replace("known_trip_count", "something else")
        assert count(unknown, passes=5) == (1 + 5 * 3 + 2, 1 + 5 * 2)

    @pytest.mark.slow
    @pytest.mark.timeout(1500)
    @pytest.mark.parametrize("work", ["cart_pole_4096", "mountain_car_4096"])
    def test_an_iteration_keeps_to_its_kernels(
        self, work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Compiled for an H100, which need not be there."""
        installations = importlib.import_module("installations")
        home = tmp_path / "installer"
        venv.create(home, with_pip=True)
        python = str(home / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
        with monkeypatch.context() as patched:
            patched.setattr(installations.sys, "executable", python)
            peer = installations.python_of("gpu", BENCHMARKS.parent / ".venv-peers")
        scripts, out = BENCHMARKS / "gpu", tmp_path / "programs"
        only = ["--only", work]
        command: list[Any] = [sys.executable, scripts / "export.py", "--out", out]
        subprocess.run([*command, *only], check=True, cwd=BENCHMARKS.parent)
        subprocess.run([peer, scripts / "pack.py", "--out", out], check=True)
        played = subprocess.run(
            [peer, "-c", PLAYED, work, out],
            check=True,
            capture_output=True,
            text=True,
            cwd=scripts,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        assert float(played.stdout.splitlines()[-1]) == pytest.approx(MEANS[work], 0.1)
        command = [peer, scripts / "count.py", "--program", f"kpg={out}"]
        printed = subprocess.run(
            [*command, "--who", "kpg", *only],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        found = json.loads(printed.splitlines()[-1])
        kernels, waits, megabytes = BOUNDS[work]
        assert found["kernels"] <= 1.05 * kernels
        assert found["waits"] <= waits
        assert found["temporary_mb"] <= 1.05 * megabytes
