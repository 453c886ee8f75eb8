"""Blocks computed again give the same values and gradients, from fewer tensors kept."""

from __future__ import annotations

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
FAST = ("GPT-2", "BART")
CASES = [
    pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow])
    for name in MODELS
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_values_and_gradients_are_the_same(name: str, jit_compile: bool) -> None:
    ours, theirs = MODELS[name](remat=True), MODELS[name]()
    ours.set_weights(theirs.get_weights())
    assert_same(
        judged(ours, "learned", jit_compile), judged(theirs, "learned", jit_compile)
    )


def test_blocks_are_built_again_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = policy("abcde", gpt2(V, num_layers=2))
    counts: list[int] = []
    for layer in blocks(made.trunk.lm.backbone):

        def counted(*args: Any, own: Any = layer.call, **kwargs: Any) -> Any:
            counts.append(1)
            return own(*args, **kwargs)

        monkeypatch.setattr(layer, "call", counted)
    judged(made)
    assert len(counts) == 2
    made.remat = True
    judged(made)
    assert len(counts) == 6
    with pytest.raises(ZeroDivisionError), rematerialised(made.trunk.lm.backbone, True):
        raise ZeroDivisionError
    made.remat = False
    judged(made)
    assert len(counts) == 8


def test_a_policy_keeps_the_option() -> None:
    lm = text.gpt2(258, num_layers=1, hidden_dim=8, max_tokens=12, seed=0)
    made = CausalLMPolicy(lm, text.ByteTokenizer(), remat=True)
    assert CausalLMPolicy.from_config(made.get_config()).remat
    with pytest.raises(ValueError, match="`remat`.*Received: remat=2"):
        CausalLMPolicy(gpt2(V), Letters("abcde"), remat=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="transformer_layers.*Received: Sequential"):
        blocks(keras.Sequential())
