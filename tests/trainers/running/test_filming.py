"""Films during a training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import kpg
from tests.painted import STEPS, Painted


@pytest.mark.usefixtures("one_by_one")
def test_every_other_epoch_is_filmed_and_nothing_is_disturbed(
    make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    outcomes = []
    for filmed in (True, False):
        trainer = make_trainer("ActorCritic", num_steps=2)
        env = kpg.make("CartPole-v1", num_envs=4, seed=0)
        made: list[Any] = []
        if filmed:
            path = tmp_path / "{epoch:02d}.gif"
            made.append(
                kpg.callbacks.Film("tests.painted:Painted-v0", path, 2, 3, 4, width=64)
            )
        trainer.fit(env, epochs=5, steps_per_epoch=1, callbacks=made, verbose=0)
        outcomes.append([np.asarray(v) for v in trainer.trainable_variables])
    for one, other in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(one, other)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["02.gif", "04.gif"]
    film: Any
    with Image.open(tmp_path / "04.gif") as film:
        # Frames that are equal to the one before are joined.
        assert 3 <= film.n_frames <= 3 * (4 + 1) and film.size == (64, 40)
        assert film.info["duration"] % 100 == 0  # the environment's ten a second


def test_a_film_needs_frames_and_a_name_and_whole_numbers(tmp_path: Path) -> None:
    film, path = kpg.callbacks.Film, tmp_path / "film.gif"
    with pytest.raises(ValueError, match="render_mode=None"):
        film(Painted, path)
    with pytest.raises(ValueError, match=r"\.gif"):
        film("tests.painted:Painted-v0", tmp_path / "film")
    for name in ("every", "episodes", "max_steps", "width"):
        with pytest.raises(ValueError, match=f"Received: {name}=0"):
            film("tests.painted:Painted-v0", path, **{name: 0})
    assert film(lambda: Painted("rgb_array"), path).max_steps > STEPS
