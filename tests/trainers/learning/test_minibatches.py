"""What the gradient steps are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import keras
import numpy as np
import pytest
import tensorflow as tf
from typing_extensions import override

import kpg
from kpg.graph.compiling import building_for_device, compiled
from kpg.trainers.learning.batches import Batch
from kpg.trainers.learning.minibatches import Descent
from kpg.trainers.learning.objective import Objective
from kpg.types import Metrics, Tensor
from tests.fragments import (
    T,
    assert_weights,
    batch_of,
    fragment,
    learn,
    values_of,
)
from tests.programs import passes
from tests.text_training import remainder, small_policy, task


class TwoPhases(kpg.trainers.ActorCritic):
    """Moves the critic further in a phase of its own."""

    def after(self, iteration: Any) -> Any:
        def loss(said: Any, rows: Any, progress: Any) -> Any:
            return tf.reduce_mean(tf.square(said.values - rows.targets)), {}

        return iteration.minimize(loss)


def step(optimizers: Any, algorithm: Any = kpg.trainers.ActorCritic) -> Any:
    """Returns a trainer after an iteration, whose gradient was clipped."""
    space, actions = gym.spaces.Box(-9.0, 9.0, (4,)), gym.spaces.Discrete(3)
    policy = kpg.models.Policy(space, actions, hidden_units=(4,), seed=0)
    critic = kpg.models.Critic(space, hidden_units=(4,), seed=0)
    trainer = algorithm(policy, critic, num_steps=T, max_grad_norm=0.1, seed=0)
    trainer.compile(**optimizers, jit_compile=False)
    learn(trainer, fragment(policy))
    return trainer


@pytest.mark.usefixtures("one_by_one")
def test_clipping_adds_up_what_an_embedding_gets_of_each_token() -> None:
    """Tokens that occur often: slices of one row are one part of the gradient."""
    trainer = kpg.trainers.REINFORCE(
        small_policy("abc"),
        num_steps=6,
        returns="total",
        baseline="leave_one_out",
        normalize_advantages=False,
        max_grad_norm=1e-3,
        seed=0,
    )
    trainer.compile(keras.optimizers.SGD(1.0), jit_compile=False)
    before = [own.numpy() for own in trainer.learned_variables()]
    texts = task([remainder], prompts=["abc", "ba"], max_new_tokens=6, group_size=3)
    trainer.fit(texts, steps_per_epoch=1, verbose=0)
    after = [own.numpy() for own in trainer.learned_variables()]
    moved = [new - old for new, old in zip(after, before, strict=True)]
    norm = np.sqrt(sum(np.square(own, dtype=np.float64).sum() for own in moved))
    np.testing.assert_allclose(norm, 1e-3, rtol=1e-3)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("critic", [False, True])
def test_a_step_of_a_scaled_loss_is_that_of_the_loss(critic: bool) -> None:
    """Of powers of two, to the last bit; clipping sees what the step will be."""
    optimizers, sgd = keras.optimizers, keras.optimizers.SGD

    def both(make: Any, other: Any) -> Any:
        return {
            "optimizer": make(),
            **({"critic_optimizer": other()} if critic else {}),
        }

    def plain() -> Any:
        return sgd(0.5)

    def fixed() -> Any:
        return sgd(0.5, loss_scale_factor=1024.0)

    def dynamic() -> Any:
        return optimizers.LossScaleOptimizer(sgd(0.5))

    def clipped() -> Any:
        return optimizers.LossScaleOptimizer(sgd(0.5, global_clipnorm=0.1))

    want = step(both(plain, plain), TwoPhases)
    for pair in ((fixed, dynamic), (dynamic, plain), (clipped, fixed)):
        got = step(both(*pair), TwoPhases)
        assert_weights(got, values_of(want.learned_variables()), atol=1e-7)
        assert int(got.optimizer.iterations) == int(want.optimizer.iterations)


def test_dynamic_scaling_skips_what_overflows_and_shrinks() -> None:
    def scaled(**options: Any) -> Any:
        sgd = keras.optimizers.SGD(0.5)
        return {"optimizer": keras.optimizers.LossScaleOptimizer(sgd, **options)}

    one = step(scaled(initial_scale=1.0, dynamic_growth_steps=1))
    assert float(one.optimizer.dynamic_scale) == 2.0
    before = values_of(one.learned_variables())
    one.optimizer.dynamic_scale.assign(2.0**127)
    learn(one, fragment(one.policy))
    assert float(one.optimizer.dynamic_scale) == 2.0**126
    assert_weights(one, before, atol=0.0)
    assert int(one.optimizer.iterations) == 1


@pytest.mark.usefixtures("one_by_one")
def test_keras_s_optimizers_accumulate_decay_and_count() -> None:
    """Two equal gradients that are accumulated make one step; iterations count it."""
    sgd = keras.optimizers.SGD
    once = step({"optimizer": sgd(0.5)})
    half = step({"optimizer": sgd(0.5, gradient_accumulation_steps=2)})
    start = values_of(half.learned_variables())
    learn(half, fragment(half.policy))
    assert_weights(half, values_of(once.learned_variables()), atol=1e-6)
    assert int(half.optimizer.iterations) == int(once.optimizer.iterations) == 1
    decaying = sgd(0.5, weight_decay=0.1)
    decaying.exclude_from_weight_decay(var_names=["bias"])
    want = [
        new - (0.0 if "bias" in variable.name else 0.05 * old)
        for new, old, variable in zip(
            values_of(once.learned_variables()),
            start,
            once.learned_variables(),
            strict=True,
        )
    ]
    assert_weights(step({"optimizer": decaying}), want)


class Bias(Objective):
    """Pulls the bias of a policy's head down."""

    def __init__(self, policy: Any) -> None:
        self.bias = policy.head.bias

    @override
    def __call__(self, rows: Batch, progress: Tensor) -> tuple[Tensor, Metrics]:
        loss = tf.reduce_sum(self.bias * tf.reduce_mean(rows.advantages))
        return loss, {"loss": loss}


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_xla_knows_how_many_steps_there_are(
    device: str, make_trainer: Callable[..., Any]
) -> None:
    """Also from a later epoch on, and if a broken trajectory may teach nothing."""
    trainer = make_trainer("ActorCritic", num_steps=6, optimizer=keras.optimizers.SGD())
    batch = batch_of(trainer, fragment(trainer.policy))
    descent = Descent(trainer.training_on(4), Bias(trainer.policy))
    orders = tf.reshape(tf.range(24), [12, 2])

    def later(first: Tensor, healthy: Tensor) -> Tensor:
        taken = descent.start(batch, orders, healthy)
        return descent.run(batch, orders, (first, 7), taken, tf.zeros([])).totals

    with building_for_device(device):
        function = compiled(later, jit_compile=True)
        assert passes(function, tf.constant(2), tf.constant(True)) == [7]
