"""What a few iterations say about a trainer."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest

import kpg
from kpg.distributions import Normal
from kpg.doctor import diagnose
from kpg.doctor.training import Trial, actions_at_bounds
from kpg.environments import as_environment
from tests.faulty_environments import Walk, names, trainer_for


@pytest.mark.parametrize(
    ("layer", "options"),
    [("Dropout", {"rate": 0.5, "seed": 0}), ("BatchNormalization", {})],
)
def test_layers_that_work_otherwise_in_training_are_found(
    layer: str, options: dict[str, Any]
) -> None:
    def backbone() -> Any:
        last = getattr(keras.layers, layer)(**options)
        return keras.Sequential([keras.layers.Dense(8, "tanh"), last])

    env = Walk()
    trainer = trainer_for(env, backbone)
    findings = diagnose(env, trainer)
    assert names(findings) == ["ratio_not_one"]
    assert layer in findings[0].words


def test_wrong_log_probs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    env = Walk()
    trainer = trainer_for(env)
    noise = iter(np.linspace(0.1, 0.9, 50).tolist())
    right = trainer.policy.family.log_prob
    monkeypatch.setattr(
        trainer.policy.family, "log_prob", lambda p, a: right(p, a) + next(noise)
    )
    findings = diagnose(env, trainer)
    assert names(findings) == ["ratio_not_one"]
    assert "log_prob" in findings[0].words


@pytest.mark.slow
def test_a_learning_rate_that_is_too_large_is_found() -> None:
    env = Walk()
    trainer = trainer_for(env, optimizer=keras.optimizers.Adam(0.5), num_epochs=8)
    assert "kl_too_large" in names(diagnose(env, trainer))


def test_weights_that_are_not_finite_are_found() -> None:
    env = Walk()
    trainer = trainer_for(env)
    kernel = trainer.learned_variables()[0]
    kernel.assign(np.full(kernel.shape, np.nan))
    assert names(diagnose(env, trainer)) == ["non_finite_weights"]


@pytest.mark.slow
def test_a_critic_that_explains_nothing_is_found() -> None:
    env = Walk()
    trainer = trainer_for(env, vf_coef=0.0, gae_lambda=1.0, gamma=0.5)
    critic: Any = trainer.critic
    kernel = critic.head.kernel
    kernel.assign(100.0 * kernel)
    assert names(diagnose(env, trainer)) == ["explained_variance"]


def test_a_policy_that_stops_trying_is_found() -> None:
    class Obvious(Walk):
        def step(self, action: Any) -> Any:
            observation, reward, *rest = super().step(action)
            return observation, reward + 5.0 * float(action), *rest

    env = Obvious()
    rate = keras.optimizers.Adam(0.01)
    trainer = trainer_for(env, optimizer=rate, num_epochs=20, clip_range=5.0, gamma=0.0)
    assert "entropy_collapse" in names(diagnose(env, trainer))


def test_the_trainer_is_as_before() -> None:
    made = []

    class Counted(Walk):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    trainer = trainer_for(Walk())
    before = [
        variable.numpy()
        for variable in (*trainer.variables, *trainer.optimizer.variables)
    ]
    assert diagnose(Counted, trainer) == []
    # One to play, and twice four to step and to train.
    assert len(made) == 1 + 4 + 4
    after = (*trainer.variables, *trainer.optimizer.variables)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new.numpy())
    assert trainer.env_steps == 0


def test_a_trainer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="observation_space"):
        diagnose(gym.make("CartPole-v1"), trainer_for(Walk()))
    with pytest.raises(ValueError, match="minibatch_size"):
        diagnose(Walk(), trainer_for(Walk(), num_steps=48))
    critic: Any = trainer_for(Walk()).critic
    trainer = kpg.trainers.PPO(trainer_for(Walk()).policy, critic, seed=0)
    with pytest.raises(ValueError, match="compile"):
        diagnose(Walk(), trainer)


class Far(Walk):
    """Acts in a Box far from 0."""

    bounds: tuple[float, float] = (100.0, 200.0)

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(*self.bounds, (1,))

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        share = float(action[0] - self.bounds[0]) / 100.0
        return super().step(float(share > 0.5))


def test_actions_that_are_all_clipped_are_found() -> None:
    """As they were before a bounded Box had a unit of its own."""
    env = Far()
    options: dict[str, Any] = {"hidden_units": (8,), "seed": 0}
    for distribution, expected in ((Normal(scaled=False), True), (Normal(), False)):
        policy = kpg.models.Policy(
            env.observation_space,
            env.action_space,
            distribution=distribution,
            **options,
        )
        critic = kpg.models.Critic(env.observation_space, **options)
        trainer = kpg.trainers.PPO(
            policy, critic, seed=0, num_steps=64, minibatch_size=64, num_epochs=1
        )
        trainer.compile(jit_compile=False)
        finding = actions_at_bounds(Trial(trainer, as_environment(Far, 2, seed=0)))
        assert (finding is not None) == expected
        if finding is not None:
            assert not finding.note and "100% of the actions are at" in finding.words
