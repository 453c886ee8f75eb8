"""A loss or a gradient that is not finite is never applied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.environments import FunctionalEnv, GraphEnvironment
from kpg.graph.compiling import building_for_device, compiled
from kpg.trainers.learning.replicas import split
from kpg.trainers.learning.soundness import columns, culprit, global_norm
from tests.fragments import B, T, fragment, learn, learner_of, values_of

pytestmark = pytest.mark.usefixtures("one_by_one")
ROWS = T * B


@keras.saving.register_keras_serializable(package="tests")
class Treacherous(keras.layers.Layer):
    """Multiplies by a weight whose gradient is always the same."""

    def __init__(self, gradient: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gradient = gradient

    def build(self, shape: Any) -> None:
        self.factor = self.add_weight((shape[-1],), "ones", name="factor")

    def call(self, inputs: Any) -> Any:
        @tf.custom_gradient
        def scaled(factor: Any) -> Any:
            return factor * inputs, lambda upstream: tf.fill([4], self.gradient)

        return scaled(tf.convert_to_tensor(self.factor))


def trainer_of(
    algorithm: Any = kpg.trainers.PPO, layers: Any = (), **options: Any
) -> Any:
    """Returns a trainer of fragments, with options of `compile` among those of it."""
    names = ("optimizer", "critic_optimizer", "on_nonfinite", "jit_compile")
    given = {name: options.pop(name) for name in names if name in options}
    if algorithm is kpg.trainers.PPO:
        options = {"num_epochs": 2, "minibatch_size": ROWS // 3, **options}
    space, actions = gym.spaces.Box(-9.0, 9.0, (4,)), gym.spaces.Discrete(3)
    start = keras.initializers.GlorotUniform(seed=0)
    wide = keras.layers.Dense(4, kernel_initializer=start, name="wide")
    backbone = keras.Sequential([*layers, wide])
    policy = kpg.models.Policy(space, actions, backbone=backbone, seed=0)
    critic = kpg.models.Critic(space, hidden_units=(4,), seed=0)
    trainer = algorithm(policy, critic, num_steps=T, seed=0, **options)
    trainer.compile(**{"jit_compile": False, **given})
    return trainer


def explosive(trainer: Any, reward: float = 1e38) -> Any:
    """Returns a fragment with one reward that is far too large."""
    rows = fragment(trainer.policy)
    rewards = rows.rewards.numpy()
    rewards[-1, 0] = reward
    return rows._replace(rewards=tf.constant(rewards))


def blamed(trainer: Any, rows: Any) -> str:
    """Returns what an iteration that must raise is blamed on."""
    learner = learner_of(trainer, B)
    metrics = learner.learn(rows, learner.start(), tf.constant([5, 6]), tf.zeros([]))[1]
    return learner.tally.suspects[int(metrics["fault"]) - 1]


def state_of(trainer: Any) -> list[np.ndarray]:
    return values_of([*trainer.variables, *trainer.optimizer.variables])


def assert_equal(got: list[np.ndarray], want: list[np.ndarray]) -> None:
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


def count_steps(trainer: Any, steps: list[int]) -> None:
    apply = trainer.optimizer.apply

    def counted(*pairs: Any) -> None:
        steps.append(len(steps))
        apply(*pairs)

    trainer.optimizer.apply = counted


@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_grad_norm": None},
        {"normalize_rewards": False, "normalize_observations": True},
    ],
)
def test_a_step_that_is_not_finite_changes_nothing(
    settings: Any, on_nonfinite: str
) -> None:
    trainer = trainer_of(
        kpg.trainers.ActorCritic, on_nonfinite=on_nonfinite, **settings
    )
    rows = explosive(trainer)
    ((_, moments),) = trainer.policy.normalizers
    before, weights = state_of(trainer), values_of(trainer.learned_variables())
    _, metrics = learn(trainer, rows)
    if on_nonfinite == "raise":
        assert metrics["fault"] > 0
        assert_equal(state_of(trainer), before)
    else:
        assert metrics["skipped_updates"] == 1
        learned = trainer.learned_variables()
        assert_equal(values_of(learned), weights)
        assert int(trainer.optimizer.iterations) == 0
        followed = "normalize_observations" in settings
        assert float(moments.count) == ROWS * followed


@pytest.mark.parametrize("target_kl", [None, 100.0])
def test_the_other_minibatches_are_learned_from(target_kl: float | None) -> None:
    """The one that holds the reward is left out of the weights and of the logs."""
    options = {"normalize_advantages": False, "gae_lambda": 0.0, "num_epochs": 1}
    trainer = trainer_of(on_nonfinite="skip", target_kl=target_kl, **options)
    learned: list[Any] = []
    count_steps(trainer, learned)
    before = values_of(trainer.learned_variables())
    _, metrics = learn(trainer, explosive(trainer))
    assert (metrics["skipped_updates"], len(learned)) == (1, 2)
    assert int(trainer.optimizer.iterations) == 2
    after = values_of(trainer.learned_variables())
    assert all(np.isfinite(weight).all() for weight in after)
    assert not np.array_equal(after[0], before[0])
    assert np.isfinite([metrics["loss"], metrics["value_loss"]]).all()
    # Means over two minibatches, not over three.
    assert metrics["entropy"] == pytest.approx(np.log(3), abs=0.1)


@pytest.mark.parametrize("target_kl", [None, 100.0])
def test_no_step_follows_one_that_raises(target_kl: float | None) -> None:
    """Where each step is a branch, those before it are kept; else none is."""
    options = {"normalize_advantages": False, "gae_lambda": 0.0}
    trainer = trainer_of(target_kl=target_kl, **options)
    before = state_of(trainer)
    steps: list[int] = []
    count_steps(trainer, steps)
    _, metrics = learn(trainer, explosive(trainer))
    assert metrics["fault_value"] == np.inf
    if target_kl is None:
        assert_equal(state_of(trainer), before)
    else:
        assert len(steps) < 3  # the reward is in one of the first three minibatches
        assert int(trainer.optimizer.iterations) == len(steps)


def test_large_networks_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpg.trainers.learning.minibatches._MANY_WEIGHTS", 10)
    trainer = trainer_of(normalize_advantages=False, gae_lambda=0.0)
    steps: list[int] = []
    count_steps(trainer, steps)
    learn(trainer, explosive(trainer))
    assert len(steps) < 3
    assert int(trainer.optimizer.iterations) == len(steps)


def test_the_first_loss_is_named() -> None:
    assert blamed(trainer_of(), explosive(trainer_of())) == "value_loss"
    trainer = trainer_of(normalize_advantages=False)
    rows = fragment(trainer.policy)
    far = rows._replace(
        log_probs=rows.log_probs - 80.0, rewards=-1e32 * rows.rewards**2
    )
    assert blamed(trainer, far) == "policy_loss"


def test_a_penalty_is_part_of_the_whole_loss() -> None:
    layer = keras.layers.Dense(
        4, kernel_initializer=keras.initializers.Constant(1e20), kernel_regularizer="l2"
    )
    trainer = trainer_of(layers=[keras.layers.Rescaling(1e-20), layer])
    assert blamed(trainer, fragment(trainer.policy)) == "loss"


@pytest.mark.parametrize("gradient", [np.nan, np.inf, 1e25])
@pytest.mark.parametrize("separate", [False, True])
def test_a_weight_is_named_by_its_path(gradient: float, separate: bool) -> None:
    """Also where every number is finite, but the squares of the norm are not."""
    layer = Treacherous(gradient, name="treacherous")
    own = {"critic_optimizer": "sgd"} if separate else {}
    trainer = trainer_of(layers=[keras.layers.Dense(4), layer], **own)
    name = blamed(trainer, fragment(trainer.policy))
    assert name == f"the gradient of {layer.factor.path}"
    assert "treacherous/factor" in name


def test_a_phase_of_its_own_names_its_loss_and_stops_the_ones_after_it() -> None:
    met: list[Any] = []

    class Phases(kpg.trainers.ActorCritic):
        def after(self, iteration: Any) -> Any:
            def distil(said: Any, rows: Any, progress: Any) -> Any:
                return tf.reduce_mean(said.values) * float("inf"), {}

            def last(said: Any, rows: Any, progress: Any) -> Any:
                return 1e9 * tf.reduce_mean(said.values), {}

            iteration.minimize(distil)
            met.append(values_of(self.learned_variables()))
            iteration.minimize(last)
            met.append((bool(iteration.healthy), float(iteration.kl())))
            return {}

    trainer = trainer_of(Phases)
    assert blamed(trainer, fragment(trainer.policy)) == "the loss 'distil'"
    assert_equal(values_of(trainer.learned_variables()), met[0])
    healthy, kl = met[1]
    assert not healthy
    assert np.isnan(kl)


def test_what_follows_an_iteration_that_raises_stays_as_it_was() -> None:
    """The moments of rewards, which come first, and those of observations."""
    trainer = trainer_of(
        layers=[keras.layers.Dense(4), Treacherous(np.nan)],
        normalize_rewards=True,
        normalize_observations=True,
    )
    before = values_of(trainer.non_trainable_variables)
    _, metrics = learn(trainer, fragment(trainer.policy))
    assert metrics["fault"] > 0
    assert_equal(values_of(trainer.non_trainable_variables), before)


def test_averages_of_batches_are_those_of_sound_ones() -> None:
    layers = [keras.layers.BatchNormalization(), keras.layers.Dense(4)]
    trainer = trainer_of(layers=[*layers, Treacherous(np.nan)], on_nonfinite="skip")
    learn(trainer, fragment(trainer.policy))
    np.testing.assert_array_equal(layers[0].moving_mean, np.zeros(4))
    healthy = trainer_of(layers=[keras.layers.BatchNormalization()])
    learn(healthy, fragment(healthy.policy))
    averages = healthy.policy.trunk.backbone.layers[0].moving_mean
    assert np.abs(np.asarray(averages)).min() > 0.0


def test_a_scale_that_was_too_large_is_the_optimizers_own_affair() -> None:
    scaling = keras.optimizers.LossScaleOptimizer
    optimizer = scaling(keras.optimizers.SGD(0.1), initial_scale=1e38)
    trainer = trainer_of(kpg.trainers.ActorCritic, optimizer=optimizer)
    before = values_of(trainer.learned_variables())
    _, metrics = learn(trainer, fragment(trainer.policy))
    assert metrics["fault"] == 0
    assert_equal(values_of(trainer.learned_variables()), before)
    assert float(optimizer.dynamic_scale) == pytest.approx(5e37)
    # No scale mends a loss that is not finite itself.
    assert learn(trainer, explosive(trainer))[1]["fault"] > 0


@pytest.mark.parametrize("xla", [True, False])
def test_the_global_norm_is_that_of_all_numbers_together(xla: bool) -> None:
    rng = np.random.default_rng(0)
    shapes = [(64, 64), (64,), (64, 1), (3, 3, 4, 8), (), (1,)]
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    expected = np.linalg.norm(np.concatenate([array.reshape(-1) for array in arrays]))
    norm = tf.function(global_norm, jit_compile=xla)([tf.constant(a) for a in arrays])
    np.testing.assert_allclose(norm, expected, rtol=1e-5)


def test_a_broken_gradient_has_no_norm() -> None:
    norm = global_norm([tf.constant([[1.0, float("nan")]]), tf.constant([1.0])])
    assert np.isnan(norm)


def test_a_column_is_one_of_the_last_axis() -> None:
    np.testing.assert_allclose(columns(tf.constant([[3.0, 0.0], [4.0, 12.0]])), [5, 12])


def test_the_culprit_is_the_first_that_is_not_finite_else_the_largest() -> None:
    inf, nan = np.inf, np.nan
    cases: Any = [([1, inf, nan], 1), ([9, 1, 5, 2], 2), ([1, 1, 2, nan], 3)]
    for numbers, place in cases:
        found, value = culprit(tf.constant(numbers, tf.float32), 1)
        assert int(found) == place
        np.testing.assert_equal(float(value), float(numbers[place]))


class Bomb(FunctionalEnv):
    """Ten quiet steps, and then a reward that is far too large."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gym.spaces.Discrete(2)
    max_episode_steps = 100

    def initial(self, rng: Any) -> tf.Tensor:
        return tf.zeros_like(rng.normal(0.0, 1.0))[:, tf.newaxis]

    def transition(self, state: tf.Tensor, action: tf.Tensor) -> tf.Tensor:
        return state + 1.0

    def observation(self, state: tf.Tensor) -> tf.Tensor:
        return 0.1 * state

    def reward(self, state: Any, action: Any, next_state: tf.Tensor) -> tf.Tensor:
        return tf.where(next_state[:, 0] == 11.0, 1e38, 1.0)

    def terminal(self, state: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(state[:, 0], tf.bool)


class OnHost(gym.Env[Any, Any]):
    observation_space = Bomb.observation_space
    action_space = Bomb.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        observation = np.array([0.1 * self.steps], np.float32)
        return observation, 1e38 if self.steps == 11 else 1.0, False, False, {}


def fitting(env: Any, **options: Any) -> Any:
    policy = kpg.models.Policy(
        env.observation_space, env.action_space, hidden_units=(4,), seed=0
    )
    critic = kpg.models.Critic(env.observation_space, hidden_units=(4,), seed=0)
    trainer = kpg.trainers.ActorCritic(policy, critic, num_steps=4, seed=0)
    trainer.compile(**{"jit_compile": False, "steps_per_execution": 5, **options})
    return trainer


@pytest.mark.parametrize("host", [False, True])
def test_fit_ends_with_the_last_good_weights(host: bool) -> None:
    """In the middle of a call, whose later iterations would have learned more."""
    env: Any = GraphEnvironment(Bomb())
    if host:
        env = kpg.environments.as_environment(OnHost)
    good = fitting(env)
    good.fit(env, steps_per_epoch=2, verbose=0)
    trainer = fitting(env)
    with pytest.raises(ValueError, match=r"step was not taken.* value_loss = inf"):
        trainer.fit(env, steps_per_epoch=5, verbose=0)
    assert_equal(
        values_of(trainer.learned_variables()), values_of(good.learned_variables())
    )
    assert (trainer.env_steps, int(trainer.iteration)) == (8, 3)
    assert int(trainer.optimizer.iterations) == 2
    trainer.fit(env, steps_per_epoch=2, verbose=0)  # with new episodes
    assert (trainer.env_steps, int(trainer.iteration)) == (16, 5)


def test_a_broken_trajectory_ends_a_call_and_does_not_count() -> None:
    class Broken(Bomb):
        def reward(self, state: Any, action: Any, next_state: tf.Tensor) -> tf.Tensor:
            return tf.where(next_state[:, 0] == 11.0, np.nan, 1.0)

    env = GraphEnvironment(Broken())
    trainer = fitting(env)
    with pytest.raises(ValueError, match="rewards that are not finite"):
        trainer.fit(env, steps_per_epoch=5, verbose=0)
    assert (trainer.env_steps, int(trainer.optimizer.iterations)) == (8, 2)


def test_skipped_steps_are_counted_in_the_log() -> None:
    env = GraphEnvironment(Bomb())
    trainer = fitting(env, on_nonfinite="skip")
    logs = trainer.fit(env, epochs=2, steps_per_epoch=3, verbose=0).history
    assert logs["skipped_updates"] == [1, 0]
    # The loss is the mean of the steps that were taken, and unknown without one.
    alone = fitting(env, on_nonfinite="skip")
    each = alone.fit(GraphEnvironment(Bomb()), epochs=3, steps_per_epoch=1, verbose=0)
    losses = each.history["loss"]
    assert np.isnan(losses[2])
    assert logs["loss"][0] == pytest.approx(np.mean(losses[:2]))
    assert (
        "skipped_updates"
        not in fitting(env).fit(env, steps_per_epoch=2, verbose=0).history
    )


def test_the_choice_is_saved_and_checked(tmp_path: Path) -> None:
    trainer = trainer_of(on_nonfinite="skip")
    trainer.save(tmp_path / "trainer.keras")
    loaded = kpg.load(tmp_path / "trainer.keras")
    assert loaded.get_compile_config()["on_nonfinite"] == "skip"
    assert "skipped_updates" in learn(loaded, fragment(loaded.policy))[1]
    with pytest.raises(ValueError, match="on_nonfinite.*'ignore'"):
        trainer.compile(on_nonfinite="ignore")


@pytest.mark.slow
@pytest.mark.parametrize("on_nonfinite", ["raise", "skip"])
def test_replicas_agree(on_nonfinite: str) -> None:
    """One of them has the reward."""
    tf.config.run_functions_eagerly(False)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        trainer = trainer_of(kpg.trainers.ActorCritic, on_nonfinite=on_nonfinite)
    before = values_of(trainer.learned_variables())
    rows = tf.nest.map_structure(
        lambda part: None if part is None else np.asarray(part), explosive(trainer)
    )
    shares = split(trainer.distribute_strategy, rows)
    _, metrics = learn(trainer, shares, graph=True)
    assert metrics["fault" if on_nonfinite == "raise" else "skipped_updates"] > 0
    assert_equal(values_of(trainer.learned_variables()), before)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["", "CPU", "GPU"])
@pytest.mark.parametrize("target_kl", [None, 100.0])
def test_programs_do_the_same(device: str, target_kl: float | None) -> None:
    """Without XLA, and as XLA would compile for a CPU and for a GPU."""
    wanted = trainer_of(on_nonfinite="skip", target_kl=target_kl, num_epochs=1)
    want = learn(wanted, explosive(wanted))[1]
    tf.config.run_functions_eagerly(False)
    got = trainer_of(on_nonfinite="skip", target_kl=target_kl, num_epochs=1)
    learner = learner_of(got, B)
    start, seed = learner.start(), tf.constant([5, 6])
    with building_for_device(device):
        function: Callable[..., Any] = compiled(learner.learn, bool(device))
        outputs: Any = function(explosive(got), start, seed, tf.zeros([]))
        metrics = outputs[1]
    for name, number in want.items():
        np.testing.assert_allclose(metrics[name], number, rtol=1e-4, atol=1e-5)
    for one, other in zip(state_of(got), state_of(wanted), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert int(got.optimizer.iterations) == int(wanted.optimizer.iterations)
