"""REINFORCE follows the gradient that its options name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import SyncVectorEnv

import kpg
from kpg.trainers import REINFORCESettings
from tests.environments import Counting, limited
from tests.fragments import B, Oracle, T, assert_weights, fragment, learn
from tests.whole_episodes import GAMMA, credited, without_critic

Make = Callable[..., Any]


@pytest.mark.parametrize("returns", ["reward_to_go", "total"])
@pytest.mark.parametrize("baseline", ["none", "batch_mean"])
@pytest.mark.parametrize("discounted", [False, True])
def test_the_step_follows_the_returns(
    returns: str, baseline: str, discounted: bool, make_trainer: Make
) -> None:
    if discounted and returns == "total":
        with pytest.raises(ValueError, match="`discount_gradient` has no effect"):
            REINFORCESettings.make({"returns": returns, "discount_gradient": True})
        return
    trainer = without_critic(
        make_trainer,
        returns=returns,
        baseline=baseline,
        discount_gradient=discounted,
        normalize_advantages=False,
    )
    rows = fragment(trainer.policy, whole=True)
    oracle = Oracle(trainer, rows)
    gains, weights = credited(rows, returns)
    if baseline == "batch_mean":
        gains = gains - gains[rows.valid.numpy()].mean()
    if discounted:
        gains = gains * weights
    expected = oracle.step(
        lambda: oracle.mean(-oracle.log_probs() * oracle.constant(gains)), 0.1
    )
    learn(trainer, rows)
    assert_weights(trainer, expected)


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_normalized"])
@pytest.mark.parametrize("size", [2, None])
def test_an_episode_is_compared_with_its_group(
    baseline: str, size: int | None, make_trainer: Make
) -> None:
    trainer = without_critic(
        make_trainer,
        returns="total",
        baseline=baseline,
        group_size=size,
        normalize_advantages=False,
    )
    rows = fragment(trainer.policy, whole=True)
    oracle = Oracle(trainer, rows)
    totals = credited(rows, "total")[0][0]
    gains = np.zeros([T, B])
    for column in range(B):
        first = column // (size or B) * (size or B)
        group = totals[first : first + (size or B)]
        if baseline == "leave_one_out":
            others = (group.sum() - totals[column]) / (len(group) - 1)
            gains[:, column] = totals[column] - others
        else:
            gains[:, column] = (totals[column] - group.mean()) / (group.std() + 1e-4)
    expected = oracle.step(
        lambda: oracle.mean(-oracle.log_probs() * oracle.constant(gains)), 0.1
    )
    learn(trainer, rows)
    assert_weights(trainer, expected)


def test_a_group_divides_the_environments(make_trainer: Make) -> None:
    trainer = without_critic(
        make_trainer, returns="total", baseline="leave_one_out", group_size=3
    )
    with pytest.raises(ValueError, match="group_size=3, num_envs=4"):
        trainer.fit(kpg.make("CartPole-v1", num_envs=4))


def test_a_critic_is_subtracted_and_learned(make_trainer: Make) -> None:
    trainer = make_trainer(
        "REINFORCE",
        num_steps=T,
        gamma=GAMMA,
        normalize_advantages=False,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
    )
    rows = fragment(trainer.policy, whole=True)
    oracle = Oracle(trainer, rows)
    returns, _ = credited(rows, "reward_to_go")
    gains = returns - oracle.values()[0]

    def loss() -> tf.Tensor:
        errors = trainer.critic(oracle.flat) - oracle.constant(returns)
        terms = -oracle.log_probs() * oracle.constant(gains)
        return oracle.mean(terms + 0.25 * tf.square(errors))

    expected = oracle.step(loss, 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "median"}, r"`baseline` has no such choice.*critic.*'median'"),
        ({"baseline": "critic"}, r"baseline needs a critic.*critic=None"),
        ({"baseline": "none"}, r"subtracts the mean.*baseline=NoBaseline"),
        ({"baseline": "leave_one_out"}, r"whole episodes.*returns='reward_to_go'"),
        ({"group_size": 2}, r"`group_size` has no effect with baseline=None"),
        (
            {"baseline": "leave_one_out", "returns": "total", "group_size": 1},
            r"at least 2. Received: group_size=1",
        ),
        ({"vf_coef": 0.7}, r"`vf_coef` has no effect with critic=None"),
        ({"returns": "half"}, r"`returns` must be one of reward_to_go, total"),
        ({"whole_episodes": False}, r"learns from whole episodes only"),
    ],
)
def test_refuses_what_has_no_effect_without_a_critic(
    options: dict[str, Any], message: str, make_trainer: Make
) -> None:
    with pytest.raises(ValueError, match=message):
        without_critic(make_trainer, **options)


def test_refuses_what_has_no_effect_with_a_critic(make_trainer: Make) -> None:
    with pytest.raises(ValueError, match="A critic has no effect.*BatchMean"):
        make_trainer("REINFORCE", baseline="batch_mean")
    for name, value in (("returns", "total"), ("discount_gradient", True)):
        with pytest.raises(ValueError, match=f"`{name}` has no effect with whole_"):
            make_trainer("REINFORCE", whole_episodes=False, **{name: value})
    trainer = make_trainer("REINFORCE", num_steps=100)
    with pytest.raises(ValueError, match=r"time limit.*num_steps=100.*steps=500"):
        trainer.fit(kpg.make("CartPole-v1", num_envs=4))


def test_a_time_limit_is_found_said_or_asked_for() -> None:
    """A `TimeLimit` inside a vector environment is one, whatever its spec tells."""
    vector = SyncVectorEnv([lambda: limited(0)] * 2)
    env = kpg.environments.as_environment(vector)
    policy = kpg.models.Policy(env.observation_space, env.action_space)
    trainer = kpg.trainers.REINFORCE(policy, num_steps=6)
    trainer.check_environment(kpg.environments.as_environment(vector))
    endless = SyncVectorEnv([Counting] * 2)
    with pytest.raises(ValueError, match=r"TimeLimit.*max_episode_steps=") as caught:
        trainer.check_environment(kpg.environments.as_environment(endless))
    assert "raise `num_steps`" not in str(caught.value)
    said = kpg.environments.as_environment(endless, max_episode_steps=6)
    trainer.check_environment(said)
    with pytest.raises(ValueError, match="raise `num_steps` to 900"):
        trainer.check_environment(
            kpg.environments.as_environment(endless, max_episode_steps=900)
        )
