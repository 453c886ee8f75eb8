"""The Llama family token by token: against the models of KerasHub, and what differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.decoding.decoder import CachedDecoder
from kpg.models.language.decoding.llama import LlamaDecoder
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put, put_anywhere
from tests.decoders import ROOM, STEPS, V, read, texts, whole
from tests.texts import llama

ROTATED = {
    "rope_frequency_adjustment_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_pretraining_sequence_length": 64,
}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("Llama", {}),
    ("Llama3", {"tie_word_embeddings": True, "rope_max_wavelength": 100.0}),
    ("Llama3", ROTATED),
    ("Mistral", {"sliding_window": 3}),
    ("Mistral", {"sliding_window": None, "head_dim": 6, "rope_scaling_factor": 2.0}),
    ("Qwen", {}),
    ("Qwen", {"use_sliding_window_attention": True, "sliding_window_size": 4}),
]


# How the cache is written is one matter, and the family another.
@pytest.mark.parametrize(
    ("family", "options", "write"),
    [
        *((*case, put) for case in FAMILIES),
        (*FAMILIES[3], put_anywhere),
        *(
            pytest.param(*case, put_anywhere, marks=pytest.mark.slow)
            for case in FAMILIES[:3] + FAMILIES[4:]
        ),
    ],
)
def test_the_logits_are_kerashubs(
    family: str, options: dict[str, Any], write: Any
) -> None:
    model = llama(V, family, num_layers=2, **options)
    trunk = LanguageTrunk(model)
    chosen = decoder_for(trunk, portable=write is put_anywhere)
    assert isinstance(chosen, LlamaDecoder) and chosen.write is write
    logits = trunk.logits(read(chosen, texts())).numpy()
    error = np.abs(logits - whole(model, texts())).max()
    assert error < 1e-4 and np.ptp(logits) > 1.0


def test_a_model_with_low_rank_adapters_is_read_with_them() -> None:
    model = llama(V, num_layers=2)
    model.backbone.enable_lora(2)
    for weight in model.trainable_weights:
        weight.assign_add(tf.fill(weight.shape, 0.1))
    trunk = LanguageTrunk(model)
    same = np.full([3, ROOM + STEPS], 2, np.int32)
    logits = trunk.logits(read(LlamaDecoder(trunk), same)).numpy()
    np.testing.assert_allclose(logits, whole(model, same), atol=1e-4)


def test_half_precision_is_near() -> None:
    trunk = LanguageTrunk(llama(V, dtype="bfloat16"))
    assert isinstance(decoder_for(trunk), LlamaDecoder)


def test_what_differs_is_read_by_kerashub(monkeypatch: pytest.MonkeyPatch) -> None:
    trunks = [LanguageTrunk(llama(V, num_layers=2)) for _ in range(3)]
    layer = trunks[0].causal_lm.backbone.transformer_layers[1]
    layer.activation = tf.nn.relu
    assert isinstance(decoder_for(trunks[0]), LlamaDecoder)
    with monkeypatch.context() as changed:
        changed.setattr(LlamaDecoder, "merged", lambda self, layer, *_: layer._missing)
        assert isinstance(decoder_for(trunks[1]), CachedDecoder)
    monkeypatch.setattr(LlamaDecoder, "window", lambda self, layer: 1)
    assert isinstance(decoder_for(trunks[2]), CachedDecoder)
