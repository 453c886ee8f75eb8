"""The contract of algorithms is enforced when classes and trainers are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import kpg
from kpg.trainers import PPO, Needs, Trainer, TrainerSettings, Updates


class Half(Trainer):
    def estimate(self, estimates: Any) -> Any:
        return kpg.advantages.GAE(0.95).gains(estimates, gamma=0.99)


def models() -> tuple[kpg.models.Policy, kpg.models.Critic]:
    env = kpg.make("CartPole-v1")
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    return policy, kpg.models.Critic(env.observation_space)


def test_a_class_that_leaves_a_method_open_makes_no_trainer() -> None:
    half: Any = Half
    with pytest.raises(TypeError, match="policy_loss"):
        half(*models(), num_steps=8)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("polcy_loss", "policy_loss"),
        ("estimates", "estimate"),
        ("value_losses", "value_loss"),
        ("add_states", "add_state"),
        ("need", "needs"),
        ("check_environments", "check_environment"),
    ],
)
def test_a_misspelt_hook_is_refused_when_the_class_is_made(
    name: str, meant: str
) -> None:
    with pytest.raises(TypeError, match=f"Did you mean {meant}.*Received: {name}"):
        type("Typo", (PPO,), {name: lambda self: None})


def test_helpers_of_ones_own_are_fine() -> None:
    type("Own", (PPO,), {"_polcy_loss": lambda self: None, "ratio": lambda self: None})


def test_settings_must_be_a_frozen_dataclass_of_their_own() -> None:
    class Plain(TrainerSettings):
        extra: int = 1

    with pytest.raises(TypeError, match="frozen=True"):
        type("Mine", (PPO,), {"settings_class": Plain})
    with pytest.raises(TypeError, match="derives from TrainerSettings"):
        type("Mine", (PPO,), {"settings_class": dict})


def test_a_default_that_can_be_changed_in_place_is_refused() -> None:
    @dataclasses.dataclass(frozen=True)
    class Mutable(TrainerSettings):
        layers: list[int] = dataclasses.field(default_factory=list)

    with pytest.raises(TypeError, match="must not be changed in place"):
        type("Mine", (PPO,), {"settings_class": Mutable})


def test_needs_and_updates_default_to_one_step_on_all_rows() -> None:
    assert Needs() == Needs(False, False, False, False)
    assert Updates() == Updates(1, None, None, False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_epochs": 0},
        {"num_epochs": 1.5},
        {"minibatch_size": 0},
        {"target_kl": 0.0},
    ],
)
def test_updates_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"`{name}`.*Received: {name}="):
        Updates(**wrong)
