"""The generic path with the families that KerasHub has, by tiny random models."""

from __future__ import annotations

from typing import Any

import keras_nlp
import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.decoder import CachedDecoder, RereadingDecoder
from kpg.models.language.decoding.gpt2 import GPT2Decoder
from kpg.models.language.decoding.sampling import Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.tables import put_anywhere
from tests.seq2seq import fixed
from tests.texts import gemma, gpt2, padded, policy, teacher_forced

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2]]
HEADS = {"num_query_heads": 4, "num_key_value_heads": 2}
GEMMA = {**HEADS, "head_dim": 4, "final_logit_soft_cap": 5.0}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("Llama3", HEADS),
    ("Mistral", HEADS),
    ("Gemma", GEMMA),
    ("Qwen", HEADS),
    ("Qwen3", {**HEADS, "head_dim": 4}),
    ("OPT", {"num_heads": 2, "max_sequence_length": 24}),
]
FAST = ("Gemma", "OPT")


def tiny(family: str, **options: Any) -> Any:
    """Returns a model of one layer whose next tokens are far from uniform."""
    make = getattr(keras_nlp.models, f"{family}Backbone")
    sizes = {"num_layers": 1, "hidden_dim": 16, "intermediate_dim": 16}
    backbone = make(vocabulary_size=10, **sizes, **options)
    return fixed(getattr(keras_nlp.models, f"{family}CausalLM")(backbone=backbone))


@pytest.mark.usefixtures("one_by_one")
# These two differ most: a cap on the logits, and positions that are learned.
@pytest.mark.parametrize(
    ("family", "options"),
    [
        pytest.param(*case, marks=() if case[0] in FAST else pytest.mark.slow)
        for case in FAMILIES
    ],
)
def test_samples_have_the_log_probabilities_of_the_model(
    family: str, options: dict[str, Any]
) -> None:
    made = policy("abcdefgh", tiny(family, **options), value_head=False)
    sampler = Sampler(made, 5, decoder=CachedDecoder(made.trunk))
    table, lengths = padded(PROMPTS)
    arguments = (tf.constant(table), tf.constant(lengths), tf.constant([1, 2]))
    written = sampler(*arguments)
    counts = written.valid.numpy().sum(0)
    assert counts.max() > 1
    for row, (prompt, count) in enumerate(zip(PROMPTS, counts, strict=True)):
        tokens = written.tokens.numpy()[:count, row].tolist()
        want = teacher_forced(made, prompt, tokens)
        np.testing.assert_allclose(written.log_probs[:count, row], want, atol=1e-5)


def test_a_cache_that_is_at_fault_is_not_used() -> None:
    right = policy("abcdefgh", tiny("Gemma", **GEMMA), value_head=False)
    wrong = policy("abcdefgh", tiny("GPTNeoX", num_heads=2), value_head=False)
    assert isinstance(decoder_for(right.trunk), CachedDecoder)
    assert isinstance(decoder_for(wrong.trunk), RereadingDecoder)


def test_the_decoder_is_the_fastest_that_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(decoder_for(policy("abc").trunk), GPT2Decoder)
    assert isinstance(decoder_for(policy("abc", gemma(5)).trunk), CachedDecoder)
    merged = GPT2Decoder.merged
    monkeypatch.setattr(
        GPT2Decoder, "merged", lambda self, *what: 1.01 * merged(self, *what)
    )
    # The norm behind the last layer undoes the factor.
    deep = policy("abc", gpt2(5, num_layers=2))
    assert isinstance(decoder_for(deep.trunk), CachedDecoder)
    monkeypatch.setattr(GPT2Decoder, "merged", lambda self, layer, *_: layer._missing)
    assert isinstance(decoder_for(policy("abc").trunk), CachedDecoder)


def test_decoders_are_compared_once(monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = policy("abc").trunk
    assert isinstance(decoder_for(trunk), GPT2Decoder)
    monkeypatch.setattr(
        "kpg.models.language.decoding.selection.agrees", lambda *what: False
    )
    assert isinstance(decoder_for(trunk), GPT2Decoder)
    assert isinstance(decoder_for(policy("abc").trunk), RereadingDecoder)


def test_what_reads_where_xla_does_not_run() -> None:
    fast = decoder_for(policy("abc").trunk, portable=True)
    assert isinstance(fast, GPT2Decoder) and fast.write is put_anywhere
    other = policy("abc", gemma(5)).trunk
    assert isinstance(decoder_for(other, portable=True), RereadingDecoder)
    assert isinstance(decoder_for(other), CachedDecoder)
