"""A sequence-to-sequence language model as a policy."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.language.language_policy import LanguagePolicy
from kpg.models.language.seq2seq_trunk import Seq2SeqTrunk, framing_of
from kpg.models.language.tokenizing import chosen_tokenizer
from kpg.models.language.writing import Writing


@keras.saving.register_keras_serializable(package="kpg")
class Seq2SeqLMPolicy(LanguagePolicy):
    """A policy over tokens that answers its prompts.

    The model's encoder reads the prompt and its decoder writes the completion, for
    translation, summaries and rewriting. All else is as in `CausalLMPolicy`.

    References: Lewis et al., "BART" (2020), https://arxiv.org/abs/1910.13461; Raffel et
    al., "Exploring the limits of transfer learning with a unified text-to-text
    transformer" (2020), https://arxiv.org/abs/1910.10683.

    Args:
        seq2seq_lm: A `Seq2SeqLM` of keras_nlp: BART or T5.
        tokenizer: See `CausalLMPolicy`.
        value_head: The same.
        temperature: The same.
        top_k: The same.
        top_p: The same.
        special_tokens: The same.
        remat: The same.
        framing: Three rows of tokens that the tokenizer does not give: what precedes a
            prompt, what follows it, and what the decoder begins with. Defaults to those
            of the model's family if the tokenizer is the family's, otherwise to
            nothing, the end token, and the padding token.
        min_p: See `CausalLMPolicy`.
        repetition_penalty: The same, for tokens of the completion alone.
        stop: The same.
        end_tokens: The same.
        chat_template: The same.

    Raises:
        ValueError: See `CausalLMPolicy`.
    """

    trunk_type = Seq2SeqTrunk
    preset_task = "Seq2SeqLM"

    def __init__(
        self,
        seq2seq_lm: keras.Model,
        tokenizer: Tokenizer | None = None,
        value_head: bool = True,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        framing: Sequence[Sequence[int]] | None = None,
        special_tokens: Sequence[str] = (),
        remat: bool = False,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        stop: Sequence[str] = (),
        end_tokens: Sequence[str | int] = (),
        chat_template: str | None = None,
        **kwargs: object,
    ) -> None:
        tokenizer = chosen_tokenizer(tokenizer, seq2seq_lm)
        trunk = Seq2SeqTrunk(seq2seq_lm, framing or framing_of(seq2seq_lm, tokenizer))
        super().__init__(
            trunk,
            tokenizer,
            value_head,
            Writing(
                *(temperature, top_k, top_p, min_p),
                *(repetition_penalty, stop, end_tokens),
            ),
            False,
            special_tokens,
            remat,
            chat_template,
            **kwargs,
        )
