from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from kpg.cli import plots

METRICS: list[dict[str, Any]] = [
    {"env_steps": 10, "return": None},
    {"env_steps": 20, "return": -3.0, "val_return": -2.0, "val_return_std": 0.5},
    {"env_steps": 30, "return": math.nan, "val_return": -1.0, "val_return_std": 0.1},
]


@pytest.mark.parametrize("metrics", [METRICS, METRICS[:1], []])
@pytest.mark.parametrize("threshold", [None, -1.5])
def test_a_picture_is_drawn(
    tmp_path: Path, metrics: list[dict[str, Any]], threshold: float | None
) -> None:
    path = tmp_path / "curve.png"
    plots.learning_curve(path, metrics, title="A run", threshold=threshold)
    pixels = np.asarray(matplotlib.image.imread(path))
    assert pixels.shape == (600, 960, 4)
    assert pixels[..., :3].std() > 0.01


def test_curves_of_several_seeds_are_drawn(tmp_path: Path) -> None:
    steps, path = np.arange(5.0), tmp_path / "curves.png"
    curves = {"PPO": (steps, np.ones((3, 5))), "REINFORCE": (steps, np.zeros((1, 5)))}
    plots.comparison(path, curves, title="Walk-v0")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_search_is_drawn_over_each_of_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "study.png"
    settings = [
        {"learning_rate": rate, "advantage": kind, "num_steps": 8, "gamma": 0.9}
        for rate, kind in ((1e-5, "gae"), (1e-2, "vtrace"))
    ]
    plots.search(path, [0, 3], [10.0, 20.0], settings, title="Walk-v0")
    pixels = np.asarray(matplotlib.image.imread(path))
    assert pixels.shape == (624, 1200, 4)  # two rows of three
    assert pixels[..., :3].std() > 0.01
