"""Rows in lockstep, with KerasHub's cache and without one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from kpg.models.language.decoding.decoder import (
    CachedDecoder,
    Decoder,
    RereadingDecoder,
)
from kpg.models.language.decoding.selection import agrees
from kpg.types import Nest, Tensor
from tests.texts import gemma, gpt2, policy


@pytest.mark.parametrize("build", [gpt2, gemma])
@pytest.mark.parametrize("kind", [CachedDecoder, RereadingDecoder])
def test_the_features_are_the_models(build: Any, kind: Any) -> None:
    trunk = policy("abc", build(5, num_layers=2)).trunk
    assert agrees(kind(trunk), trunk)

    class Stuck(kind):
        def advance(
            self, tokens: Tensor, step: Tensor, lengths: Tensor, cache: Nest
        ) -> tuple[Tensor, Nest]:
            return super().advance(tokens, step, lengths, cache)[0], cache

    assert not agrees(Stuck(trunk), trunk)


def test_the_longest_prompt_is_read_last() -> None:
    decoder = RereadingDecoder(policy("abc").trunk)
    lengths = tf.constant([4, 1, 3])
    np.testing.assert_array_equal(decoder.offsets(lengths), [3, 0, 2])
    assert decoder.num_steps(4, 5) == 8


def test_an_unfinished_decoder_is_refused() -> None:
    class Half(Decoder[Any]):
        def start(
            self, prompts: Tensor, lengths: Tensor, new_tokens: int
        ) -> tuple[Tensor, Nest]:
            return prompts, ()

    with pytest.raises(TypeError, match="abstract.*advance"):
        Half(policy("abc").trunk)  # type: ignore[abstract]
