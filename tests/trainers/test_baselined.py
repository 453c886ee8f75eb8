"""PPO with a baseline in place of a critic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import kpg
from kpg.advantages import GroupNormalized, LeaveOneOut
from kpg.environments import SingleEnv
from kpg.trainers import PPOSettings
from kpg.trainers.baselined import episode_shares
from kpg.trajectories import Trajectory
from tests import steering
from tests.fragments import B, Oracle, T, assert_weights, fragment, learn, values_of
from tests.text_training import small_policy, task
from tests.whole_episodes import GAMMA, credited

ONE: dict[str, Any] = {"num_envs": 1, "autoreset_mode": AutoresetMode.DISABLED}

Make = Callable[..., Any]


def without_critic(make_trainer: Make, **options: Any) -> Any:
    """Makes PPO of one minibatch an epoch and plain gradient descent."""
    settings: dict[str, Any] = {
        "num_steps": T,
        "num_epochs": 1,
        "minibatch_size": None,
        "gamma": GAMMA,
        "normalize_advantages": False,
        "max_grad_norm": None,
        **options,
    }
    trainer = kpg.trainers.PPO(make_trainer("PPO").policy, seed=0, **settings)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return trainer


def moved(trainer: Any) -> None:
    """Moves every weight, so that the ratios are not 1."""
    random = np.random.default_rng(7)
    for variable in trainer.learned_variables():
        variable.assign_add(0.3 * random.normal(size=variable.shape))


@pytest.mark.parametrize("normalization", ["rows", "episodes", "constant"])
@pytest.mark.parametrize("baseline", ["leave_one_out", "moving_average"])
def test_the_clipped_loss_of_compared_episodes(
    baseline: str, normalization: str, make_trainer: Make
) -> None:
    trainer = without_critic(
        make_trainer, baseline=baseline, loss_normalization=normalization
    )
    rows = fragment(trainer.policy, whole=True)
    totals, valid = credited(rows, "total")[0][0], rows.valid.numpy()
    gains = totals
    if baseline == "moving_average":
        trainer.baseline_state.assign([0.6, 0.8])
        gains = totals - 0.6 / 0.8
    if baseline == "leave_one_out":
        gains = np.array(
            [own - np.mean(np.delete(totals, i)) for i, own in enumerate(totals)]
        )
    lengths = valid.sum(axis=0)
    divisors: Any = {
        "rows": valid.sum(),
        "episodes": B * lengths,
        "constant": valid.size,
    }[normalization]
    moved(trainer)
    oracle = Oracle(trainer, rows)
    weights = oracle.constant(np.where(valid, 1.0, 0.0) / divisors)
    gain = oracle.constant(np.broadcast_to(gains, valid.shape))
    old = oracle.constant(rows.log_probs)

    def loss() -> tf.Tensor:
        ratios = tf.exp(oracle.log_probs() - old)
        terms = tf.minimum(ratios * gain, tf.clip_by_value(ratios, 0.8, 1.2) * gain)
        return -tf.reduce_sum(terms * weights)

    expected = oracle.step(loss, 0.1)
    ratios = np.exp(oracle.log_probs() - old)[oracle.valid]
    signs = np.sign(gain)[oracle.valid]
    shares = [
        np.mean((ratios < 0.8) & (signs < 0)),
        np.mean((ratios > 1.2) & (signs > 0)),
    ]
    outside = np.abs(ratios - 1.0) > 0.2
    _, metrics = learn(trainer, rows)
    assert_weights(trainer, expected)
    assert metrics["clip_fraction"] == pytest.approx(np.mean(outside), rel=1e-5)
    for name, clipped in zip(("low", "high"), shares, strict=True):
        assert metrics[f"clip_fraction_{name}"] == pytest.approx(clipped, rel=1e-5)
    if baseline == "moving_average":
        mean = totals.repeat(lengths).mean()  # over steps
        kept = 0.9 * np.array([0.6, 0.8]) + 0.1 * np.array([mean, 1.0])
        np.testing.assert_allclose(trainer.baseline_state, kept, rtol=1e-5)


def test_cut_episodes_are_compared_and_not_learned(make_trainer: Make) -> None:
    trainer = without_critic(
        make_trainer, baseline="group_normalized", mask_truncated=True
    )
    rows = fragment(trainer.policy, whole=True)
    cut = np.array([True, False, False, True])
    rows = rows._replace(
        terminated=rows.terminated & ~cut, truncated=rows.terminated & cut
    )
    totals, valid = credited(rows, "total")[0][0], rows.valid.numpy() & ~cut
    gains = (totals - totals.mean()) / (totals.std() + 1e-4)
    oracle = Oracle(trainer, rows)
    weights = oracle.constant(np.where(valid, gains, 0.0) / valid.sum())
    expected = oracle.step(lambda: -tf.reduce_sum(oracle.log_probs() * weights), 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)


def test_if_all_episodes_were_cut_nothing_moves(make_trainer: Make) -> None:
    trainer = without_critic(
        make_trainer,
        baseline="group_normalized",
        mask_truncated=True,
        loss_normalization="episodes",
    )
    rows = fragment(trainer.policy, whole=True)
    rows = rows._replace(
        terminated=tf.zeros_like(rows.terminated), truncated=rows.terminated
    )
    before = values_of(trainer.learned_variables())
    _, metrics = learn(trainer, rows)
    assert_weights(trainer, before)
    assert metrics["loss"] == metrics["gradient_norm"] == 0.0


def test_shares_of_episodes_make_other_means() -> None:
    valid = tf.constant([[True, True, False], [True, False, False]])
    episodes = episode_shares(valid, "episodes", 2)
    np.testing.assert_allclose(episodes, [[0.75, 1.5, 1.5], [0.75, 1.5, 1.5]])
    constant = episode_shares(valid, "constant", 2)
    np.testing.assert_allclose(constant, np.full([2, 3], 0.75))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "critic"}, r"`baseline` must not be the critic.*give a critic"),
        ({"baseline": "none"}, r"subtracts the mean.*baseline=NoBaseline"),
        ({"baseline": "none", "gae_lambda": 0.9}, r"`advantage` has no effect with ba"),
        ({"baseline": "batch_mean", "value_clip_range": 0.1}, "`value_clip_range` has"),
        ({"baseline": "batch_mean", "dynamic_sampling": 2}, "`dynamic_sampling` has"),
        ({"baseline": "batch_mean", "ratio_level": "text"}, "one of token, sequence"),
        ({"group_size": 4}, r"`group_size` has no effect with baseline=None"),
        ({"baseline": "group_normalized", "group_scale": "all"}, "`group_scale` must"),
        ({"loss_normalization": "episodes"}, "`loss_normalization` has no effect with"),
        ({"mask_truncated": True}, "`mask_truncated` has no effect with baseline=None"),
        ({"clip_range_high": 0.1}, r"greater than clip_range=0.2.*clip_range_high=0.1"),
        ({"clip_range_high": 0.2}, r"greater than clip_range=0.2; omit it"),
        (
            {"clip_range": None, "kl_coef": 1.0, "clip_range_high": 0.3},
            r"`clip_range_high` has no effect with clip_range=None",
        ),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOSettings.make(options)


def test_it_is_a_critic_or_a_baseline(make_trainer: Make) -> None:
    models = make_trainer("PPO")
    with pytest.raises(ValueError, match="a critic, or a baseline.*not both.*Group"):
        kpg.trainers.PPO(models.policy, models.critic, baseline=GroupNormalized(2))
    with pytest.raises(ValueError, match=r"critic=None, baseline=None"):
        kpg.trainers.PPO(models.policy)
    with pytest.raises(ValueError, match="`vf_coef` has no effect with critic=None"):
        kpg.trainers.PPO(models.policy, baseline=LeaveOneOut(2), vf_coef=1.0)
    with pytest.raises(ValueError, match="with a recurrent policy or texts"):
        kpg.trainers.PPO(models.policy, baseline=LeaveOneOut(2), ratio_level="sequence")


def test_groups_are_whole_and_there(make_trainer: Make) -> None:
    trainer = without_critic(make_trainer, baseline=LeaveOneOut(3), num_steps=500)
    with pytest.raises(ValueError, match="must divide.*group_size=3, num_envs=4"):
        trainer.check_environment(kpg.make("CartPole-v1", num_envs=4))
    short = without_critic(make_trainer, baseline=LeaveOneOut(2))
    with pytest.raises(ValueError, match="PPO on whole episodes.*and no baseline.*500"):
        short.check_environment(kpg.make("CartPole-v1", num_envs=4))
    drawn = without_critic(
        make_trainer, baseline=LeaveOneOut(2), num_steps=500, dynamic_sampling=1
    )
    with pytest.raises(ValueError, match="`dynamic_sampling` needs a text task"):
        drawn.check_environment(kpg.make("CartPole-v1", num_envs=4))
    texts = kpg.trainers.recipes.grpo(small_policy(), num_steps=3)
    with pytest.raises(ValueError, match="at least 2.*group_size=1 of the task"):
        texts.check_environment(task())
    with pytest.raises(ValueError, match="multiple of `group_size`.*group_size=4"):
        task(group_size=4)


@pytest.mark.usefixtures("one_by_one")
def test_what_is_never_cut_cannot_be_left_out() -> None:
    options: dict[str, Any] = {"control": "token", "interaction": "one_way"}
    vectors = [
        steering.generation(**options),
        SyncVectorEnv([lambda: SingleEnv(steering.generation(**options, **ONE))]),
    ]
    actor, _ = steering.models(steering.generation(**options))
    settings: dict[str, Any] = {"baseline": "batch_mean", "num_steps": steering.T}
    settings["normalize_advantages"] = False
    learns, masks = (
        kpg.trainers.PPO(actor, mask_truncated=mask, **settings)
        for mask in (False, True)
    )
    wanted = "`mask_truncated` needs episodes that are cut.*never are.*Received: .*True"
    for vector in vectors:
        env = kpg.environments.as_environment(vector)
        learns.check_environment(env)
        with pytest.raises(ValueError, match=wanted):
            masks.check_environment(env)


def test_the_scale_of_a_batch_is_that_of_all_replicas(make_trainer: Make) -> None:
    options = {"baseline": GroupNormalized(2, scale="batch")}
    one = without_critic(make_trainer, **options)
    rows = fragment(one.policy, whole=True)
    _, expected = learn(one, rows)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        two = without_critic(make_trainer, **options)

    def half(context: Any) -> Any:
        first = 2 * context.replica_id_in_sync_group
        fields = rows[: Trajectory._fields.index("policy_state")]
        own = [None if f is None else f[:, first : first + 2] for f in fields]
        return Trajectory(*own)

    halves = strategy.experimental_distribute_values_from_function(half)
    _, metrics = learn(two, halves, graph=True)
    assert metrics["gradient_norm"] == pytest.approx(expected["gradient_norm"])
    for got, want in zip(values_of(two.weights), values_of(one.weights), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)
