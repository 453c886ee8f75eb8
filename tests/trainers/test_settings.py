"""Settings refuse what cannot be meant."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from kpg.trainers import ActorCriticSettings, PPOSettings, REINFORCESettings

CLASSES = [ActorCriticSettings, PPOSettings, REINFORCESettings]


@pytest.mark.parametrize("settings_class", CLASSES)
def test_round_trip_through_json(settings_class: Any) -> None:
    settings = settings_class.make({"gamma": 0.5, "max_grad_norm": None})
    values = json.loads(json.dumps(settings.get_config()))
    assert settings_class.make(values) == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_steps", 0),
        ("num_steps", 1.5),
        ("num_steps", True),
        ("gamma", 1.1),
        ("gamma", -0.1),
        ("gamma", float("nan")),
        ("gamma", "0.9"),
        ("gae_lambda", 2),
        ("clip_range", 0),
        ("clip_range", -0.2),
        ("clip_range", float("inf")),
        ("ent_coef", -1),
        ("vf_coef", -1),
        ("max_grad_norm", 0.0),
        ("num_epochs", 0),
        ("minibatch_size", -4),
        ("learning_rate_schedule", "cosine"),
        ("clip_range_schedule", "lin"),
        ("normalize_rewards", 1),
    ],
)
def test_refuses_values_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be .*Received: {name}="):
        PPOSettings.make({name: value})


def test_unknown_names_are_told_the_closest() -> None:
    with pytest.raises(ValueError, match=r"PPO has no.*mean clip_range.*clip_rang=0.2"):
        PPOSettings.make({"clip_rang": 0.2})
    with pytest.raises(ValueError, match=r"ActorCritic.*Known: num_steps.*xyz=1"):
        ActorCriticSettings.make({"xyz": 1})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PPOSettings().gamma = 0.5  # type: ignore[misc]  # what a type checker sees too


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("learning_rate", "compile(optimizer=keras.optimizers.Adam("),
        ("verbose", "fit("),
        ("total_timesteps", "steps_per_epoch"),
        ("n_envs", "kpg.make("),
        ("policy_kwargs", "kpg.models.Policy("),
        ("n_steps", "Did you mean num_steps?"),
        ("ent_coeff", "Did you mean ent_coef?"),
        ("clip_eps", "Did you mean clip_range?"),
        ("vf_loss_coeff", "Did you mean vf_coef?"),
    ],
)
def test_settings_of_other_libraries_are_told_their_place(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"PPO has no such.*Received: {name}=1") as e:
        PPOSettings.make({name: 1})
    assert told in str(e.value)


def test_numbers_of_numpy_are_settings() -> None:
    numbers: dict[str, Any] = {
        "num_steps": np.int64(16),
        "gamma": np.float32(0.5),
        "normalize_rewards": np.bool_(True),
        "gae_lambda": np.float64(0.25),
        "reference_kl_coef": np.float32(0.5),
    }
    settings = PPOSettings.make(numbers)
    assert type(settings.num_steps) is int
    assert type(settings.gamma) is float
    assert settings.normalize_rewards is True
    json.dumps(settings.get_config())
    assert settings == PPOSettings.make(
        {name: number.item() for name, number in numbers.items()}
    )
