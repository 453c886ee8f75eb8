"""What PPO has besides the clipped surrogate."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers import PPOSettings
from tests.fragments import B, Oracle, T, assert_weights, fragment, learn, values_of

Make = Callable[..., Any]


def ppo(make_trainer: Make, **options: Any) -> Any:
    """Makes a trainer of one minibatch an epoch and plain gradient descent."""
    defaults: dict[str, Any] = {
        "num_steps": T,
        "num_epochs": 1,
        "minibatch_size": T * B,
        "gamma": 0.9,
        "gae_lambda": 0.8,
        "normalize_advantages": False,
        "max_grad_norm": None,
        "optimizer": keras.optimizers.SGD(0.1),
    }
    return make_trainer("PPO", **(defaults | options))


def moved(trainer: Any, scale: float) -> None:
    """Moves every weight a little, so that ratios and values are not those before."""
    random = np.random.default_rng(7)
    for variable in trainer.learned_variables():
        variable.assign_add(scale * random.normal(size=variable.shape))


def gains_of(oracle: Oracle) -> tuple[np.ndarray, np.ndarray]:
    rows, (values, next_values) = oracle.rows, oracle.values()
    gains = kpg.advantages.gae(
        rows.rewards,
        values,
        next_values,
        rows.terminated,
        rows.truncated,
        gamma=0.9,
        gae_lambda=0.8,
    )
    return gains.numpy(), values


def surrogate(oracle: Oracle, gains: Any, targets: Any) -> tf.Tensor:
    """Returns PPO's loss with ε 0.2 and the weight 0.5 of half the squared errors."""
    gain = oracle.constant(gains)
    ratios = tf.exp(oracle.log_probs() - oracle.constant(oracle.rows.log_probs))
    terms = tf.minimum(ratios * gain, tf.clip_by_value(ratios, 0.8, 1.2) * gain)
    errors = oracle.trainer.critic(oracle.flat) - oracle.constant(targets)
    return oracle.mean(0.25 * tf.square(errors) - terms)


def assign(trainer: Any, values: list[np.ndarray]) -> None:
    for variable, value in zip(trainer.learned_variables(), values, strict=True):
        variable.assign(value)


@pytest.mark.parametrize("option", ["plain", "kl", "dual", "both"])
def test_the_loss_is_that_of_the_paper(option: str, make_trainer: Make) -> None:
    every: dict[str, dict[str, Any]] = {
        "plain": {},
        "kl": {"clip_range": None, "kl_coef": 0.5},
        "dual": {"dual_clip": 1.05},
        "both": {"kl_coef": 0.5},
    }
    options = every[option]
    trainer = ppo(make_trainer, **options)
    rows = fragment(trainer.policy)
    moved(trainer, 0.3)
    oracle = Oracle(trainer, rows)
    gains, values = gains_of(oracle)
    old, gain = oracle.constant(rows.log_probs), oracle.constant(gains)

    def loss() -> tf.Tensor:
        logs = oracle.log_probs() - old
        ratios = tf.exp(logs)
        terms = ratios * gain
        if options.get("clip_range", 0.2) is not None:
            terms = tf.minimum(terms, tf.clip_by_value(ratios, 0.8, 1.2) * gain)
        if "dual_clip" in options:
            terms = tf.where(gain < 0, tf.maximum(terms, 1.05 * gain), terms)
        penalty = options.get("kl_coef", 0.0) * (ratios - 1.0 - logs)
        errors = trainer.critic(oracle.flat) - oracle.constant(gains + values)
        return oracle.mean(penalty - terms + 0.25 * tf.square(errors))

    expected = oracle.step(loss, 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)


def test_advantages_can_be_estimated_anew(make_trainer: Make) -> None:
    """The second epoch learns from what the critic says after the first."""
    weights = {}
    for anew in (False, True):
        trainer = ppo(make_trainer, num_epochs=2, recompute_advantages=anew)
        rows = fragment(trainer.policy)
        again = ppo(make_trainer)
        oracle = Oracle(again, rows)
        gains, values = gains_of(oracle)
        for _ in range(2):
            loss = functools.partial(surrogate, oracle, gains, gains + values)
            assign(again, oracle.step(loss, 0.1))
            if anew:
                gains, values = gains_of(oracle)
        learn(trainer, rows)
        assert_weights(trainer, values_of(again.learned_variables()))
        weights[anew] = np.concatenate(
            [w.ravel() for w in values_of(trainer.learned_variables())]
        )
    assert np.abs(weights[True] - weights[False]).max() > 1e-5


def test_values_are_clipped_around_the_old_ones(make_trainer: Make) -> None:
    """The second step's values have moved by more than the range allows."""
    trainer = ppo(make_trainer, num_epochs=2, value_clip_range=1e-3)
    rows = fragment(trainer.policy)
    again = ppo(make_trainer)
    oracle = Oracle(again, rows)
    gains, values = gains_of(oracle)
    target, first = oracle.constant(gains + values), oracle.constant(values)

    def loss() -> tf.Tensor:
        value = again.critic(oracle.flat)
        near = first + tf.clip_by_value(value - first, -1e-3, 1e-3)
        errors = tf.maximum(tf.square(value - target), tf.square(near - target))
        return oracle.mean(0.25 * errors)

    for _ in range(2):
        assign(again, oracle.step(loss, 0.1))
    learn(trainer, rows)
    got = values_of(trainer.critic.trainable_variables)
    wanted = values_of(again.critic.trainable_variables)
    for weight, want in zip(got, wanted, strict=True):
        np.testing.assert_allclose(weight, want, atol=1e-6)


def test_updates_stop_at_the_target_kl(make_trainer: Make) -> None:
    """No step is taken from the first minibatch that is too far from where it began."""
    steps = {}
    for target in (1e-9, 1e-3, 1e9):
        trainer = ppo(
            make_trainer,
            num_epochs=5,
            minibatch_size=T * B // 2,
            target_kl=target,
            optimizer=keras.optimizers.SGD(0.04),
        )
        rows = fragment(trainer.policy)
        learn(trainer, rows)
        steps[target] = int(trainer.optimizer.iterations)
        kl = float(
            kpg.losses.approximate_kl(
                trainer.policy.log_prob(
                    tf.reshape(rows.observations, [-1, 4]),
                    tf.reshape(rows.actions, [-1]),
                ),
                tf.reshape(rows.log_probs, [-1]),
            )
        )
        assert kl > target or target == 1e9
    assert steps[1e-9] == 1  # the first minibatch has KL 0
    assert steps[1e9] == 10
    assert 1 < steps[1e-3] < 10


@pytest.mark.parametrize(
    "options", [{"recompute_advantages": True}, {"advantage": "vtrace"}]
)
def test_values_are_clipped_around_those_at_the_time_of_acting(
    options: dict[str, Any], make_trainer: Make
) -> None:
    seen: list[Any] = []

    class Noting(kpg.trainers.PPO):
        def value_loss(self, values: Any, rows: Any) -> Any:
            seen.append((values.numpy(), rows.values.numpy(), rows.targets.numpy()))
            return super().value_loss(values, rows)

    models = make_trainer("PPO")
    trainer = Noting(
        models.policy,
        models.critic,
        num_steps=T,
        num_epochs=3,
        minibatch_size=T * B,
        value_clip_range=0.01,
        **options,
    )
    trainer.compile(keras.optimizers.Adam(0.1), jit_compile=False)
    learn(trainer, fragment(trainer.policy))
    (before, *_), *_, last = seen
    assert len(seen) == 3
    for _, around, _ in seen:
        np.testing.assert_allclose(around, before, rtol=1e-6)
    assert np.abs(last[0] - before).max() > 0.1  # the critic has moved
    assert np.abs(last[2] - seen[0][2]).max() > 0.01  # and with it the targets


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(("desired", "faster"), [(1e-8, False), (10.0, True)])
def test_the_learning_rate_follows_the_kl(
    desired: float, faster: bool, make_trainer: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(
        "PPO",
        learning_rate_schedule="adaptive_kl",
        desired_kl=desired,
        num_steps=4,
        num_epochs=1,
        optimizer=keras.optimizers.Adam(1e-3),
    )
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    logs = trainer.fit(env, epochs=2, steps_per_epoch=1, verbose=0).history
    rates = logs["learning_rate"]
    factor = 1.5 if faster else 1 / 1.5
    np.testing.assert_allclose(rates, [1e-3 * factor, 1e-3 * factor**2], rtol=1e-5)
    trainer.save(tmp_path / "trainer.keras")
    loaded = kpg.load(tmp_path / "trainer.keras")
    assert float(loaded.optimizer.learning_rate) == pytest.approx(rates[-1])


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(("desired", "factor"), [(1e-8, 2.0), (10.0, 0.5)])
def test_the_penalty_follows_the_kl(
    desired: float, factor: float, make_trainer: Make, tmp_path: Path
) -> None:
    trainer = make_trainer(
        "PPO",
        clip_range=None,
        kl_coef=0.3,
        kl_coef_schedule="adaptive",
        desired_kl=desired,
        num_steps=4,
        num_epochs=1,
    )
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    assert float(trainer.kl_coefficient.value) == pytest.approx(0.3 * factor**2)
    trainer.save(tmp_path / "trainer.keras")
    loaded = kpg.load(tmp_path / "trainer.keras")
    assert float(loaded.kl_coefficient.value) == pytest.approx(0.3 * factor**2)


def test_the_entropy_bonus_can_fade(make_trainer: Make) -> None:
    losses = {}
    for progress in (0.0, 0.75, 1.0):
        trainer = ppo(make_trainer, ent_coef=1.0, ent_coef_schedule="linear")
        _, metrics = learn(trainer, fragment(trainer.policy), progress=progress)
        losses[progress] = metrics["loss"]
    entropy = metrics["entropy"]
    assert entropy > 0.5
    assert losses[0.75] - losses[0.0] == pytest.approx(0.75 * entropy, rel=1e-4)
    assert losses[1.0] - losses[0.0] == pytest.approx(entropy, rel=1e-4)


def test_two_optimizers_clip_and_step_apart(make_trainer: Make, tmp_path: Path) -> None:
    trainer = ppo(make_trainer, max_grad_norm=0.01)
    trainer.compile(
        keras.optimizers.SGD(1.0),
        critic_optimizer=keras.optimizers.SGD(10.0, momentum=0.9),
        jit_compile=False,
    )
    before = values_of(trainer.learned_variables())
    learn(trainer, fragment(trainer.policy))
    after = values_of(trainer.learned_variables())
    moves = [a - b for a, b in zip(after, before, strict=True)]
    count = len(trainer.policy.trainable_variables)
    for part, norm in ((moves[:count], 0.01), (moves[count:], 0.1)):
        total = np.sqrt(sum(np.sum(np.square(move)) for move in part))
        assert total == pytest.approx(norm, rel=1e-3)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert loaded.get_compile_config() == trainer.get_compile_config()
    kept = values_of(trainer.critic_optimizer.variables)
    for got, want in zip(
        values_of(loaded.critic_optimizer.variables), kept, strict=True
    ):
        np.testing.assert_array_equal(got, want)
    assert any(np.abs(value).max() > 0 for value in kept[2:])


def test_a_shared_trunk_is_learned_once(make_trainer: Make, tmp_path: Path) -> None:
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    policy = make_trainer("PPO").policy
    critic = kpg.models.Critic(env.observation_space, trunk=policy, seed=1)
    trainer = kpg.trainers.PPO(
        policy,
        critic,
        seed=0,
        num_steps=T,
        num_epochs=1,
        minibatch_size=T * B,
        gamma=0.9,
        gae_lambda=0.8,
        normalize_advantages=False,
        max_grad_norm=None,
    )
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    variables = trainer.learned_variables()
    assert len({id(variable) for variable in variables}) == len(variables) == 6
    rows = fragment(policy)
    oracle = Oracle(trainer, rows)
    gains, values = gains_of(oracle)

    def loss() -> tf.Tensor:
        errors = critic(oracle.flat) - oracle.constant(gains + values)
        terms = tf.exp(oracle.log_probs() - oracle.constant(rows.log_probs))
        return oracle.mean(0.25 * tf.square(errors) - terms * oracle.constant(gains))

    expected = oracle.step(loss, 0.1)
    learn(trainer, rows)
    assert_weights(trainer, expected)
    with pytest.raises(ValueError, match="weights of its own.*shared trunk"):
        trainer.compile(critic_optimizer="adam")
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert len(loaded.learned_variables()) == 6
    np.testing.assert_allclose(
        loaded.critic(oracle.flat), critic(oracle.flat), atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_range": None}, r"`clip_range` may be None only with a `kl_coef`"),
        ({"dual_clip": 0.9}, r"`dual_clip` must be greater than 1.*dual_clip=0.9"),
        ({"kl_coef_schedule": "adaptive"}, r"`kl_coef_schedule` has no effect"),
        ({"desired_kl": 0.02}, r"`desired_kl` has no effect with nothing"),
        ({"num_epochs": 1, "recompute_advantages": True}, r"no effect with num_epochs"),
        (
            {"clip_range": None, "kl_coef": 1.0, "dual_clip": 3.0},
            r"`dual_clip` has no effect with clip_range=None",
        ),
        ({"value_clip_range": -1.0}, r"`value_clip_range` must be.*Received"),
        ({"target_kl": 0.0}, r"`target_kl` must be greater than 0"),
    ],
)
def test_refuses_what_has_no_effect(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOSettings.make(options)


@pytest.mark.parametrize("algorithm", ["PPO", "ActorCritic"])
def test_a_critic_is_needed(algorithm: str, make_trainer: Make) -> None:
    policy = make_trainer("PPO").policy
    with pytest.raises(ValueError, match=f"{algorithm} needs a critic.*critic=None"):
        getattr(kpg.trainers, algorithm)(policy, None)


def test_penalties_of_a_shared_trunk_count_once(make_trainer: Make) -> None:
    """Without advantages only the regularizer pulls at the backbone's weights."""
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    backbone = keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(0.5))
    policy = kpg.models.Policy(env.observation_space, env.action_space, backbone)
    critic = kpg.models.Critic(env.observation_space, trunk=policy)
    trainer = kpg.trainers.PPO(
        policy, critic, num_steps=T, num_epochs=1, minibatch_size=T * B, vf_coef=0.0
    )
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    rows = fragment(policy)
    penalty = 0.5 * np.sum(np.square(backbone.kernel.numpy()))
    _, metrics = learn(trainer, rows)
    assert metrics["loss"] - metrics["policy_loss"] == pytest.approx(penalty, rel=1e-4)
