"""Files that hold no trainer are refused in words."""

from __future__ import annotations

import warnings
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


class Twice(keras.layers.Layer):
    """Nobody registered it."""

    def call(self, inputs: Any) -> Any:
        return 2.0 * inputs


def test_shows_keras_s_reason_and_takes_its_arguments(
    make_trainer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, usual = tmp_path / "mine.keras", make_trainer("PPO")
    for layer in (Twice(), keras.layers.Lambda(lambda rows: 2.0 * rows)):
        # A functional model, so that the reason is deep inside.
        inputs = keras.Input((4,))
        backbone = keras.Model(inputs, layer(inputs))
        spaces = usual.policy.observation_space, usual.policy.action_space
        policy = kpg.models.Policy(*spaces, backbone=backbone)
        trainer = kpg.trainers.PPO(policy, usual.critic, num_steps=8, minibatch_size=8)
        trainer.compile("sgd")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lambdas
            trainer.save(path)
        options: dict[str, Any] = {"safe_mode": False}
        if isinstance(layer, Twice):
            monkeypatch.setattr(Twice, "__module__", "gone")
            trainer.save(path)
            with pytest.raises(ValueError, match=r"Twice.*register.*mine\.keras"):
                kpg.load(path)
            options = {"custom_objects": {"Twice": Twice}}
        else:
            with pytest.raises(ValueError, match=r"(?s)lambda.*safe_mode.*mine\.keras"):
                kpg.load(path)
        assert kpg.load(path, **options).compiled
        assert not kpg.load(path, compile=False, **options).compiled


def test_a_run_directory_is_told_its_model(tmp_path: Path) -> None:
    (tmp_path / "best.keras").touch()
    with pytest.raises(ValueError, match=r"type `kpg\.load\('.*best\.keras'\)`"):
        kpg.load(tmp_path)
