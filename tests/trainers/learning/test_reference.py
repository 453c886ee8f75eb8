"""A reference policy: what is kept of it, what drift costs, and where that leads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.models import CausalLMPolicy
from kpg.text import ByteTokenizer
from kpg.trainers import PPOSettings
from kpg.trainers.learning.outputs import log_probs_of
from kpg.trajectories import Trajectory, resets
from tests.fragments import (
    B,
    Oracle,
    T,
    assert_weights,
    fragment,
    learn,
    traces,
    values_of,
)
from tests.languages import (
    REWARDS,
    best_tokens,
    choices,
    divergence,
    language,
    stir,
    tilted,
    trainer_of,
    word_probabilities,
)
from tests.texts import Letters, gpt2

Make = Callable[..., Any]
BETA = 0.5


def twin(policy: Any) -> Any:
    """Returns a second model with the same weights."""
    other = type(policy).from_config(policy.get_config())
    other.set_weights(policy.get_weights())
    return other


def on_fragments(make_trainer: Make, **settings: Any) -> tuple[Any, Any, Any]:
    """Returns a trainer, its reference as a second model, and a fragment.

    The reference, the policy that acted and the one that learns are all different.
    """
    trainer = make_trainer(
        "REINFORCE",
        num_steps=T,
        gamma=1.0,
        vf_coef=0.0,
        normalize_advantages=False,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
        reference_kl_coef=BETA,
        **settings,
    )
    trainer.reference.begin()
    reference = twin(trainer.policy)
    stir(trainer.policy, 1, 0.3)
    rows = fragment(trainer.policy, whole=True)
    stir(trainer.policy, 2, 0.1)
    return trainer, reference, rows


def log_ratios(reference: Any, rows: Trajectory) -> np.ndarray:
    """Returns `[T, B]` log π_ref − log π of the policy that acted."""
    observations = tf.reshape(rows.observations, [-1, 4])
    known = reference.log_prob(observations, tf.reshape(rows.actions, [-1]))
    ratios: np.ndarray = known.numpy().reshape(T, B) - rows.log_probs.numpy()
    return ratios


def test_rewards_pay_for_the_drift(make_trainer: Make) -> None:
    trainer, reference, rows = on_fragments(make_trainer)
    oracle, valid = Oracle(trainer, rows), rows.valid.numpy()
    ratios = np.where(valid, log_ratios(reference, rows), 0.0)
    rewards = np.where(valid, rows.rewards.numpy(), 0.0) + BETA * ratios
    gains = np.cumsum(rewards[::-1], axis=0)[::-1] - oracle.values()[0]
    expected = oracle.step(
        lambda: oracle.mean(-oracle.log_probs() * oracle.constant(gains)), 0.1
    )
    _, metrics = learn(trainer, rows)
    assert metrics["reference_kl"] == pytest.approx(-ratios[valid].mean(), rel=1e-4)
    assert_weights(trainer, expected)


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_the_loss_pays_for_the_drift(estimator: str, make_trainer: Make) -> None:
    options = {"reference_kl_in": "loss", "reference_kl_estimator": estimator}
    trainer, reference, rows = on_fragments(make_trainer, **options)
    oracle = Oracle(trainer, rows)
    rewards = np.where(rows.valid, rows.rewards, 0.0)
    gains = np.cumsum(rewards[::-1], axis=0)[::-1] - oracle.values()[0]
    acted = oracle.constant(rows.log_probs)
    known = reference.log_prob(oracle.flat, oracle.actions)

    def estimates(x: Any) -> Any:
        return {"k1": -x, "k2": x**2 / 2, "k3": np.e**x - 1 - x}[estimator]

    def loss() -> tf.Tensor:
        log_probs = oracle.log_probs()
        ratios = tf.exp(log_probs - acted)
        ratios = tf.stop_gradient(ratios) if estimator == "k2" else ratios
        drift = ratios * estimates(known - log_probs)
        return oracle.mean(BETA * drift - log_probs * oracle.constant(gains))

    expected = oracle.step(loss, 0.1)
    _, metrics = learn(trainer, rows)
    measured = estimates(log_ratios(reference, rows))[rows.valid.numpy()].mean()
    assert metrics["reference_kl"] == pytest.approx(measured, rel=1e-4)
    assert_weights(trainer, expected, atol=1e-5)


def test_the_policy_at_its_start_has_no_drift(make_trainer: Make) -> None:
    trainer = make_trainer("PPO", reference_kl_coef=1.0, reference_kl_target=0.1)
    env = kpg.make("CartPole-v1", num_envs=4, seed=0)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert abs(history["reference_kl"][0]) < 1e-6
    assert history["reference_kl_coef"] == [1.0]
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert abs(history["reference_kl"][0]) > 1e-5
    trainer.set_reference()
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert abs(history["reference_kl"][0]) < 1e-6
    assert traces(trainer) == 1


def test_a_memory_and_moments_are_those_of_the_reference() -> None:
    env = kpg.make("CartPole-v1", num_envs=B)
    spaces = (env.observation_space, env.action_space)
    small: dict[str, Any] = {"hidden_units": (8,), "memory_units": 4, "seed": 0}
    policy = kpg.models.RecurrentPolicy(*spaces, **small)
    critic = kpg.models.Critic(spaces[0], trunk=policy)
    trainer: Any = kpg.trainers.ActorCritic(
        policy, critic, reference_kl_coef=1.0, normalize_observations=True
    )
    stir(policy)
    trainer.reference.begin()
    known = twin(policy)
    state = tuple(tf.random.stateless_normal([2, B, 4], [1, 2]))
    rows = fragment(policy)._replace(policy_state=state)
    sequences = (rows.observations, state, resets(rows))
    want = known.family.log_prob(known.unroll(*sequences)[0], rows.actions)
    stir(policy, 2)
    ((_, normalizer),) = policy.normalizers
    normalizer.update(tf.reshape(rows.observations, [-1, 4]) * 3.0 + 1.0)
    moved = policy.family.log_prob(policy.unroll(*sequences)[0], rows.actions)
    assert np.abs(moved - want).max() > 0.1
    got = tf.function(trainer.reference.drift, autograph=False, jit_compile=True)(
        rows
    ).log_probs
    np.testing.assert_allclose(got, want, atol=1e-5)
    assert float(normalizer.count) > 0


def test_only_what_is_trainable_is_copied() -> None:
    model = gpt2(3, num_layers=1, hidden_dim=8)
    model.backbone.enable_lora(2)
    policy = CausalLMPolicy(model, Letters())
    critic: Any = policy.critic
    trainer = kpg.trainers.ActorCritic(policy, critic, reference_kl_coef=1.0)
    assert trainer.reference is not None
    copied = sum(np.prod(copy.shape) for copy in trainer.reference.snapshot)
    adapters = sum(np.prod(weight.shape) for weight in policy.trainable_variables)
    assert copied == adapters < 0.3 * policy.count_params()
    assert not trainer.reference.trainable_variables


def in_the_loss(estimator: str) -> dict[str, str]:
    """Returns the settings of a loss that pays for the drift."""
    return {"reference_kl_in": "loss", "reference_kl_estimator": estimator}


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        pytest.param("REINFORCE", {}, marks=pytest.mark.slow),
        pytest.param("ActorCritic", {}, marks=pytest.mark.slow),
        ("PPO", {"normalize_rewards": True}),
        # The losses are compared with a transcription above, with each estimator.
        pytest.param("REINFORCE", in_the_loss("k1"), marks=pytest.mark.slow),
        pytest.param("ActorCritic", in_the_loss("k2"), marks=pytest.mark.slow),
        pytest.param("PPO", in_the_loss("k3"), marks=pytest.mark.slow),
    ],
)
def test_training_ends_where_theory_says(
    algorithm: str, settings: dict[str, Any]
) -> None:
    """π_ref · exp(R / β) / Z over words if rewards pay, over tokens if the loss does.

    From either optimum the other one is 0.1 nats away.
    """
    trainer = trainer_of(algorithm, reference_kl_coef=BETA, **settings)
    reference = choices(trainer.policy)
    start = word_probabilities(reference)
    of_words = tilted(start, REWARDS, BETA)
    of_tokens = word_probabilities(best_tokens(reference, BETA))
    env = language()
    trainer.fit(env, steps_per_epoch=200, verbose=0)
    trainer.optimizer.learning_rate = 0.002
    trainer.fit(env, steps_per_epoch=100, verbose=0)
    got = word_probabilities(choices(trainer.policy))
    wanted, other = of_words, of_tokens
    if settings.get("reference_kl_in") == "loss":
        wanted, other = of_tokens, of_words
    assert divergence(got, wanted) < 0.02
    assert min(divergence(start, wanted), 5 * divergence(got, other)) > 0.5


@pytest.mark.slow
def test_the_price_brings_the_drift_to_its_target() -> None:
    target = 0.2
    trainer = trainer_of(
        "ActorCritic",
        reference_kl_coef=0.02,
        reference_kl_target=target,
        reference_kl_horizon=1000,
    )
    history = trainer.fit(language(), epochs=20, steps_per_epoch=50, verbose=0).history
    drift, price = (np.array(history[f"reference_kl{x}"]) for x in ("", "_coef"))
    assert drift.max() > 1.5 * target
    np.testing.assert_allclose(drift[-4:], target, rtol=0.2)
    assert price[-1] > 3 * price[0] > 0


@pytest.mark.usefixtures("one_by_one")
def test_goes_on_with_the_same_reference_and_price(tmp_path: Path) -> None:
    settings = {"reference_kl_target": 0.1, "reference_kl_horizon": 1000}
    trainer = trainer_of("PPO", reference_kl_coef=0.3, **settings)
    trainer.fit(language(), steps_per_epoch=3, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    assert loaded.settings == trainer.settings
    assert float(trainer.reference.coefficient) != pytest.approx(0.3, rel=0.05)
    histories = [
        one.fit(language(), steps_per_epoch=2, verbose=0).history
        for one in (trainer, loaded)
    ]
    for name in ("reference_kl", "reference_kl_coef"):
        assert histories[0][name] == histories[1][name]
    for ours, theirs in zip(
        values_of(trainer.weights), values_of(loaded.weights), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("one_by_one")
def test_a_reference_outlives_the_adapters(tmp_path: Path) -> None:
    """Keras merges them into the weights that it saves."""
    keras.utils.set_random_seed(1)  # which Keras draws them by
    model = gpt2(258, num_layers=1, hidden_dim=8)
    model.backbone.enable_lora(2)
    policy = CausalLMPolicy(model, ByteTokenizer())
    trainer: Any = kpg.trainers.REINFORCE(policy, num_steps=T, reference_kl_coef=1.0)
    stir(policy)
    trainer.reference.begin()
    stir(policy, 2)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    tokens = tf.reshape(tf.range(T * B), [T, B])
    rows: Any = Trajectory(
        *(tokens, tokens + 1, tf.zeros([T, B]), tf.zeros([T, B])),
        *(tf.zeros([T, B], tf.bool), tf.zeros([T, B], tf.bool), None, ()),
        policy_state=policy.initial_state(B),
    )
    ours, theirs = (one.reference.drift(rows).log_probs for one in (trainer, loaded))
    now = log_probs_of(policy, rows)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)
    np.testing.assert_allclose(log_probs_of(loaded.policy, rows), now, atol=1e-5)
    assert np.abs(now - ours).min() > 1e-3


@pytest.mark.usefixtures("one_by_one")
def test_returns_are_those_of_the_environment() -> None:
    plain, charged = (
        trainer_of("ActorCritic", reference_kl_coef=coef) for coef in (0.0, 5.0)
    )
    charged.set_reference(strange(charged.policy))
    first = [
        trainer.fit(language(), steps_per_epoch=1, verbose=0).history
        for trainer in (plain, charged)
    ]
    assert first[0]["return"] == first[1]["return"]
    assert first[1]["reference_kl"][0] > 0.1
    assert first[0]["policy_loss"] != first[1]["policy_loss"]


def strange(policy: Any) -> Any:
    """Returns a policy with weights far from the given one's."""
    other = twin(policy)
    stir(other, 5, 1.0)
    return other


@pytest.mark.slow
@pytest.mark.parametrize("place", ["reward", "loss"])
def test_two_replicas_know_one_drift(place: str, make_trainer: Make) -> None:
    arguments: dict[str, Any] = {
        "num_steps": T,
        "num_epochs": 2,
        "minibatch_size": T * B,
        "reference_kl_coef": 0.5,
        "reference_kl_in": place,
        "reference_kl_target": 0.1,
        "reference_kl_horizon": 10,
    }
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    one = make_trainer("PPO", **arguments)
    with strategy.scope():
        two = make_trainer("PPO", **arguments)
    for trainer in (one, two):
        with trainer.distribute_strategy.scope():
            trainer.reference.begin()
            stir(trainer.policy)
    rows = fragment(one.policy, masked=True)

    def half(context: Any) -> Any:
        first = 2 * context.replica_id_in_sync_group
        fields: Any = rows[: Trajectory._fields.index("policy_state")]
        return Trajectory(*(field[:, first : first + 2] for field in fields))

    halves = strategy.experimental_distribute_values_from_function(half)
    # Replicas meet in a graph alone.
    want, got = learn(one, rows)[1], learn(two, halves, graph=True)[1]
    assert abs(want["reference_kl"]) > 0.01 and want["reference_kl_coef"] == 0.5
    assert got == pytest.approx(want, rel=1e-3, abs=1e-6)
    for ours, theirs in zip(
        values_of(two.weights), values_of(one.weights), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)
    assert float(one.reference.coefficient) != 0.5


def test_rows_that_do_not_count_cost_nothing(make_trainer: Make) -> None:
    trainer, _, rows = on_fragments(make_trainer)
    noise = tf.where(rows.valid, rows.log_probs, float("nan"))
    drift = trainer.reference.drift(rows._replace(log_probs=noise))
    valid = rows.valid.numpy()
    assert np.all(drift.estimates.numpy()[~valid] == 0.0)
    total, count = trainer.reference.sums(rows, drift).numpy()
    assert count == valid.sum() and np.isfinite(total)
    charged = trainer.reference.charged(rows, drift).rewards.numpy()
    np.testing.assert_array_equal(charged[~valid], rows.rewards.numpy()[~valid])
    assert np.abs(charged - rows.rewards.numpy())[valid].min() > 0.0


def test_a_drift_that_is_infinite_teaches_nothing(make_trainer: Make) -> None:
    in_loss = {"reference_kl_in": "loss", "reference_kl_estimator": "k1"}
    trainer, _, rows = on_fragments(make_trainer, **in_loss)
    before = values_of(trainer.weights)
    _, metrics = learn(trainer, rows._replace(log_probs=rows.log_probs - np.inf))
    assert metrics["broken_policy"] == 1.0
    for ours, theirs in zip(values_of(trainer.weights), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coef": -0.1}, "`reference_kl_coef` must be a finite number ≥ 0.*=-0.1"),
        ({"in": "loss"}, "`reference_kl_in` has no effect with reference=None"),
        ({"target": 0.1}, "`reference_kl_target` has no effect with ref"),
        ({"coef": 1, "in": "both"}, "must be one of reward, loss. Received: .*'both'"),
        ({"coef": 1, "estimator": "k4"}, "must be one of None, k1, k2, k3. Received"),
        ({"coef": 1, "estimator": "k3"}, "must be k1 with reference_kl_in='reward'"),
        ({"coef": 1, "target": 0.0}, "`reference_kl_target` must be greater than 0"),
        ({"coef": 1, "horizon": 5}, "`reference_kl_horizon` has no effect with refer"),
        ({"coef": 1, "target": 1, "horizon": 0}, "`reference_kl_horizon` must be a wh"),
    ],
)
def test_refuses_settings(settings: dict[str, Any], message: str) -> None:
    named = {f"reference_kl_{name}": value for name, value in settings.items()}
    with pytest.raises(ValueError, match=message):
        PPOSettings.make(named)


def test_refuses_a_reference_that_does_not_fit(make_trainer: Make) -> None:
    trainer = make_trainer("ActorCritic", reference_kl_coef=1.0)
    policy = trainer.policy
    spaces = (policy.observation_space, policy.action_space)
    with pytest.raises(ValueError, match="other values at most.*Received: 7 weights"):
        trainer.set_reference(kpg.models.Policy(*spaces, hidden_units=(9,)))
    with pytest.raises(ValueError, match="`reference` must be a `kpg.trainers.KL`"):
        make_trainer("ActorCritic").set_reference()
    trainer = make_trainer(
        "PPO", reference_kl_coef=1.0, reference_kl_target=1.0, reference_kl_horizon=1
    )
    with pytest.raises(ValueError, match="above their product.*horizon=1"):
        trainer.fit(kpg.make("CartPole-v1", num_envs=8), verbose=0)


def test_refuses_what_is_frozen_in_one_place_only(make_trainer: Make) -> None:
    policy = make_trainer("ActorCritic").policy
    policy.backbone.trainable = False
    critic = kpg.models.Critic(policy.observation_space)
    trainer = kpg.trainers.ActorCritic(policy, critic, num_steps=T, reference_kl_coef=1)
    other = strange(policy)
    with pytest.raises(ValueError, match="What is frozen .* must be the same"):
        trainer.set_reference(other)
    policy.backbone.trainable = True
    trainer.compile(jit_compile=False)
    rows = fragment(policy)
    with pytest.raises(ValueError, match="became trainable after the trainer was made"):
        learn(trainer, rows)
