"""Options are values; names and flat names are shorthand for them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import kpg
from kpg.advantages import (
    GAE,
    BatchMean,
    Estimator,
    GroupNormalized,
    LeaveOneOut,
    MonteCarlo,
    MovingAverage,
    NStep,
    SelfCritical,
    TDError,
    VTrace,
)
from kpg.trainers import (
    KL,
    ActorCriticSettings,
    PPOSettings,
    REINFORCESettings,
    TrainerSettings,
)

OLD = Path(__file__).resolve().parents[1] / "data"

SHORTHAND: list[tuple[type[TrainerSettings], dict[str, Any], str, Any]] = [
    (ActorCriticSettings, {}, "advantage", GAE(1.0)),
    (ActorCriticSettings, {"advantage": "gae"}, "advantage", GAE(1.0)),
    (ActorCriticSettings, {"gae_lambda": 0.5}, "advantage", GAE(0.5)),
    (
        ActorCriticSettings,
        {"advantage": "gae", "gae_lambda": 0.5},
        "advantage",
        GAE(0.5),
    ),
    (ActorCriticSettings, {"advantage": "td_error"}, "advantage", TDError()),
    (ActorCriticSettings, {"advantage": "monte_carlo"}, "advantage", MonteCarlo()),
    (ActorCriticSettings, {"advantage": NStep}, "advantage", NStep(5)),
    (ActorCriticSettings, {"advantage": "n_step", "n_step": 3}, "advantage", NStep(3)),
    (
        ActorCriticSettings,
        {"advantage": "vtrace", "clip_rho": 2.0, "num_epochs": 2},
        "advantage",
        VTrace(clip_rho=2.0),
    ),
    (PPOSettings, {}, "advantage", GAE(0.95)),
    (PPOSettings, {"gae_lambda": 0.9}, "advantage", GAE(0.9)),
    (PPOSettings, {"advantage": "n_step", "n_step": 2}, "advantage", NStep(2)),
    (REINFORCESettings, {}, "baseline", None),
    (REINFORCESettings, {"baseline": "batch_mean"}, "baseline", BatchMean()),
    (
        REINFORCESettings,
        {
            "baseline": "moving_average",
            "baseline_decay": 0.5,
            "normalize_advantages": False,
        },
        "baseline",
        MovingAverage(0.5),
    ),
    (
        REINFORCESettings,
        {"baseline": "leave_one_out", "group_size": 4, "returns": "total"},
        "baseline",
        LeaveOneOut(4),
    ),
    (
        REINFORCESettings,
        {"baseline": GroupNormalized(2), "returns": "total"},
        "baseline",
        GroupNormalized(2),
    ),
    (
        REINFORCESettings,
        {"baseline": "self_critical", "returns": "total"},
        "baseline",
        SelfCritical(),
    ),
    (PPOSettings, {"reference_kl_coef": 0}, "reference", None),
    (PPOSettings, {"reference_kl_coef": 0.1}, "reference", KL(0.1)),
    (
        PPOSettings,
        {"reference_kl_coef": 0.1, "reference_kl_in": "loss"},
        "reference",
        KL(0.1, inside="loss"),
    ),
    (
        PPOSettings,
        {"reference_kl_coef": 0.1, "reference_kl_target": 0.2},
        "reference",
        KL(0.1, target=0.2),
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "name", "value"), SHORTHAND)
def test_shorthand_makes_the_value(
    kind: type[TrainerSettings], arguments: dict[str, Any], name: str, value: Any
) -> None:
    settings = kind.make(arguments)
    assert getattr(settings, name) == value
    # What is saved makes the same again.
    config = json.loads(json.dumps(settings.get_config()))
    assert kind.make(config) == settings


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ActorCriticSettings, {"n_step": 3}, "`n_step` has no effect with advantage"),
        (PPOSettings, {"clip_rho": 2.0}, "`clip_rho` has no effect with advantage"),
        (
            PPOSettings,
            {"advantage": TDError(), "gae_lambda": 0.5},
            "`gae_lambda` has no effect with advantage",
        ),
        (
            PPOSettings,
            {"advantage": GAE(0.9), "gae_lambda": 0.5},
            "`gae_lambda` has no effect with advantage",
        ),
        (PPOSettings, {"advantage": "gaee"}, "Did you mean gae.*advantage='gaee'"),
        (PPOSettings, {"advantage": BatchMean()}, "derives from Estimator"),
        (PPOSettings, {"advantage": int}, "derives from Estimator"),
        (PPOSettings, {"advantage": "no_such_module:X"}, "No module named"),
        (PPOSettings, {"advantage": "math:pie"}, "Did you mean pi"),
        (ActorCriticSettings, {"num_epochs": 2}, "`num_epochs` has no effect"),
        (REINFORCESettings, {"group_size": 2}, "`group_size` has no effect"),
        (REINFORCESettings, {"baseline_decay": 0.5}, "`baseline_decay` has no effect"),
        (REINFORCESettings, {"baseline": LeaveOneOut(4)}, "needs returns='total'"),
        (PPOSettings, {"reference_kl_in": "loss"}, "`reference_kl_in` has no effect"),
        (
            PPOSettings,
            {"reference_kl_coef": -1.0},
            "`reference_kl_coef` must be .*Received: ref",
        ),
    ],
)
def test_what_has_no_effect_or_no_meaning_is_refused(
    kind: type[TrainerSettings], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        kind.make(arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GAE(1.5),
        lambda: NStep(0),
        lambda: VTrace(clip_rho=0.0),
        lambda: MovingAverage(1.0),
        lambda: LeaveOneOut(1),
        lambda: KL(0.0),
        lambda: KL(0.1, inside="both"),
        lambda: KL(0.1, estimator="k3"),
        lambda: KL(0.1, horizon=5),
    ],
)
def test_values_check_their_own_arguments(make: Any) -> None:
    with pytest.raises(ValueError, match="Received: "):
        make()


@keras.saving.register_keras_serializable(package="tests.options")
@dataclasses.dataclass(frozen=True)
class Scaled(Estimator):
    """Twice another estimator: a value that holds a value."""

    inner: Estimator = TDError()
    factor: float = 2.0

    def gains(self, estimates: Any, gamma: float) -> Any:
        advantages, targets, *_ = self.inner.gains(estimates, gamma)
        return kpg.advantages.Gains(self.factor * advantages, targets)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    "algorithm", [pytest.param("ActorCritic", marks=pytest.mark.slow), "PPO"]
)
def test_an_estimator_of_ones_own_trains_saves_and_loads(
    algorithm: str, tmp_path: Path
) -> None:
    kpg.testing.check_estimator(Scaled(NStep(2)))
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    policy = kpg.models.Policy(env.observation_space, env.action_space, seed=0)
    critic = kpg.models.Critic(env.observation_space, seed=1)
    trainer = getattr(kpg.trainers, algorithm)(
        policy,
        critic,
        seed=0,
        advantage=Scaled(NStep(2)),
        num_steps=16,
        **({"minibatch_size": 64, "num_epochs": 1} if algorithm == "PPO" else {}),
    )
    trainer.compile(jit_compile=False)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    trainer.save(tmp_path / "own.keras")
    loaded: Any = kpg.load(tmp_path / "own.keras")
    assert loaded.settings.advantage == Scaled(NStep(2))


def test_an_estimator_of_another_shape_is_refused() -> None:
    class Wrong(Estimator):
        def gains(self, estimates: Any, gamma: float) -> Any:
            return kpg.advantages.Gains(estimates.rewards[0], estimates.values)

    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    critic = kpg.models.Critic(env.observation_space)
    trainer = kpg.trainers.PPO(
        policy, critic, num_steps=8, minibatch_size=16, advantage=Wrong()
    )
    trainer.compile(jit_compile=False)
    with pytest.raises(ValueError, match=r"\[T, B\] of the rewards.*Received: \(4,\)"):
        trainer.fit(env, steps_per_epoch=1, verbose=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ppo", {"advantage": GAE(0.9), "reference": KL(0.1, target=0.02)}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("actor_critic", {"advantage": VTrace(clip_rho=2.0)}),
                ("reinforce", {"baseline": LeaveOneOut(2)}),
            )
        ),
    ],
)
def test_files_saved_before_options_were_values_are_still_loaded(
    name: str, options: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    """The files were written by kpg 0.x with flat settings only."""
    if name == "actor_critic":  # it has a memory: many operations for five steps
        request.getfixturevalue("one_by_one")
    trainer = kpg.load(OLD / f"{name}.keras")
    assert {key: getattr(trainer.settings, key) for key in options} == options
    observations = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)
    wanted = json.loads((OLD / "parameters.json").read_text())[name]
    np.testing.assert_allclose(trainer.policy(observations), wanted, atol=1e-5)
    assert trainer.env_steps > 0
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
