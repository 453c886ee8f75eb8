"""A causal language model as a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
from typing_extensions import Self, override

from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.language_policy import LanguagePolicy
from kpg.models.language.writing import Writing
from kpg.types import Config


@keras.saving.register_keras_serializable(package="kpg")
class CausalLMPolicy(LanguagePolicy):
    """A policy over tokens that continues its prompts.

    Its distribution over the next token is that of the model's logits, lowered by the
    penalty for what the text has, divided by the temperature, and cut to `top_k`,
    `top_p` and `min_p`, in sampling and in learning alike. After
    `causal_lm.backbone.enable_lora(rank)` only the adapters, and what KerasHub leaves
    trainable beside them, are trained; saved policies keep them, and frozen weights.

    Args:
        causal_lm: A `CausalLM` of keras_nlp: GPT-2, Llama, Mistral, Gemma, Qwen, ….
        tokenizer: Of KerasHub or `kpg.text`. Defaults to the preprocessor's.
        value_head: Whether there is a `critic` on the features. Defaults to `True`.
        temperature: What logits are divided by, > 0. Defaults to 1.
        top_k: See `kpg.distributions.TruncatedFamily`. Defaults to `None`.
        top_p: The same.
        min_p: The same.
        repetition_penalty: What the logits of tokens that prompt or completion have
            already are divided by, or multiplied by if they are below 0; > 0, and 1 for
            none, the default. See `kpg.models.language.decoding.repetition`.
        stop: Strings that end a completion as soon as it has one. Its text ends before
            the string; its tokens, and their log-probabilities, are all that were
            written. A string in the prompt counts for nothing. Defaults to none.
        end_tokens: Tokens that end a completion beside the tokenizer's end token, by
            their names or numbers: `["<|im_end|>"]`. Defaults to none.
        chat_template: A template of Jinja that makes a prompt of messages; needs
            `kpg[chat]`. Defaults to the tokenizer's `chat_template`, if it has one.
        add_start_token: Whether prompts begin with the tokenizer's start token, as most
            models were trained, wherever they come from (rewards see it in
            `prompt_ids`). Defaults to what KerasHub's preprocessor of the model or its
            family does; with another tokenizer to its own `add_start_token`, or not.
        special_tokens: Tokens that stand for themselves where a text has them, such as
            `["<bos>"]`. Defaults to none: the tokenizer may spell them out.
        remat: Whether the gradient of each of the model's blocks computes the block
            again instead of keeping all that it has computed. It takes a fifth to a
            third longer, and a fraction of the memory. Defaults to `False`.

    Raises:
        ValueError: If the model is not a causal language model, the tokenizer does not
            match it or cannot write a stop string, or a number is out of range.
    """

    trunk_type = LanguageTrunk
    preset_task = "CausalLM"

    def __init__(
        self,
        causal_lm: keras.Model,
        tokenizer: Tokenizer | None = None,
        value_head: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        add_start_token: bool | None = None,
        special_tokens: Sequence[str] = (),
        remat: bool = False,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        end_tokens: Sequence[str | int] = (),
        chat_template: str | None = None,
        **kwargs: object,
    ) -> None:
        trunk = LanguageTrunk(causal_lm)
        super().__init__(
            trunk,
            tokenizer,
            value_head,
            Writing(
                *(temperature, top_k, top_p, min_p),
                *(repetition_penalty, stop, end_tokens),
            ),
            add_start_token,
            special_tokens,
            remat,
            chat_template,
            **kwargs,
        )

    @override
    def get_config(self) -> Config:
        return {**super().get_config(), "add_start_token": self.add_start_token}

    @classmethod
    @override
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        # Policies from before there were start tokens learned without.
        return super().from_config({"add_start_token": False, **config}, custom_objects)
