"""Recipes train texts; that they are their papers' is in `tests/mutants/recipes.py`."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg.trainers import recipes
from tests.fragments import batch_of, collected, learn, orders_of, traces, values_of
from tests.text_training import T, remainder, small_policy, task


def made(name: str, rate: float = 0.1, **settings: Any) -> Any:
    trainer = getattr(recipes, name)(small_policy("abc"), 0, **settings)
    trainer.compile(keras.optimizers.SGD(rate), jit_compile=False)
    return trainer


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("name", recipes.SETTINGS)
def test_a_recipe_needs_nothing_but_a_policy(name: str) -> None:
    trainer, env = made(name), task([remainder], num_envs=6, group_size=3)
    before = values_of(trainer.policy.trainable_variables)
    history = trainer.fit(env, steps_per_epoch=1, verbose=0).history
    after = values_of(trainer.policy.trainable_variables)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    assert type(trainer) is kpg.trainers.PPO and trainer.critic is None
    # One step on all texts: nothing has moved yet, and nothing is clipped.
    assert history["approx_kl"] == pytest.approx([0.0], abs=1e-9)
    assert history["clip_fraction_low"] == history["clip_fraction_high"] == [0.0]
    assert history["gradient_norm"][0] > 0.0
    assert not {"value_loss", "explained_variance"} & set(history)


def test_settings_are_those_of_ppo() -> None:
    trainer = made("grpo", num_epochs=3, group_size=4, clip_range_high=0.3)
    assert trainer.settings.baseline == kpg.advantages.GroupNormalized(4)
    assert (trainer.settings.num_epochs, trainer.settings.clip_range_high) == (3, 0.3)
    own = kpg.advantages.LeaveOneOut(2)
    assert made("dr_grpo", baseline=own).settings.baseline == own
    with pytest.raises(ValueError, match="PPO has no such setting.*num_generations"):
        made("grpo", num_generations=8)


def test_minibatches_are_whole_texts_of_several_groups() -> None:
    """Each step is GRPO's on its own texts, compared before within their groups."""
    settings: dict[str, Any] = {"num_epochs": 2, "minibatch_size": 2 * T}
    trainer = made("grpo", num_steps=T, max_grad_norm=None, **settings)
    rows, _ = collected(trainer, task([remainder], num_envs=6, group_size=3))
    batch = batch_of(trainer, rows, group_size=3)
    totals = rows.rewards.numpy().sum(axis=0).reshape(2, 3)
    std = totals.std(axis=1, keepdims=True) + 1e-4
    gains = ((totals - totals.mean(axis=1, keepdims=True)) / std).ravel()
    np.testing.assert_allclose(batch.advantages[0], gains, rtol=1e-4)
    groups = orders_of(trainer, 6, 0) // 3
    assert groups.shape == (6, 2) and (groups[:, 0] != groups[:, 1]).any()
    usual, losses = trainer.policy_loss, []

    def policy_loss(log_probs: Any, batch: Any, progress: Any) -> Any:
        loss, metrics = usual(log_probs, batch, progress)
        ratios = tf.exp(log_probs - batch.log_probs).numpy()
        terms = np.minimum(
            ratios * batch.advantages, np.clip(ratios, 0.8, 1.2) * batch.advantages
        )
        lengths = batch.valid.numpy().sum(axis=0)
        texts = [terms[:count, i].mean() for i, count in enumerate(lengths)]
        losses.append((float(loss), -np.mean(texts)))
        return loss, metrics

    trainer.policy_loss = policy_loss
    learn(trainer, rows, num_envs=6)
    found = np.array(losses)[1:]  # after a look at which metrics there are
    assert len(found) == 6
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_several_steps_on_each_text_learn_faster() -> None:
    """With ratio and clip; one program does all steps of an iteration."""
    returns = {}
    for epochs in (1, 4):
        trainer = made("grpo", num_epochs=epochs, minibatch_size=12 * T)
        env = task([remainder], num_envs=48, group_size=8)
        trainer.fit(env, epochs=1, steps_per_epoch=20, verbose=0)
        assert traces(trainer) == 1
        returns[epochs] = trainer.evaluate(env, 96, deterministic=False)["return"]
    assert returns[4] > returns[1]
