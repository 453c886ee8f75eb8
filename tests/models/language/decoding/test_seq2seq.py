"""Texts that a decoder writes to what an encoder read: against KerasHub's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.sampling import Completions, Sampler
from kpg.models.language.decoding.selection import decoder_for
from kpg.models.language.decoding.seq2seq import Seq2SeqDecoder, Seq2SeqRereader
from kpg.models.language.decoding.tables import put_anywhere
from tests.seq2seq import FRAMING, bart, policy, t5, teacher_forced
from tests.texts import padded

# KerasHub 0.32 hands T5's attention its mask by a name that Keras takes for another.
pytestmark = pytest.mark.filterwarnings("ignore:Layer '(self|cross)_attention'")

PROMPTS = [[2, 3, 3], [4], [3, 2, 4, 4, 2], [2, 2]]


def small(**options: Any) -> Any:
    return bart(5, hidden_dim=8, **options)


def untied(vocabulary_size: int, **options: Any) -> Any:
    return t5(vocabulary_size, tie_embedding_weights=False, **options)


def write(made: Any, prompts: Any = PROMPTS, new_tokens: int = 6, **how: Any) -> Any:
    """Returns completions of the prompts."""
    sampler = Sampler(made, new_tokens, **how)
    table, lengths = padded(prompts)
    completions: Completions = sampler(
        tf.constant(table), tf.constant(lengths), tf.constant([3, 4])
    )
    return tf.nest.map_structure(lambda table: table.numpy(), completions)


def assert_consistent(made: Any, written: Any) -> None:
    """Holds log-probabilities, values and masks to one teacher-forced pass."""
    first, state = made.begin(*padded(PROMPTS))
    observations = np.concatenate([first[np.newaxis], written.tokens[:-1]])
    sequences = (observations, state, np.zeros_like(written.valid))
    parameters, values = made.unroll_with(made.critic, *sequences)
    log_probs = made.family.log_prob(parameters, written.tokens)
    valid = written.valid
    for got, want in ((written.log_probs, log_probs), (written.values, values)):
        np.testing.assert_allclose(got[valid], want.numpy()[valid], atol=1e-5)
        assert not got[~valid].any()
    assert not written.tokens[~valid].any()
    ends = (written.tokens == 1).cumsum(0) - (written.tokens == 1)
    np.testing.assert_array_equal(valid, ends == 0)


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (bart, {"framing": FRAMING, "temperature": 2.0}),
        pytest.param(
            *(bart, {"temperature": 0.6, "top_k": 3, "repetition_penalty": 1.6}),
            marks=pytest.mark.slow,
        ),
        pytest.param(t5, {"temperature": 1.5}, marks=pytest.mark.slow),
        pytest.param(untied, {"top_p": 0.8}, marks=pytest.mark.slow),
    ],
)
def test_log_probabilities_are_those_of_teacher_forcing(
    build: Any, options: dict[str, Any]
) -> None:
    made = policy("abc", build(5, num_layers=2), **options)
    written = write(made, new_tokens=8)
    assert 0 < written.valid.sum() < written.valid.size  # some end, some do not
    assert_consistent(made, written)
    reader = Seq2SeqRereader(made.trunk)
    again = write(made, new_tokens=8, decoder=reader, write=put_anywhere)
    np.testing.assert_array_equal(again.tokens, written.tokens)
    np.testing.assert_allclose(again.log_probs, written.log_probs, atol=1e-5)
    if "top_k" in options or "top_p" in options:
        return
    for row, prompt in enumerate(PROMPTS):
        count = written.valid[:, row].sum()
        want = teacher_forced(made, prompt, written.tokens[:count, row].tolist())
        np.testing.assert_allclose(written.log_probs[:count, row], want, atol=1e-5)


@pytest.mark.parametrize("build", [bart, pytest.param(t5, marks=pytest.mark.slow)])
def test_greedy_tokens_are_kerashubs(build: Any) -> None:
    made = policy("abcdefgh", build(10), framing=FRAMING)
    written = write(made, new_tokens=5, deterministic=True)
    lm, start = made.trunk.lm, len(FRAMING[2])
    source, mask = made.trunk.framed(*map(tf.constant, padded(PROMPTS)))
    room = np.zeros([len(PROMPTS), start + 5], np.int32)
    room[:, :start] = FRAMING[2]
    known = np.tile(np.arange(start + 5) < start, [len(PROMPTS), 1])
    lm.compile(sampler="greedy", run_eagerly=True)
    inputs = {"encoder_token_ids": source.numpy(), "encoder_padding_mask": mask.numpy()}
    inputs |= {"decoder_token_ids": room, "decoder_padding_mask": known}
    theirs = lm.generate(inputs, stop_token_ids=(1,))["decoder_token_ids"][:, start:]
    for row in range(len(PROMPTS)):
        count = written.valid[:, row].sum()
        assert count == 5 or written.tokens[count - 1, row] == 1
        np.testing.assert_array_equal(written.tokens[:count, row], theirs[row, :count])


def test_the_decoder_is_chosen() -> None:
    trunk = policy("abc", small()).trunk
    assert isinstance(decoder_for(trunk), Seq2SeqDecoder)
    assert isinstance(decoder_for(trunk, portable=True), Seq2SeqRereader)


@pytest.mark.slow
def test_one_trace() -> None:
    made = policy("abc", small())
    sampler = Sampler(made, 3)
    function = tf.function(sampler.__call__, jit_compile=True, autograph=False)
    for prompts, seed in (([[2], [3, 3, 2]], 0), ([[4, 4], [2, 4, 4]], 1)):
        table, lengths = map(tf.constant, padded(prompts))
        arguments = (table, lengths, tf.constant([seed, 5]))
        np.testing.assert_array_equal(
            function(*arguments).tokens, sampler(*arguments).tokens
        )
    assert function.experimental_get_tracing_count() == 1


def test_the_encoder_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abc", small())
    lm, calls = made.trunk.lm, list[int]()
    own = lm.call_encoder

    def counted(*source: Any) -> Any:
        calls.append(1)
        return own(*source)

    monkeypatch.setattr(lm, "call_encoder", counted)
    written = write(made)
    assert written.valid.sum(0).max() > 1 and calls == [1]
