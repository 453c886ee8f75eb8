"""Models from GGUF files: against Llama in NumPy, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from kpg.models import CausalLMPolicy
from kpg.models.language.decoding.llama import LlamaDecoder
from kpg.models.language.decoding.selection import decoder_for
from kpg.text import Codec, check_tokenizer, load_gguf
from tests import gguf_files

TOKENS = [5, 40, 263, 7, 2, 100, 31]


def kerashubs(lm: Any) -> np.ndarray:
    tokens = np.array([TOKENS])
    inputs = {"token_ids": tokens, "padding_mask": np.ones_like(tokens)}
    logits: np.ndarray = lm(inputs)[0].numpy()
    return logits


@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_those_of_the_paper(tmp_path: Path, tied: bool) -> None:
    tensors = gguf_files.weights(tied)
    lm, _ = load_gguf(gguf_files.write(tmp_path / "m.gguf", tensors))
    want = gguf_files.logits(tensors, TOKENS)
    np.testing.assert_allclose(kerashubs(lm), want, atol=1e-4)
    assert np.ptp(want) > 1.0
    assert lm.backbone.tie_word_embeddings is tied


def test_rotations_are_slowed_down_as_the_file_says(tmp_path: Path) -> None:
    """Llama 3.1 with pairs of each kind: wavelengths of 6, 167, 4443 and 118144.

    Above 8192 / 1 tokens they are slowed down by 8, below 8192 / 4 not at all, and
    between in proportion: 8192 / 4443 = 1.844 turns are 0.281 of the way from 1 to 4.
    """
    between = 1.0 / (0.718717 / 8.0 + 0.281283)
    divisors = np.array([1.0, 1.0, between, 8.0], np.float32)
    tensors = gguf_files.weights() | {"rope_freqs.weight": divisors}
    metadata = {"llama.rope.freq_base": 500_000.0}
    path = gguf_files.write(tmp_path / "m.gguf", tensors, metadata=metadata)
    lm, _ = load_gguf(path)
    attention = lm.backbone.transformer_layers[1]._self_attention_layer
    got = attention.rotary_embedding_layer._get_inverse_freq(8)
    want = 500_000.0 ** (-np.arange(4) / 4.0) / divisors
    np.testing.assert_allclose(got, want, rtol=1e-3)


def test_quantised_weights_are_near(tmp_path: Path) -> None:
    lm, _ = load_gguf(gguf_files.write(tmp_path / "m.gguf", quantised=True))
    want = gguf_files.logits(gguf_files.weights(), TOKENS)
    error = np.abs(kerashubs(lm) - want).max()
    assert 1e-4 < error < 0.02 * np.ptp(want)


@pytest.mark.usefixtures("one_by_one")
def test_the_tokenizer_comes_along(tmp_path: Path) -> None:
    lm, tokenizer = load_gguf(gguf_files.write(tmp_path / "m.gguf"))
    check_tokenizer(tokenizer, lm.backbone.vocabulary_size)
    words = ["<|im_start|>", "Ġthe", "Ġ", "1", "2", "Ġand", "Ċ", "<|im_end|>"]
    want = [gguf_files.VOCABULARY.index(word) for word in words]
    asked = ["<|im_start|> the 12 and\n<|im_end|>"]
    codec = Codec(tokenizer)
    assert codec.encode(asked)[0].tolist() == want
    assert tokenizer.tokenize(asked).to_list() == [want]
    assert codec.decode(codec.encode(asked)) == asked
    assert (tokenizer.end_token_id, tokenizer.pad_token_id) == (2, 0)


def test_the_chat_template_comes_along(tmp_path: Path) -> None:
    one = "<|im_start|>{{ messages[0]['role'] }}{{ eos_token }}"
    own = {"tokenizer.chat_template": one}
    path = gguf_files.write(tmp_path / "m.gguf", metadata=own)
    policy = CausalLMPolicy(*load_gguf(path), end_tokens=["<|endoftext|>"])
    chat = [{"role": "in", "content": ""}]
    assert policy.prompt_of(chat) == "<|im_start|>in<|im_end|>"
    inside = gguf_files.VOCABULARY.index("in")
    assert policy.padded([chat])[0].tolist() == [[1, inside, 2]]
    assert policy.ending.tokens == (2, 0)


def test_padding_of_its_own_is_kept(tmp_path: Path) -> None:
    own = {"tokenizer.ggml.padding_token_id": 1}
    _, tokenizer = load_gguf(gguf_files.write(tmp_path / "m.gguf", metadata=own))
    assert tokenizer.pad_token_id == 1
    first = {"tokenizer.ggml.padding_token_id": None, "tokenizer.ggml.eos_token_id": 0}
    _, tokenizer = load_gguf(gguf_files.write(tmp_path / "n.gguf", metadata=first))
    assert (tokenizer.end_token_id, tokenizer.pad_token_id) == (0, 1)


@pytest.mark.usefixtures("one_by_one")
def test_a_policy_of_it_is_saved_and_loaded(tmp_path: Path) -> None:
    policy = CausalLMPolicy(*load_gguf(gguf_files.write(tmp_path / "m.gguf")))
    policy.save(tmp_path / "policy.keras")
    loaded = keras.saving.load_model(tmp_path / "policy.keras")
    assert loaded.trunk.causal_lm.backbone.tie_word_embeddings
    assert len(loaded.weights) == len(policy.weights)
    tokens = tf.constant([TOKENS])
    np.testing.assert_array_equal(loaded.trunk(tokens), policy.trunk(tokens))
    config = keras.saving.serialize_keras_object(policy.tokenizer)
    assert keras.saving.serialize_keras_object(loaded.tokenizer) == config


def test_half_precision(tmp_path: Path) -> None:
    lm, _ = load_gguf(gguf_files.write(tmp_path / "m.gguf"), dtype="bfloat16")
    assert lm.backbone.token_embedding.embeddings.dtype == "bfloat16"


def with_tensor(name: str, value: np.ndarray | None) -> dict[str, np.ndarray]:
    tensors = gguf_files.weights()
    if value is None:
        del tensors[name]
    else:
        tensors[name] = value
    return tensors


NARROW = np.zeros([8, 8], np.float32)
TWICE = np.array([2, 2, 2, 2], np.float32)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"architecture": "rwkv7"}, "architecture 'llama'.*'rwkv7'"),
    ({"metadata": {"llama.block_count": None}}, "must have an entry llama.block_count"),
    (
        {"metadata": {"llama.rope.dimension_count": 4}},
        "dimension_count to be 8.*Received: 4",
    ),
    (
        {"metadata": {"llama.rope.scaling.type": "yarn"}},
        "to be 'none'. Received: 'yarn'",
    ),
    ({"metadata": {"llama.expert_count": 8}}, "to be 0. Received: 8"),
    ({"metadata": {"tokenizer.ggml.model": "llama"}}, "'gpt2'. Received: 'llama'"),
    ({"metadata": {"tokenizer.ggml.pre": "viking"}}, "smollm.*Received: 'viking'"),
    (
        {"metadata": {"tokenizer.ggml.merges": None}},
        "an entry tokenizer.ggml.merges",
    ),
    ({"metadata": {"tokenizer.ggml.merges": ["Ġ q"]}}, "vocabulary. Received: 'Ġq'"),
    ({"tensors": with_tensor("blk.1.ffn_up.weight", None)}, "no blk.1.ffn_up.weight"),
    ({"tensors": with_tensor("blk.1.attn_k.weight", NARROW)}, r"shape \(8, 8\)"),
    ({"tensors": with_tensor("blk.0.attn_q.bias", NARROW)}, "blk.0.attn_q.bias in"),
    ({"tensors": with_tensor("rope_freqs.weight", NARROW)}, "as Llama 3.1 does"),
    ({"tensors": with_tensor("rope_freqs.weight", TWICE)}, "other divisors up to 2"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_refuses_what_it_cannot_load(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", **changed)
    with pytest.raises(ValueError, match=message):
        load_gguf(path)


@pytest.mark.usefixtures("one_by_one")
def test_the_decoder_reads_what_numpy_reads(tmp_path: Path) -> None:
    lm, tokenizer = load_gguf(gguf_files.write(tmp_path / "m.gguf"))
    trunk = CausalLMPolicy(lm, tokenizer).trunk
    want = gguf_files.logits(gguf_files.weights(), TOKENS)
    decoder, lengths = decoder_for(trunk), tf.constant([3])
    assert isinstance(decoder, LlamaDecoder)
    features, cache = decoder.start(tf.constant([TOKENS[:3]]), lengths, 4)
    for step, token in enumerate(TOKENS[3:]):
        got = trunk.logits(features)[0]
        np.testing.assert_allclose(got, want[2 + step], atol=1e-4)
        token, step = tf.constant([token]), tf.constant(step)
        features, cache = decoder.advance(token, step, lengths, cache)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize(
    ("splitting", "said", "starts"),
    [
        ("smollm", None, False),
        ("smollm", True, True),
        ("llama-bpe", None, True),
        ("llama-bpe", False, False),
    ],
)
def test_the_file_says_whether_prompts_have_a_start(
    splitting: str, said: bool | None, starts: bool, tmp_path: Path
) -> None:
    metadata = {
        "tokenizer.ggml.pre": splitting,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.add_bos_token": said,
    }
    lm, tokenizer = load_gguf(gguf_files.write(tmp_path / "m.gguf", metadata=metadata))
    made = CausalLMPolicy(lm, tokenizer)
    assert made.add_start_token is starts and tokenizer.start_token_id == 1
    letter = gguf_files.VOCABULARY.index("a")
    want = [[1, letter]] if starts else [[letter]]
    assert made.padded(["a"])[0].tolist() == want
    again = type(tokenizer).from_config(tokenizer.get_config())
    assert (again.start_token_id, again.add_start_token) == (1, starts)
