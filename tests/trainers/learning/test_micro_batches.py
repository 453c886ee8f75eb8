"""Steps in micro-batches are the steps of whole minibatches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers import KL
from kpg.trainers.learning.micro_batches import in_turn
from tests.fragments import collected, fragment, learn, values_of
from tests.mutants.micro_batches import ROWS, batch
from tests.text_training import make_trainer as text_trainer
from tests.text_training import remainder, small_policy, task

GROUPS: dict[str, Any] = {
    "returns": "total",
    "baseline": "group_normalized",
    "normalize_advantages": False,
}
DRIFT = {"reference": KL(0.1, inside="loss")}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("REINFORCE", {**GROUPS, **DRIFT}),
    "episodes": ("REINFORCE", {**GROUPS, "loss_normalization": "episodes"}),
    "constant": ("REINFORCE", {**GROUPS, "loss_normalization": "constant"}),
    "ActorCritic": ("ActorCritic", {"ent_coef": 0.1, "reference": KL(0.1)}),
    "PPO": ("PPO", {"minibatch_size": 12, "num_epochs": 2, "ent_coef": 0.1, **DRIFT}),
}


def step(made: Any, rows: Any, algorithm: str, settings: Any, size: int | None) -> Any:
    """Returns the weights after an iteration, and its metrics; undoes it."""
    trainer = text_trainer(made, algorithm, micro_batch_size=size, **settings)
    if trainer.reference is not None:
        trainer.set_reference()
        # The policy has moved on from its reference.
        noise = np.random.default_rng(3)
        for weight in made.trainable_variables:
            weight.assign_add(noise.normal(0.0, 0.05, weight.shape))
    start = values_of(trainer.learned_variables())
    _, metrics = learn(trainer, rows, num_envs=8)
    after = values_of(trainer.learned_variables())
    for weight, value in zip(trainer.learned_variables(), start, strict=True):
        weight.assign(value)
    assert any(not np.array_equal(*pair) for pair in zip(start, after, strict=True))
    return after, metrics


SLOW = ("episodes", "constant", "ActorCritic")
ONE_OF_EACH = [
    pytest.param(case, marks=[pytest.mark.slow] if case in SLOW else [])
    for case in CASES
]


@pytest.mark.parametrize("case", ONE_OF_EACH)
@pytest.mark.usefixtures("one_by_one")
def test_a_step_on_texts_is_that_of_the_whole(case: str) -> None:
    algorithm, settings = CASES[case]
    made = small_policy("abc")
    env = task([remainder], num_envs=8, group_size=4)
    rows, _ = collected(text_trainer(made, algorithm, **settings), env)
    results = []
    for size in (None, 2):
        start = values_of(made.trainable_variables)
        results.append(step(made, rows, algorithm, settings, size))
        for weight, value in zip(made.trainable_variables, start, strict=True):
            weight.assign(value)
    (weights, metrics), *others = results
    for other, numbers in others:
        for ours, want in zip(other, weights, strict=True):
            np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-6)
        assert numbers == pytest.approx(metrics, rel=1e-4, abs=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_a_step_in_an_environment_is_that_of_the_whole(make_trainer: Any) -> None:
    results = []
    for size in (None, 3):
        trainer = make_trainer(
            "PPO", num_steps=6, minibatch_size=12, micro_batch_size=size
        )
        learn(trainer, fragment(trainer.policy, masked=True))
        results.append(values_of(trainer.learned_variables()))
    for ours, want in zip(*results, strict=True):
        np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("one_by_one")
def test_a_minibatch_must_be_divisible() -> None:
    made = small_policy("abc")
    wrong = text_trainer(made, "REINFORCE", micro_batch_size=4)
    with pytest.raises(ValueError, match=r"divide a minibatch.*6 texts.*Received"):
        wrong.fit(task(), steps_per_epoch=1, verbose=0)
    with pytest.raises(ValueError, match="micro_batch_size.*Received: .*0"):
        kpg.trainers.REINFORCE(made, micro_batch_size=0)


@pytest.fixture
def optimized() -> Iterator[None]:
    """Lets TensorFlow rewrite graphs, which the fast suite does without."""
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    off = {"disable_meta_optimizer": before.get("disable_meta_optimizer", False)}
    tf.config.optimizer.set_experimental_options(off)


@pytest.mark.usefixtures("optimized")
def test_sums_that_are_large_can_be_made_again() -> None:
    weight = keras.Variable(np.zeros([2048, 4096], np.float32))

    def of_rows(rows: Any, share: Any) -> Any:
        x = tf.reduce_mean(rows.log_probs)
        with tf.GradientTape() as tape:
            twice = tf.tanh(weight.value * x) + x * tf.sin(weight.value)
            loss = share * tf.reduce_sum(twice)
        return [tape.gradient(loss, weight.value)], share * x[tf.newaxis]

    def minibatch(index: Any, *_: Any) -> Any:
        (gradient,), values = in_turn(of_rows, batch(None), 2, [weight], 1)
        extremes = tf.stack([tf.reduce_min(gradient), tf.reduce_max(gradient)])
        return index + 1, extremes, values

    @tf.function
    def learned() -> Any:
        start = (tf.constant(0), tf.zeros([2]), tf.zeros([1]))
        return tf.while_loop(lambda index, *_: index < 1, minibatch, start)

    mean = ROWS[0].mean()
    for _ in range(2):
        _, extremes, values = learned()
        np.testing.assert_allclose(extremes, 2.0 * mean, rtol=1e-4)
        np.testing.assert_allclose(values, [mean], rtol=1e-4)
