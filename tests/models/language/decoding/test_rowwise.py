"""Texts that begin and end at different times, against each text on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.rowwise import (
    SlotDecoder,
    TargetDecoder,
    TextDecoder,
    rowwise_decoder_for,
)
from tests import seq2seq
from tests.steering import CONTINUE, PROMPTS, STOP, T, executor, finished, generation
from tests.texts import gemma, gpt2, llama, policy


@pytest.mark.parametrize(
    ("build", "decoder"),
    [
        pytest.param(gpt2, SlotDecoder, marks=pytest.mark.slow),
        pytest.param(llama, SlotDecoder, marks=pytest.mark.slow),
        (gemma, TextDecoder),
    ],
)
def test_left_alone_it_writes_what_it_would_write(build: Any, decoder: type) -> None:
    made = executor(build(5))
    env = generation(made, deterministic=True)
    assert isinstance(env._writer._decoder, decoder)
    random, pairs = np.random.default_rng(0), []
    env.reset(seed=0)
    for _ in range(6 * T):
        # Stops make the copies begin new texts at different times.
        stops = random.random(4) < 0.15
        *_, infos = env.step(np.where(stops, STOP, CONTINUE))
        pairs += finished(infos, env)
    wholes = dict(zip(PROMPTS, made.generate(PROMPTS, T, 0, True), strict=True))
    cut = 0
    for prompt, text in pairs:
        assert wholes[prompt].startswith(text)
        cut += text != wholes[prompt]
    assert {prompt for prompt, _ in pairs} == {*PROMPTS} and 2 < cut < len(pairs) - 2


@pytest.mark.parametrize(("build", "kind"), [(gpt2, SlotDecoder), (gemma, TextDecoder)])
def test_a_row_can_begin_again(build: Any, kind: type) -> None:
    trunk = policy("abc", build(5, num_layers=2)).trunk
    decoder = rowwise_decoder_for(trunk, 3, 4, again=False)
    assert isinstance(decoder, kind)
    texts = np.random.default_rng(0).integers(2, 5, [2, 7]).astype(np.int32)
    lengths = np.array([3, 1], np.int32)
    start = (tf.constant(texts[:, :3]), *[tf.constant(lengths)] * 2)
    features, memory = decoder.start(*start)
    for _ in range(4):
        want = [trunk(texts[row : row + 1, :n])[0, -1] for row, n in enumerate(lengths)]
        np.testing.assert_allclose(features, np.stack(want), rtol=1e-3, atol=1e-5)
        fed = tf.constant(texts[np.arange(2), lengths])
        features, memory = decoder.advance(memory, fed, tf.constant(lengths))
        lengths = lengths + 1


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.filterwarnings("ignore:Layer")  # of masks, by the T5 of KerasHub
@pytest.mark.parametrize("build", [seq2seq.bart, seq2seq.t5])
def test_what_follows_a_prompt_is_a_target(build: Any) -> None:
    made = seq2seq.policy("abc", build(5))
    decoder = rowwise_decoder_for(made.trunk, 3, 4, again=True)
    assert isinstance(decoder, TargetDecoder)
    texts = np.random.default_rng(0).integers(2, 5, [2, 7]).astype(np.int32)
    prompts, lengths = np.array([3, 1], np.int32), np.array([3, 3], np.int32)
    features, memory = decoder.start(*map(tf.constant, (texts, lengths, prompts)))
    for _ in range(2):
        want = []
        for row, (first, length) in enumerate(zip(prompts, lengths, strict=True)):
            given = texts[row, :first].tolist()
            written = texts[row, first:length].tolist()
            want.append(seq2seq.read_by(made, given, [*written, 0])[-1])
        np.testing.assert_allclose(made.trunk.logits(features), want, atol=1e-4)
        whole = made.trunk.behind(*map(tf.constant, (texts, lengths, prompts)))
        np.testing.assert_allclose(made.trunk.logits(whole), want, atol=1e-4)
        fed = tf.constant(texts[np.arange(2), lengths])
        features, memory = decoder.advance(memory, fed, tf.constant(lengths))
        lengths = lengths + 1
