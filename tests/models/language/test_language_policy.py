"""A language model as a recurrent policy: against the model itself."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg import text
from kpg.distributions import TruncatedFamily
from kpg.models import CausalLMPolicy
from tests.texts import (
    Letters,
    gpt2,
    policy,
)


def test_generates_texts() -> None:
    made = policy("abc", gpt2(5, num_layers=1, hidden_dim=8))
    prompts = ["ba", "c", "abcab"]
    texts = made.generate(prompts, max_new_tokens=6, seed=3)
    assert made.generate(prompts, max_new_tokens=6, seed=3) == texts
    assert made.generate(prompts, max_new_tokens=6, seed=4) != texts
    assert len(texts) == 3 and set("".join(texts)) <= set("abc")
    greedy = made.generate(prompts, max_new_tokens=2, deterministic=True)
    for prompt, got in zip(prompts, greedy, strict=True):
        tokens = [2 + "abc".index(letter) for letter in prompt]
        for _ in range(2):
            logits = made.trunk.logits(made.trunk(tf.constant([tokens])))
            tokens.append(int(tf.argmax(logits[0, -1])))
            if tokens[-1] == 1:
                break
        assert got == "".join("  abc"[token] for token in tokens[len(prompt) :]).strip()
    with pytest.raises(ValueError, match="at least one token.*Received: ''"):
        made.generate(["a", ""])
    with pytest.raises(ValueError, match="at most 24 tokens.*max_new_tokens=24"):
        made.generate(["a"], max_new_tokens=24)


def test_is_saved_and_loaded(tmp_path: Any) -> None:
    lm = gpt2(258, num_layers=1)
    options: dict[str, Any] = {"temperature": 0.5, "top_k": 7, "top_p": 0.9}
    made = CausalLMPolicy(lm, text.ByteTokenizer(), **options)
    texts = made.generate(["ab"], max_new_tokens=3)
    made.save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert isinstance(loaded.family, TruncatedFamily)
    tokens = tf.constant([65, 70])
    np.testing.assert_array_equal(loaded(tokens), made(tokens))
    assert {k: loaded.get_config()[k] for k in options} == options
    assert isinstance(loaded.tokenizer, text.ByteTokenizer)
    assert loaded.generate(["ab"], max_new_tokens=3) == texts


def test_a_vocabulary_is_saved_too(tmp_path: Any) -> None:
    from tests.texts import bpe

    tokenizer = bpe(_allow_python_workflow=False)
    lm = gpt2(tokenizer.vocabulary_size(), num_layers=1)
    CausalLMPolicy(lm, tokenizer).save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert loaded.tokenizer.vocabulary == tokenizer.vocabulary


def test_refuses_a_model_without_a_tokenizer() -> None:
    with pytest.raises(ValueError, match="tokenizer=None"):
        CausalLMPolicy(gpt2(5))


def test_refuses_a_vocabulary_that_the_model_cannot_cover() -> None:
    with pytest.raises(ValueError, match="a tokenizer with 6 tokens.*a model with 5"):
        CausalLMPolicy(gpt2(5), Letters("abcd"))


def test_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ValueError, match="temperature=0.0"):
        CausalLMPolicy(gpt2(5), Letters("abc"), temperature=0.0)


def test_prompts_of_all_shapes_share_a_graph() -> None:
    made = policy("abc", gpt2(5, num_layers=1))
    batches = (["ab"], ["a", "cab"], ["ab", "c", "abc"])
    texts = [made.generate(prompts, 3, deterministic=True) for prompts in batches]
    assert made._completing(3, True).experimental_get_tracing_count() == 1
    assert texts[0][0] == texts[2][0]
