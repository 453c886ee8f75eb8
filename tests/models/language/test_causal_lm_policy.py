"""A causal language model as a recurrent policy: against the model itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import CausalLMPolicy
from kpg.text import ByteTokenizer
from tests.texts import gpt2, llama, policy, teacher_forced
from tests.unrolling import COMPLETIONS, PROMPTS, unrolled


@pytest.mark.parametrize("build", [gpt2, llama])
def test_unrolling_is_teacher_forcing(build: Any) -> None:
    made = policy("abc", build(5), temperature=0.7)
    parameters, _ = unrolled(made)
    log_probs = made.family.log_prob(parameters, tf.transpose(COMPLETIONS)).numpy()
    for row, pair in enumerate(zip(PROMPTS, COMPLETIONS, strict=True)):
        want = teacher_forced(made, *pair)
        np.testing.assert_allclose(log_probs[:, row], want, atol=1e-5)


OLD = {
    "CausalLMPolicy": "kpg.models.language.policy",
    "ByteTokenizer": "kpg.text.byte_tokenizer",
}


def moved(config: Any) -> Any:
    """Returns a configuration as it was written before its modules moved."""
    if isinstance(config, list):
        return [moved(part) for part in config]
    if not isinstance(config, dict):
        return config
    old = {name: moved(part) for name, part in config.items()}
    if config.get("class_name") in OLD:
        old["module"] = OLD.pop(config["class_name"])
    return old


def test_a_configuration_from_before_the_modules_moved_is_loaded() -> None:
    made = CausalLMPolicy(gpt2(258, num_layers=1), ByteTokenizer(), temperature=0.5)
    old = moved(keras.saving.serialize_keras_object(made))
    assert not OLD
    again = keras.saving.deserialize_keras_object(old)
    assert isinstance(again, CausalLMPolicy) and again.temperature == 0.5
    assert again.get_config() == made.get_config()
