"""A language model that says how good a completion is, learned from preferences."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from typing_extensions import Self

from kpg.graph.compiling import traceable
from kpg.language.rows import rows_of, texts_of
from kpg.language.tokenizers.codec import Codec, Tokens, check_tokenizer, padded
from kpg.language.tokenizers.tokenizer import Tokenizer
from kpg.models.language import saving
from kpg.models.language.causal_lm_trunk import LanguageTrunk
from kpg.models.language.critic import LanguageCritic
from kpg.models.language.tokenizing import (
    adds_start_token,
    chosen_tokenizer,
    codec_of,
    has_vocabulary,
)
from kpg.types import Array, Config, Tensor

# A prompt, the completion that was preferred, and the other one.
Pair: TypeAlias = "tuple[str, str, str] | Mapping[str, str]"

_PARTS = ("prompt", "chosen", "rejected")


@keras.saving.register_keras_serializable(package="kpg")
class RewardModel(keras.Model):
    """Scores completions; `kpg.rewards.Judgement(model)` makes a reward of it.

    A causal language model reads prompt, completion and end token, and a head on the
    features behind the end gives r(x, y). `fit` learns from pairs of which one was
    preferred (y⁺ to y⁻), by the likelihood of Bradley and Terry:

    loss = −mean(log σ(r(x, y⁺) − r(x, y⁻))), in nats; log 2 before anything is learned.

    Only differences between completions of one prompt mean something; a constant for
    each prompt is free. Texts have its own tokenizer, whatever a policy's is. Where
    they are longer than the model reads, they lose their beginning.

    References: Bradley and Terry, "Rank analysis of incomplete block designs" (1952),
    https://doi.org/10.2307/2334029; Stiennon et al., "Learning to summarize from human
    feedback" (2020), https://arxiv.org/abs/2009.01325.

    Args:
        causal_lm: A `CausalLM` of keras_nlp.
        tokenizer: Of KerasHub or `kpg.text`. Defaults to the preprocessor's.
        add_start_token: See `kpg.models.CausalLMPolicy`. Defaults to `None`.
        special_tokens: The same. Defaults to none.

    Raises:
        ValueError: If the model is not a causal language model, or the tokenizer does
            not match it.
    """

    def __init__(
        self,
        causal_lm: keras.Model,
        tokenizer: Tokenizer | None = None,
        add_start_token: bool | None = None,
        special_tokens: Sequence[str] = (),
        **kwargs: object,
    ) -> None:
        super().__init__(**kwargs)
        trunk = LanguageTrunk(causal_lm)
        self.reader = LanguageCritic(trunk)
        self.tokenizer = chosen_tokenizer(tokenizer, causal_lm)
        self.add_start_token = adds_start_token(
            causal_lm, self.tokenizer, add_start_token
        )
        self.special_tokens = tuple(special_tokens)
        if has_vocabulary(self.tokenizer):
            check_tokenizer(self.tokenizer, trunk.vocabulary_size, self.codec)
        self._loss = keras.metrics.Mean(name="loss")
        self._share = keras.metrics.Mean(name="accuracy")
        self.built = True

    @functools.cached_property
    def codec(self) -> Codec:
        """Strings to tokens."""
        return codec_of(self.tokenizer, self.add_start_token, self.special_tokens)

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        """Returns scores `[...]` of tokens `[..., L]` and how many of each, `[...]`."""
        tokens, lengths = inputs
        shape = tf.shape(lengths)
        rows = tf.reshape(tokens, [-1, tf.shape(tokens)[-1]])
        features = self.reader.trunk(tf.ensure_shape(rows, [None, None]))
        last = tf.gather(features, tf.reshape(lengths, [-1]) - 1, batch_dims=1)
        return tf.reshape(self.reader.outputs(last), shape)

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> Array:
        """Returns a score for each of B completions, `[B]` float32."""
        both = texts_of("prompts", prompts), texts_of("completions", completions)
        table, lengths = padded(self._rows(*both))
        scores: Array = self._judging(table, lengths).numpy()
        return scores

    @functools.cached_property
    def _judging(self) -> tf.types.experimental.PolymorphicFunction:
        specs = [tf.TensorSpec(shape, tf.int32) for shape in ([None, None], [None])]
        return traceable(lambda *inputs: self(inputs), specs)

    def fit(
        self,
        pairs: Iterable[Pair],
        validation_data: Iterable[Pair] | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Learns from preferences, after `compile(optimizer)`.

        Args:
            pairs: Tuples `(prompt, chosen, rejected)`, or dictionaries of these.
            validation_data: More of them, measured after each epoch. Defaults to none.
            **options: `batch_size`, `epochs` and others of `keras.Model.fit`.

        Returns:
            Keras's `History`: `loss`, and `accuracy`, the share of pairs in order.

        Raises:
            ValueError: If there is no pair, or one is not of three strings.
        """
        if validation_data is not None:
            options["validation_data"] = self._pairs(validation_data), None
        history: keras.callbacks.History = super().fit(self._pairs(pairs), **options)
        return history

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Tensor = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """See `keras.Model.compute_loss`; `y_pred` `[B, 2]`, the preferred first."""
        return bradley_terry(y_pred[:, 0], y_pred[:, 1])

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Tensor, sample_weight: Any = None
    ) -> dict[str, Tensor]:
        """See `keras.Model.compute_metrics`."""
        chosen, rejected = y_pred[:, 0], y_pred[:, 1]
        self._loss.update_state(tf.nn.softplus(rejected - chosen))
        self._share.update_state(chosen > rejected)
        results: dict[str, Tensor] = self.get_metrics_result()
        return results

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Loss and accuracy; a model of KerasHub has metrics of its own."""
        return [self._loss, self._share]

    def _pairs(self, pairs: Iterable[Pair]) -> tuple[Tokens, Tokens]:
        """Returns tokens `[N, 2, L]` of preferred and other texts, and `[N, 2]`."""
        rows = rows_of("pairs", pairs)
        parts = [_parts(pair, index) for index, pair in enumerate(rows)]
        prompts, chosen, rejected = zip(*parts, strict=True)
        tokens = [*self._rows(prompts, chosen), *self._rows(prompts, rejected)]
        table, lengths = padded(tokens)
        both = [2, len(parts)]
        return (
            table.reshape([*both, -1]).swapaxes(0, 1),
            lengths.reshape(both).swapaxes(0, 1),
        )

    def _rows(self, prompts: Sequence[str], completions: Sequence[str]) -> list[Tokens]:
        """Returns the tokens of each prompt with its completion and the end."""
        end = np.array([self.tokenizer.end_token_id], np.int32)
        room = self.reader.trunk.max_tokens or 0
        encoded = (
            self.codec.encode(prompts, prompts=True),
            self.codec.encode(completions),
        )
        return [
            np.concatenate([*row, end])[-room:] for row in zip(*encoded, strict=True)
        ]

    def get_config(self) -> Config:
        """See `keras.Model.get_config`."""
        return {
            "name": self.name,
            "causal_lm": saving.to_config(self.reader.trunk.lm),
            "tokenizer": keras.saving.serialize_keras_object(self.tokenizer),
            "add_start_token": self.add_start_token,
            "special_tokens": list(self.special_tokens),
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: Mapping[str, object] | None = None
    ) -> Self:
        """See `keras.Model.from_config`."""
        revive = keras.saving.deserialize_keras_object
        tokenizer = revive(config["tokenizer"], custom_objects)
        lm = saving.revived(config["causal_lm"], custom_objects)
        return cls(**{**config, "causal_lm": lm, "tokenizer": tokenizer})


def bradley_terry(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Returns −mean(log σ(r⁺ − r⁻)) of scores `[B]`, a scalar in nats."""
    return tf.reduce_mean(tf.nn.softplus(rejected - chosen))


def _parts(pair: Any, index: int) -> tuple[str, str, str]:
    """Returns the three texts of a pair."""
    named = isinstance(pair, Mapping)
    parts = [pair.get(name) for name in _PARTS] if named else pair
    known = isinstance(parts, (list, tuple)) and len(parts) == len(_PARTS)
    if not known or not all(isinstance(part, str) for part in parts):
        raise ValueError(
            "Each pair must be (prompt, chosen, rejected), three strings, or a "
            f"dictionary of these. Received: pairs[{index}]={pair!r}"
        )
    prompt, chosen, rejected = parts
    return prompt, chosen, rejected
