"""Files that hold no trainer are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

import kpg


def test_refuses_what_is_no_trainer(
    make_trainer: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "trainer.keras"
    with pytest.raises(ValueError, match=r"no such file.*Received: .*trainer.keras"):
        kpg.load(path)
    trainer = make_trainer("PPO")
    trainer.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"truncated.*Received: "):
        kpg.load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match=r"truncated or is no `.keras` file"):
        kpg.load(path)
    damaged = bytearray(whole)
    middle = len(whole) // 3
    damaged[middle] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"truncated or is no.*Received: "):
        kpg.load(path)
    trainer.policy.save(path)
    with pytest.raises(ValueError, match=r"another kind of model.*Received: Policy"):
        kpg.load(path)
    keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ValueError, match=r"another kind.*Received: Sequential"):
        kpg.load(path)


def test_a_class_that_nobody_registered_is_named(
    make_trainer: Any, tmp_path: Path
) -> None:
    class Unregistered(kpg.trainers.PPO):
        """Stands in no module, so that it cannot be found by name either."""

    usual = make_trainer("PPO")
    trainer = Unregistered(usual.policy, usual.critic, num_steps=8, minibatch_size=8)
    trainer.save(tmp_path / "mine.keras")
    with pytest.raises(
        ValueError, match=r"Unregistered.*register_keras_serializable.*mine\.keras"
    ):
        kpg.load(tmp_path / "mine.keras")
