"""What decides about the tokens before a prompt."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras_nlp
import pytest

from kpg import text
from kpg.models import CausalLMPolicy
from kpg.models.language.tokenizing import adds_start_token
from tests.texts import Begun, Letters, bpe, llama


class Family:
    """A family of models whose preprocessor begins texts with the start token."""

    tokenizer_cls = Begun

    def __init__(self, tokenizer: Begun, add_start_token: bool = True) -> None:
        self.tokenizer = tokenizer
        self.add_start_token = add_start_token


def test_what_decides_about_the_start_token() -> None:
    own, other = Begun(), Begun()
    own.add_start_token = other.add_start_token = False
    of_family: Any = SimpleNamespace(preprocessor_cls=Family)
    assert adds_start_token(of_family, own, None)
    given: Any = SimpleNamespace(
        preprocessor=Family(own, False), preprocessor_cls=Family
    )
    assert not adds_start_token(given, own, None)
    assert adds_start_token(given, other, None)
    nothing: Any = SimpleNamespace()
    assert not adds_start_token(nothing, own, None)
    assert adds_start_token(nothing, Begun(), None)
    for chosen in (True, False):
        assert adds_start_token(given, own, chosen) is chosen
    assert not adds_start_token(of_family, Letters("abc"), None)
    with pytest.raises(ValueError, match="needs a tokenizer with a `start_token_id`"):
        adds_start_token(of_family, Letters("abc"), True)


@pytest.mark.slow
def test_kerashubs_preprocessor_decides_about_the_start_token() -> None:
    tokenizer = bpe(_allow_python_workflow=False)
    size, end = tokenizer.vocabulary_size(), tokenizer.end_token_id
    lm = text.gpt2(size, num_layers=1, hidden_dim=8)
    assert CausalLMPolicy(lm, tokenizer).padded(["a"])[0].tolist() == [
        [end, tokenizer.token_to_id("a")]
    ]
    for adds in (True, False):
        own = keras_nlp.models.GPT2CausalLMPreprocessor(
            tokenizer, sequence_length=8, add_start_token=adds
        )
        made = keras_nlp.models.GPT2CausalLM(lm.backbone, preprocessor=own)
        assert CausalLMPolicy(made).add_start_token is adds
        assert not CausalLMPolicy(made, add_start_token=False).add_start_token
    # A tokenizer of another family.
    assert not CausalLMPolicy(llama(size), tokenizer).add_start_token
