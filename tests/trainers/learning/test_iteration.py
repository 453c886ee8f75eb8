"""One iteration of learning against naive transcriptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import losses, spaces
from kpg.graph.compiling import building_for_device, building_for_xla
from kpg.trainers import PPO, Batch, Iteration, Outputs, Trainer, TrainerSettings
from tests.environments import Walk
from tests.fragments import B, T, collected, fragment, learn, values_of


def weights(trainer: Any) -> list[np.ndarray]:
    return values_of(trainer.trainable_variables)


@pytest.mark.usefixtures("one_by_one")
# Without a normaliser every algorithm's ratios are those of `test_support.py`.
@pytest.mark.parametrize(
    "algorithm",
    [
        "PPO",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("ActorCritic", "REINFORCE")
        ),
    ],
)
def test_the_first_minibatch_has_ratio_one(
    algorithm: str, make_trainer: Callable[..., Any]
) -> None:
    """Also when the normaliser has moved, and on either kind of environment."""
    for backend in ("graph", "gymnasium"):
        env = kpg.make(
            "CartPole-v1", num_envs=4, seed=0, backend=backend, max_episode_steps=8
        )
        trainer = make_trainer(
            algorithm,
            env=env,
            normalize_observations=True,
            num_steps=8 if algorithm == "REINFORCE" else 4,
        )
        trainer.fit(env, steps_per_epoch=2, verbose=0)
        rows, _ = collected(trainer, env)
        observations = tf.reshape(rows.observations, [-1, 4])
        log_probs = trainer.policy.log_prob(
            observations, tf.reshape(rows.actions, [-1])
        )
        ratios = np.exp(log_probs - tf.reshape(rows.log_probs, [-1]))
        assert np.abs(ratios - 1.0).max() < 1e-5
        ((_, normalizer),) = trainer.policy.normalizers
        assert float(normalizer.count) > 0


@pytest.mark.parametrize("masked", [False, True])
def test_one_actor_critic_step_is_the_gradient_of_the_paper(
    masked: bool, make_trainer: Callable[..., Any]
) -> None:
    """θ ← θ − η ∇[−mean(log π Â) + c_v ½ mean((V − R)²) − c_e mean(H)], naively."""
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        gamma=0.9,
        gae_lambda=0.8,
        vf_coef=0.7,
        ent_coef=0.1,
        max_grad_norm=None,
        optimizer=keras.optimizers.SGD(0.1),
    )
    rows = fragment(trainer.policy, masked)
    policy, critic = trainer.policy, trainer.critic
    valid = np.ones((T, B), bool) if rows.valid is None else rows.valid.numpy()
    values = critic(tf.reshape(rows.observations, [-1, 4])).numpy().reshape(T, B)
    following = critic(tf.reshape(rows.next_observations, [-1, 4])).numpy()
    following = following.reshape(T, B) * ~rows.terminated.numpy()
    deltas = rows.rewards.numpy() + 0.9 * following - values
    gains = np.zeros((T, B))
    for start in range(T):
        for column in range(B):
            weight = 1.0
            for time in range(start, T):
                gains[start, column] += weight * deltas[time, column]
                if rows.terminated[time, column] or rows.truncated[time, column]:
                    break
                weight *= 0.9 * 0.8
    with tf.GradientTape() as tape:
        oracle = policy.distribution(tf.reshape(rows.observations, [-1, 4]))
        log_probs = oracle.log_prob(tf.reshape(rows.actions, [-1]))
        errors = critic(tf.reshape(rows.observations, [-1, 4])) - tf.constant(
            (gains + values).reshape(-1), tf.float32
        )
        terms = (
            -log_probs * tf.constant(gains.reshape(-1), tf.float32)
            + 0.7 * 0.5 * tf.square(errors)
            - 0.1 * oracle.entropy()
        )
        loss = tf.reduce_mean(tf.boolean_mask(terms, valid.reshape(-1)))
    variables = trainer.trainable_variables
    gradients = tape.gradient(loss, [variable.value for variable in variables])
    expected = [w - 0.1 * g for w, g in zip(weights(trainer), gradients, strict=True)]
    _, metrics = learn(trainer, rows)
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-4)
    for got, want in zip(weights(trainer), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


@pytest.mark.parametrize(("own", "least"), [(None, 0.01), (9.0, 0.01), (1e-3, 1e-3)])
def test_the_whole_gradient_is_clipped(
    own: float | None, least: float, make_trainer: Callable[..., Any]
) -> None:
    """Elementwise clipping, a known bug of the field, would leave a larger step.

    An optimizer's own bound counts where it is the tighter one.
    """
    trainer = make_trainer(
        "ActorCritic",
        num_steps=T,
        max_grad_norm=0.01,
        optimizer=keras.optimizers.SGD(1.0, global_clipnorm=own),
    )
    before = weights(trainer)
    learn(trainer, fragment(trainer.policy))
    moves = [a - b for a, b in zip(weights(trainer), before, strict=True)]
    norm = np.sqrt(sum(np.sum(np.square(move)) for move in moves))
    assert norm == pytest.approx(least, rel=1e-3)
    elementwise = np.sqrt(sum(move.size for move in moves)) * least
    assert elementwise > 2 * norm  # what the mutant could reach


def test_a_broken_trajectory_teaches_nothing(make_trainer: Callable[..., Any]) -> None:
    for field in ("rewards", "next_observations"):
        trainer = make_trainer(
            "PPO",
            num_steps=T,
            minibatch_size=T * B,
            normalize_rewards=True,
            normalize_observations=True,
        )
        rows = fragment(trainer.policy)
        values = getattr(rows, field).numpy()
        values.flat[3] = np.inf
        before = values_of(trainer.weights)
        carry, metrics = learn(trainer, rows._replace(**{field: tf.constant(values)}))
        assert metrics["broken_environment"] == 1.0
        for weight, value in zip(values_of(trainer.weights), before, strict=True):
            np.testing.assert_array_equal(weight, value)
        assert np.isfinite(carry[0]).all()
        carry, metrics = learn(trainer, rows, carry)
        assert np.isfinite(list(metrics.values())).all()
        assert metrics["broken_environment"] == 0.0


PACKAGE = "tests.phases"


@dataclasses.dataclass(frozen=True)
class PhasicSettings(TrainerSettings):
    num_steps: int = 8
    auxiliary_epochs: int = 2
    every: int = 2


@keras.saving.register_keras_serializable(package=PACKAGE)
class Phasic(Trainer):
    """A policy gradient with a phase that learns values from the policy's features."""

    settings_class = PhasicSettings
    settings: PhasicSettings

    def add_state(self) -> None:
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")
        self.runs = self.add_weight(
            name="runs", shape=(), initializer="zeros", trainable=False
        )

    def estimate(self, estimates: Any) -> Any:
        return kpg.advantages.GAE(0.9).gains(estimates, self.settings.gamma)

    def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
        return losses.policy_gradient(log_probs, rows.advantages, rows.valid), {}

    def auxiliary(self, outputs: Outputs, rows: Batch, progress: Any) -> Any:
        error = losses.value(outputs.values * self.scale, rows.targets)
        kl = losses.approximate_kl(outputs.log_probs, rows.log_probs)
        return error + kl, {"auxiliary": error}

    def after(self, iteration: Iteration) -> dict[str, Any]:
        def phase() -> Any:
            self.runs.assign_add(1.0)
            metrics = iteration.minimize(
                self.auxiliary, self.settings.auxiliary_epochs, minibatch_size=16
            )
            return metrics["auxiliary"]

        due = tf.equal(self.iteration % self.settings.every, 0)
        return {"auxiliary": tf.cond(due, phase, lambda: tf.zeros([]))}


SMALL: dict[str, Any] = {"num_steps": 8, "minibatch_size": 16, "num_epochs": 1}


def models(seed: int = 0) -> tuple[kpg.models.Policy, kpg.models.Critic]:
    env = kpg.make("CartPole-v1")
    return (
        kpg.models.Policy(
            env.observation_space, env.action_space, hidden_units=(8,), seed=seed
        ),
        kpg.models.Critic(env.observation_space, hidden_units=(8,), seed=seed + 1),
    )


def number(variable: Any) -> Any:
    """Returns the value of a variable, mirrored or not."""
    return np.array(tf.convert_to_tensor(variable))


@pytest.fixture(scope="module")
def env() -> Any:
    return kpg.make("CartPole-v1", num_envs=4, seed=0)


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_second_phase_runs_when_it_is_due(env: Any, jit_compile: bool) -> None:
    trainer = Phasic(*models(), seed=0)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile)
    history = trainer.fit(env, steps_per_epoch=4, verbose=0).history
    assert number(trainer.runs) == 2.0
    assert history["auxiliary"][0] > 0.0
    # Only the second phase knows this weight.
    assert number(trainer.scale) != 1.0


@pytest.mark.usefixtures("one_by_one")
def test_steps_of_the_critic_alone_leave_the_policy_as_it_is(env: Any) -> None:
    """Also where an optimizer has momentum, which moves what gets a gradient of 0."""

    class More(PPO):
        def after(self, iteration: Iteration) -> dict[str, Any]:
            def critic(outputs: Outputs, rows: Batch, progress: Any) -> Any:
                return losses.value(outputs.values, rows.targets), {}

            return iteration.minimize(critic, num_epochs=3)

    after = []
    for algorithm in (PPO, More):
        trainer: Any = algorithm(*models(), seed=0, **SMALL)
        trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        start = kpg.make("CartPole-v1", num_envs=4, seed=0)
        trainer.fit(start, steps_per_epoch=1, verbose=0)
        after.append(
            [
                [number(v) for v in model.trainable_variables]
                for model in (trainer.policy, trainer.critic)
            ]
        )
    (policy, critic), (same, moved) = after
    for one, other in zip(policy, same, strict=True):
        np.testing.assert_array_equal(one, other)
    pairs = zip(critic, moved, strict=True)
    assert all(not np.array_equal(one, other) for one, other in pairs)


@pytest.mark.usefixtures("one_by_one")
def test_the_phase_goes_down_the_gradient_of_its_loss(env: Any) -> None:
    """One step of SGD on all rows is the gradient of the mean over all rows."""
    seen: list[Any] = []

    class Once(Phasic):
        def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
            return 0.0 * losses.mean(log_probs, rows.valid), {}

        def value_loss(self, values: Any, rows: Batch) -> Any:
            return 0.0 * losses.mean(values, rows.valid)

        def after(self, iteration: Iteration) -> dict[str, Any]:
            def loss(outputs: Outputs, rows: Batch, progress: Any) -> Any:
                seen.append(rows.targets.shape)
                return self.scale * losses.mean(rows.targets, None), {
                    "target": losses.mean(rows.targets, None)
                }

            return iteration.minimize(loss)

    trainer = Once(*models(), seed=0, max_grad_norm=None)
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert seen[0] == (32,)
    moved = 1.0 - number(trainer.scale)
    assert moved == pytest.approx(0.1 * history["target"][0], rel=1e-5)


@pytest.mark.usefixtures("one_by_one")
def test_each_phase_has_an_order_of_its_own(env: Any) -> None:
    orders: list[list[np.ndarray]] = [[], [], []]

    class Watched(PPO):
        def value_loss(self, values: Any, rows: Batch) -> Any:
            self.keep(0, rows)
            return super().value_loss(values, rows)

        def keep(self, phase: int, rows: Batch) -> None:
            orders[phase].append(rows.targets.numpy())

        def after(self, iteration: Iteration) -> dict[str, Any]:
            for phase in (1, 2):

                def critic(said: Outputs, rows: Batch, progress: Any) -> Any:
                    self.keep(phase, rows)  # noqa: B023
                    return losses.value(said.values, rows.targets), {}

                iteration.minimize(critic, minibatch_size=4)
            return {}

    trainer: Any = Watched(*models(), num_steps=2, num_epochs=1, minibatch_size=4)
    trainer.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    # Two minibatches; before them a phase may look at what its objective returns.
    rows = [np.concatenate(order[-2:]) for order in orders]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_array_equal(np.sort(rows[one]), np.sort(rows[other]))
        assert not np.array_equal(rows[one], rows[other])


@pytest.mark.usefixtures("one_by_one")
def test_kl_and_mean_advantage_after_an_iteration(env: Any) -> None:
    class Measured(PPO):
        def after(self, iteration: Iteration) -> dict[str, Any]:
            return {"kl": iteration.kl(), "gain": iteration.mean_advantage()}

    trainer = Measured(*models(), seed=0, **SMALL)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    assert history["kl"][0] > 0.0
    assert np.isfinite(history["gain"][0])


@pytest.mark.slow
def test_the_phase_is_the_same_under_two_replicas() -> None:
    results = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
        env = kpg.make("CartPole-v1", num_envs=4, seed=0)
        with tf.distribute.MirroredStrategy(devices).scope():
            trainer = Phasic(*models(), seed=0, every=1)
            trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
        trainer.fit(env, steps_per_epoch=2, verbose=0)
        results.append(number(trainer.runs))
        assert np.isfinite(number(trainer.scale))
    assert results == [2.0, 2.0]


@pytest.mark.usefixtures("one_by_one")
def test_own_weights_are_saved_and_learning_goes_on(env: Any, tmp_path: Any) -> None:
    trainer = Phasic(*models(), seed=0)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    trainer.fit(env, steps_per_epoch=2, verbose=0)
    trainer.save(tmp_path / "phasic.keras")
    again = kpg.load(tmp_path / "phasic.keras")
    assert type(again) is Phasic
    assert number(again.scale) == number(trainer.scale) != 1.0
    again.fit(env, steps_per_epoch=2, verbose=0)
    assert number(again.runs) == 2.0


WRONG: dict[str, tuple[Any, str]] = {
    "no pair": (lambda loss: loss, "must return a pair"),
    "no scalar": (lambda loss: (tf.zeros([3]), {}), "must return scalars"),
    "no dict": (lambda loss: (loss, [loss]), "must return a pair"),
    "no scalar metric": (lambda loss: (loss, {"mine": tf.zeros([2])}), "'mine'"),
    "a taken name": (lambda loss: (loss, {"entropy": loss}), "choose another"),
}


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_loss_is_refused_by_name(env: Any, case: str) -> None:
    returned, message = WRONG[case]

    class Wrong(PPO):
        def policy_loss(self, log_probs: Any, rows: Batch, progress: Any) -> Any:
            return returned(losses.mean(log_probs, rows.valid))

    trainer = Wrong(*models(), seed=0, **SMALL)
    trainer.compile(jit_compile=False)
    before = [number(v) for v in trainer.learned_variables()]
    with pytest.raises(ValueError, match=message):
        trainer.fit(env, steps_per_epoch=1, verbose=0)
    for old, new in zip(before, trainer.learned_variables(), strict=True):
        np.testing.assert_array_equal(old, number(new))


@pytest.mark.usefixtures("one_by_one")
def test_the_form_for_a_gpu_learns_the_same(make_trainer: Callable[..., Any]) -> None:
    """It has no branches, and asks the critic about some rows at a time."""
    learned = []
    for device in ("CPU", "GPU"):
        trainer = make_trainer("PPO", num_steps=T, num_epochs=1, minibatch_size=T)
        rows = fragment(trainer.policy)
        with building_for_xla(), building_for_device(device):
            metrics = learn(trainer, rows)[1]
        learned.append((weights(trainer), metrics))
    (expected, metrics), (found, others) = learned
    assert others == pytest.approx(metrics, rel=1e-4, abs=1e-5)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_a_broken_trajectory_leaves_everything_as_it_was(
    device: str, make_trainer: Callable[..., Any]
) -> None:
    trainer = make_trainer("PPO", num_steps=T, minibatch_size=T)
    rows = fragment(trainer.policy)
    rewards = tf.tensor_scatter_nd_update(rows.rewards, [[1, 2]], [float("nan")])
    before = values_of([*trainer.variables, *trainer.optimizer.variables])
    with building_for_xla(), building_for_device(device):
        _, metrics = learn(trainer, rows._replace(rewards=rewards))
    after = values_of([*trainer.variables, *trainer.optimizer.variables])
    assert metrics["broken_environment"] == 1.0
    assert metrics["loss"] == 0.0
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)


# The place in a nest of the leaf that is wrong, and what it is then.
WRONG_CHOICES = [(0, 6), (0, 0), (1, 2), (2, 2), (2, -1), (3, 1e300)]


class Choices(Walk):
    """Observes choices that are in their spaces for some steps, then one that is not.

    If `wrong` is -1, all of them are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wrong, self.value = -1, 0.0
        box = gym.spaces.Box(-np.inf, np.inf, (), np.float64)
        parts = (
            gym.spaces.Discrete(5, start=1),
            gym.spaces.MultiDiscrete([2, 3]),
            gym.spaces.MultiBinary(2),
            box,
        )
        self.observation_space = gym.spaces.Tuple(parts)

    def observation(self, state: tf.Tensor, rng: Any, params: Any = None) -> Any:
        late = state[:, 0] > 4.0
        ones = tf.ones_like(state, tf.int32)
        leaves = [ones[:, 0], ones, ones, tf.cast(state[:, 0], tf.float64)]
        specs = tf.nest.flatten(spaces.specs(self.observation_space))
        for index, spec in enumerate(specs):
            leaf = tf.cast(leaves[index], spec.dtype)
            if index == self.wrong:
                away = tf.cast(tf.constant(self.value, tf.float64), spec.dtype)
                rows = tf.reshape(late, [-1] + [1] * (leaf.shape.rank - 1))
                leaf = tf.where(rows, away, leaf)
            leaves[index] = leaf
        return tuple(leaves)


@pytest.mark.usefixtures("one_by_one")
def test_what_no_space_has_is_the_environments_fault(
    make_trainer: Callable[..., Any],
) -> None:
    walk = Choices()
    env = kpg.environments.as_environment(walk, num_envs=2, seed=0)
    trainer = make_trainer("ActorCritic", env=env)
    trainer.fit(env, steps_per_epoch=1, verbose=0)
    before = weights(trainer)
    for walk.wrong, walk.value in WRONG_CHOICES:
        with pytest.raises(ValueError, match="Choices gave .* nothing was lear.*Rec"):
            trainer.fit(env, steps_per_epoch=1, verbose=0)
        for own, old in zip(weights(trainer), before, strict=True):
            np.testing.assert_array_equal(own, old)
