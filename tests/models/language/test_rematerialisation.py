"""Blocks computed again give the same values and gradients, from fewer tensors kept."""

from __future__ import annotations

import unittest.mock
from typing import Any

import keras
import pytest

from kpg import text
from kpg.models import CausalLMPolicy
from kpg.models.language.rematerialisation import blocks, rematerialised
from tests.judging import V, assert_same, judged
from tests.seq2seq import bart
from tests.seq2seq import policy as seq2seq
from tests.texts import Letters, gemma, gpt2, llama, policy


def adapted() -> Any:
    model = gpt2(V, num_layers=2)
    model.backbone.enable_lora(2)
    return model


MODELS: dict[str, Any] = {
    "GPT-2": lambda **options: policy("abcde", gpt2(V, num_layers=2), **options),
    "Llama": lambda **options: policy("abcde", llama(V), **options),
    "Gemma": lambda **options: policy("abcde", gemma(V), **options),
    "adapters": lambda **options: policy("abcde", adapted(), **options),
    "BART": lambda **options: seq2seq("abcde", bart(V), **options),
}
CASES = [
    pytest.param(name, marks=[] if name == "GPT-2" else [pytest.mark.slow])
    for name in MODELS
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_values_and_gradients_are_the_same(name: str, jit_compile: bool) -> None:
    ours, theirs = MODELS[name](remat=True), MODELS[name]()
    ours.set_weights(theirs.get_weights())
    # Recomputed by other kernels, sums are rounded otherwise.
    got, want = (judged(own, "learned", jit_compile) for own in (ours, theirs))
    assert_same(got, want, atol=1e-5)


def test_blocks_are_built_again_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abcde", gpt2(V, num_layers=2))
    calls: list[unittest.mock.Mock] = []
    for layer in blocks(made.trunk.lm.backbone):
        counted = unittest.mock.Mock(side_effect=layer.call)
        monkeypatch.setattr(layer, "call", counted)
        calls.append(counted)
    judged(made)
    assert [own.call_count for own in calls] == [1, 1]
    made.remat = True
    judged(made)
    assert [own.call_count for own in calls] == [3, 3]
    with pytest.raises(ZeroDivisionError), rematerialised(made.trunk.lm.backbone, True):
        raise ZeroDivisionError
    made.remat = False
    judged(made)
    assert [own.call_count for own in calls] == [4, 4]


def test_a_policy_keeps_the_option() -> None:
    lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=12, seed=0)
    made = CausalLMPolicy(lm, text.ByteTokenizer(), remat=True)
    assert CausalLMPolicy.from_config(made.get_config()).remat
    with pytest.raises(ValueError, match="`remat`.*Received: remat=2"):
        flag: Any = 2
        CausalLMPolicy(gpt2(V), Letters("abcde"), remat=flag)
    with pytest.raises(ValueError, match="transformer_layers.*Received: Sequential"):
        blocks(keras.Sequential())
