"""What stands around a source and a target, and what is read of them."""

from __future__ import annotations

from typing import Any

import keras_nlp
import numpy as np
import tensorflow as tf

from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk, framing_of
from tests.seq2seq import FRAMING, bart, policy, read_by
from tests.texts import Letters, padded

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2], [2, 2]]


def small(**options: Any) -> Any:
    return bart(5, num_layers=1, hidden_dim=8, **options)


def test_padding_is_never_read() -> None:
    made = policy("abc", small())
    table, lengths = padded(PROMPTS)
    known = np.arange(table.shape[1]) < lengths[:, np.newaxis]
    observations = np.array([[0, 0, 0, 0], [3, 4, 2, 2]], np.int32)
    outputs = [
        made.unroll(observations, made.begin(rows, lengths)[1], None)[0]
        for rows in (table, np.where(known, table, 4), np.pad(table, [(0, 0), (0, 3)]))
    ]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_allclose(outputs[0], outputs[2], atol=1e-6)


def test_a_state_before_anything() -> None:
    """It has the start of a target, and an empty source."""
    made = policy("abc", small(), framing=FRAMING)
    logits = made(tf.constant([FRAMING[2][-1]]))
    np.testing.assert_allclose(logits, read_by(made, [], [2]), atol=1e-5)


def test_the_frame_of_a_family_is_its_preprocessors() -> None:
    words = ["<s>", "<pad>", "</s>", "a", "b", "ab"]
    tokenizer = keras_nlp.models.BartTokenizer(
        vocabulary={word: index for index, word in enumerate(words)}, merges=["a b"]
    )
    preprocess = keras_nlp.models.BartSeq2SeqLMPreprocessor(tokenizer)
    preprocess.build(None)
    sources = [[3, 4, 3], [5]]
    theirs = preprocess.encoder_packer(sources, sequence_length=5)
    lm = bart(len(words), num_layers=1)
    trunk = Seq2SeqTrunk(lm, framing_of(lm, tokenizer))
    tokens, mask = trunk.framed(*map(tf.constant, padded(sources)))
    np.testing.assert_array_equal(mask, theirs[1])
    np.testing.assert_array_equal(
        tokens * mask, np.asarray(theirs[0]) * np.asarray(theirs[1])
    )
    target, _ = preprocess.decoder_packer([[3]], sequence_length=3, add_end_value=False)
    np.testing.assert_array_equal(trunk.started(1), np.asarray(target)[:, :2])
    assert framing_of(lm, Letters("abc")) == ((), (1,), (0,))


def test_steps_go_where_unrolling_goes() -> None:
    made = policy("abc", small(), framing=FRAMING)
    table, lengths = padded(PROMPTS)
    first, state = made.begin(table, lengths)
    rows = np.concatenate([first[np.newaxis], [[3, 4, 2, 2], [2, 1, 3, 4]]])
    outputs, states = made.unroll(rows, state, np.zeros(rows.shape, bool))
    carried: Any = state
    for step, tokens in enumerate(rows):
        output, carried = made.step(tf.constant(tokens), carried)
        np.testing.assert_allclose(output, outputs[step], atol=1e-5)
        for ours, theirs in zip(carried, states, strict=True):
            width = min(ours.shape[-1], theirs[step].shape[-1])
            np.testing.assert_array_equal(ours[..., :width], theirs[step][..., :width])
    assert len(made.state_spec) == len(state) == 4
