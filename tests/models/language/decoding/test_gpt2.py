"""GPT-2 token by token: against the model of KerasHub."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.tables import put, put_anywhere
from tests.decoders import V, read, texts, whole
from tests.texts import gpt2


@pytest.mark.parametrize("write", [put, put_anywhere])
def test_the_logits_are_kerashubs(write: Any) -> None:
    model = gpt2(V, num_layers=2)
    trunk = LanguageTrunk(model)
    logits = trunk.logits(read(GPT2Decoder(trunk, write), texts())).numpy()
    np.testing.assert_allclose(logits, whole(model, texts()), atol=1e-4)
    assert np.ptp(logits) > 1.0


def test_a_model_with_low_rank_adapters_is_read_with_them() -> None:
    model = gpt2(V, num_layers=2)
    model.backbone.enable_lora(2)
    for weight in model.trainable_weights:
        weight.assign_add(tf.fill(weight.shape, 0.1))
    trunk = LanguageTrunk(model)
    logits = trunk.logits(read(GPT2Decoder(trunk), texts())).numpy()
    np.testing.assert_allclose(logits, whole(model, texts()), atol=1e-4)
