"""Presets in directories: what KerasHub saves is a policy again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras_nlp
import numpy as np
import pytest

from kpg.models import CausalLMPolicy, Seq2SeqLMPolicy
from kpg.text import ByteTokenizer
from tests.seq2seq import bart
from tests.texts import bpe, gpt2

TEXT = "it's  no time"


def causal(directory: Path, with_tokenizer: bool = True) -> Any:
    """Saves a small GPT-2 and returns it."""
    tokenizer = bpe()
    lm = gpt2(tokenizer.vocabulary_size(), num_layers=1)
    if with_tokenizer:
        preprocessor = keras_nlp.models.GPT2CausalLMPreprocessor(tokenizer)
        lm = keras_nlp.models.GPT2CausalLM(lm.backbone, preprocessor)
    lm.save_to_preset(str(directory))
    return lm


def seq2seq(directory: Path) -> Any:
    """Saves a small BART and returns it."""
    symbols = ["<s>", "<pad>", "</s>", *"abcdefghijklmnopqrstuvwxyz'", "Ġ", "no"]
    tokenizer = keras_nlp.models.BartTokenizer(
        vocabulary={symbol: index for index, symbol in enumerate(symbols)},
        merges=["n o"],
    )
    preprocessor = keras_nlp.models.BartSeq2SeqLMPreprocessor(tokenizer)
    lm = bart(len(symbols), num_layers=1, max_sequence_length=32)
    lm = keras_nlp.models.BartSeq2SeqLM(lm.backbone, preprocessor)
    lm.save_to_preset(str(directory))
    return lm


@pytest.mark.parametrize(
    ("save", "kind"),
    [
        # The others below load this kind, too, and `test_language_policy.py` its words.
        pytest.param(causal, CausalLMPolicy, marks=pytest.mark.slow),
        pytest.param(seq2seq, Seq2SeqLMPolicy, marks=pytest.mark.slow),
    ],
)
def test_a_preset_is_a_policy_with_its_tokenizer(
    save: Any, kind: Any, tmp_path: Path
) -> None:
    lm = save(tmp_path)
    loaded = kind.from_preset(tmp_path, temperature=0.7, value_head=False)
    assert isinstance(loaded, kind) and loaded.temperature == 0.7
    assert loaded.critic is None
    for ours, theirs in zip(loaded.weights, lm.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    tokenizer = loaded.tokenizer
    assert tokenizer.vocabulary == lm.preprocessor.tokenizer.vocabulary
    # Eagerly it splits as in a graph, or making the policy would have warned.
    (tokens,) = loaded.codec.encode([TEXT])
    np.testing.assert_array_equal(tokenizer.tokenize([TEXT])[0], tokens)


@pytest.mark.usefixtures("one_by_one")
def test_another_tokenizer_can_be_given(tmp_path: Path) -> None:
    lm = gpt2(258, num_layers=1)
    lm.save_to_preset(str(tmp_path))
    loaded = CausalLMPolicy.from_preset(tmp_path, ByteTokenizer())
    assert isinstance(loaded.tokenizer, ByteTokenizer)
    assert len(loaded.generate(["ab"], 2)) == 1


def test_refuses_a_preset_that_is_not_there(tmp_path: Path) -> None:
    for preset in (tmp_path / "nothing", "no_such_name"):
        with pytest.raises(ValueError, match="no such preset.*Received: .*no"):
            CausalLMPolicy.from_preset(preset)
    with pytest.raises(ValueError, match="not a preset of KerasHub: it lacks .*config"):
        CausalLMPolicy.from_preset(tmp_path)


def test_refuses_a_preset_of_another_kind(tmp_path: Path) -> None:
    causal(tmp_path / "gpt2")
    seq2seq(tmp_path / "bart")
    with pytest.raises(ValueError, match="must be of a Seq2SeqLM.*gpt2"):
        Seq2SeqLMPolicy.from_preset(tmp_path / "gpt2")
    with pytest.raises(ValueError, match="needs a CausalLM.*BartSeq2SeqLM"):
        CausalLMPolicy.from_preset(tmp_path / "bart")


def test_refuses_tokenizers_that_do_not_go_with_the_model(tmp_path: Path) -> None:
    causal(tmp_path / "with")
    causal(tmp_path / "without", with_tokenizer=False)
    with pytest.raises(ValueError, match="a tokenizer with 258 tokens"):
        CausalLMPolicy.from_preset(tmp_path / "with", ByteTokenizer())
    with pytest.raises(ValueError, match="has no tokenizer; pass.*Received: "):
        CausalLMPolicy.from_preset(tmp_path / "without")
