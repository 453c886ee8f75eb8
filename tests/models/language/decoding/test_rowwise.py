"""Texts that begin and end at different times, against each text on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.rowwise import (
    SlotDecoder,
    TextDecoder,
    rowwise_decoder_for,
)
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
    features, memory = decoder.start(tf.constant(texts[:, :3]), tf.constant(lengths))
    for _ in range(4):
        want = [trunk(texts[row : row + 1, :n])[0, -1] for row, n in enumerate(lengths)]
        np.testing.assert_allclose(features, np.stack(want), rtol=1e-3, atol=1e-5)
        fed = tf.constant(texts[np.arange(2), lengths])
        features, memory = decoder.advance(memory, fed, tf.constant(lengths))
        lengths = lengths + 1
