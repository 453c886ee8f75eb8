"""Adapters, and what is frozen: trained alone, copied alone, and saved as they are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import kpg
from kpg import text
from kpg.models import CausalLMPolicy
from kpg.models.language import saving
from tests.fragments import values_of
from tests.languages import stir
from tests.text_training import make_trainer, task
from tests.texts import gpt2, llama, remainder


def adapted(alpha: float | None = None) -> CausalLMPolicy:
    """Returns a policy whose adapters, and nothing else, do something."""
    lm = gpt2(258, num_layers=1, hidden_dim=8)
    if alpha is None:
        lm.backbone.enable_lora(2)
    else:
        layer = lm.backbone.transformer_layers[0]._feedforward_output_dense
        lm.backbone.trainable = False
        layer.enable_lora(3, lora_alpha=alpha)
    made = CausalLMPolicy(lm, text.ByteTokenizer())
    stir(made)
    return made


def trained(model: Any) -> list[tuple[str, Any]]:
    return [(w.name, tuple(w.shape)) for w in model.trainable_variables]


@pytest.mark.usefixtures("one_by_one")
def test_only_adapters_and_what_kerashub_leaves_are_trained() -> None:
    made = adapted()
    before = {id(w): w.numpy() for w in made.weights}
    names = {name for name, _ in trained(made)}
    assert names == {"lora_kernel_a", "lora_kernel_b", "bias"}
    trainer = make_trainer(made, "ActorCritic", reference_kl_coef=0.1)
    trainer.fit(task([remainder]), steps_per_epoch=2, verbose=0)
    assert len(trainer.reference.snapshot) == len(made.trainable_variables) == 6
    for weight in made.weights:
        same = np.array_equal(weight.numpy(), before[id(weight)])
        assert same == (not weight.trainable), weight.path


@pytest.mark.usefixtures("one_by_one")
def test_a_loaded_policy_has_its_adapters(tmp_path: Any) -> None:
    for alpha in (None, 6.0):
        made = adapted(alpha)
        made.save(tmp_path / "policy.keras")
        loaded = keras.saving.load_model(tmp_path / "policy.keras")
        assert trained(loaded) == trained(made)
        for ours, theirs in zip(loaded.weights, made.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert ours.trainable == theirs.trainable
        tokens = tf.constant([65, 70])
        np.testing.assert_array_equal(loaded(tokens), made(tokens))


def test_what_is_frozen_stays_frozen() -> None:
    lm = llama(258)
    lm.backbone.token_embedding.trainable = False
    again = saving.revived(saving.to_config(lm))
    assert trained(again) == trained(lm)
    assert 0 < len(trained(again)) < len(again.weights)


@pytest.mark.usefixtures("one_by_one")
def test_a_loaded_trainer_goes_on_with_its_adapters(tmp_path: Any) -> None:
    made = adapted()
    trainer: Any = make_trainer(made, "REINFORCE", reference_kl_coef=0.1)
    trainer.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    trainer.fit(task([remainder]), steps_per_epoch=1, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded: Any = kpg.load(tmp_path / "trainer.keras")
    for one in (trainer, loaded):
        one.fit(task([remainder]), steps_per_epoch=1, verbose=0)
    pairs = zip(values_of(trainer.weights), values_of(loaded.weights), strict=True)
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)
