"""A language model as what a policy and its critic share, whatever its kind."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import keras
import tensorflow as tf

from kpg.language.tokenizers.coding import Tokens
from kpg.models.language import saving
from kpg.models.language.decoding.tables import sizes

State = tuple[Any, ...]
Self = TypeVar("Self", bound="TextTrunk")


class TextTrunk(keras.layers.Layer):
    """Reads texts and gives the features behind each token.

    The state is the text that was read so far: its tokens `[B, S]`, of which the first
    `[B]` are the text and the rest is padding. Before these two stand whatever else the
    model is given, `[B, ...]` each. Dropout is always off, so that what an update
    compares with is what was sampled from. Abstract: `LanguageTrunk` and `Seq2SeqTrunk`
    say what a model is given, and `call` of this and of tokens `[B, L]` gives features
    `[B, L, F]` behind each token.

    Args:
        lm: A language model of keras_nlp, or of keras_hub.

    Attributes:
        lm: The model.
        vocabulary_size: V, tokens that it knows.
        width: F, features behind a token.
        max_tokens: Most tokens that the model reads at a time, or `None` if it has no
            limit of its own.
    """

    argument: ClassVar[str]

    def __init__(self, lm: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lm = lm
        self.vocabulary_size = int(lm.backbone.vocabulary_size)
        self.width = int(lm.backbone.hidden_dim)
        limit = getattr(lm.backbone, "max_sequence_length", None)
        self.max_tokens = None if limit is None else int(limit)
        self._adapters = saving.Adapters(lm.backbone)
        self.built = True

    @abstractmethod
    def project(self, features: Any) -> Any:
        """Returns logits `[N, L, V]` of the tokens after features `[N, L, F]`."""

    @abstractmethod
    def begin(self, prompts: Tokens, lengths: Tokens) -> tuple[Tokens, State]:
        """Returns what precedes the first token of each completion.

        Args:
            prompts: `[B, P]`, padded on the right.
            lengths: `[B]`, tokens of each prompt, in 1 … P.

        Returns:
            The first observations `[B]`, and the state before them.
        """

    @abstractmethod
    def has_room(self, prompt_tokens: Any, new_tokens: Any) -> Any:
        """Whether the model reads prompts, and so many tokens after them.

        It is a bool of numbers, and a tensor of tensors.
        """

    @property
    @abstractmethod
    def room(self) -> str:
        """What `has_room` asks for, as a sentence without its end."""

    @property
    @abstractmethod
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Spec of one state."""

    @abstractmethod
    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """Returns the state of a text that begins with its first observation."""

    @property
    def exact(self) -> bool:
        """Whether the model computes in single precision or better."""
        return self.lm.backbone.compute_dtype in ("float32", "float64")

    def logits(self, features: tf.Tensor) -> tf.Tensor:
        """Returns float32 logits `[..., V]` of the token after `[..., F]`."""
        logits = self.project(tf.reshape(features, [-1, 1, self.width]))
        shape = [*sizes(features)[:-1], self.vocabulary_size]
        return tf.cast(tf.reshape(logits, shape), tf.float32)

    def unroll(self, observations: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """Reads on, T tokens in one forward pass.

        Args:
            observations: `[T, B]` integers, the tokens.
            state: Of the text before them.

        Returns:
            Features `[T, B, F]` behind each token, and the states after each, with T in
            front; the text is `[T, B, S + T]` or longer, and its length `[T, B]`.
        """
        *given, history, lengths = state
        fed = tf.transpose(tf.cast(observations, tf.int32))
        steps = tf.range(sizes(fed)[1])
        # The tokens go right behind the text, and each row's padding behind them. Keras
        # warns of attention to a single place.
        alone = (history.shape[1], fed.shape[1]) == (0, 1)
        room = tf.pad(history, [[0, 0], [0, sizes(fed)[1] + alone]])
        slots = tf.range(sizes(room)[1])
        turns = slots - lengths[:, tf.newaxis]
        own = tf.gather(fed, tf.clip_by_value(turns, 0, steps[-1]), batch_dims=1)
        tokens = tf.where(turns < 0, room, own)
        places = lengths[:, tf.newaxis] + steps
        features = tf.gather(self(*given, tokens), places, batch_dims=1)
        after = tf.transpose(places) + 1
        texts = tf.where(slots < after[..., tf.newaxis], tokens, 0)
        same = [tf.repeat(part[tf.newaxis], sizes(fed)[1], axis=0) for part in given]
        return tf.transpose(features, [1, 0, 2]), (*same, texts, after)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer.get_config`: the name and the model."""
        return {"name": self.name, self.argument: saving.to_config(self.lm)}

    @classmethod
    def from_config(cls: type[Self], config: dict[str, Any]) -> Self:
        """See `keras.layers.Layer.from_config`."""
        return cls(**{**config, cls.argument: saving.revived(config[cls.argument])})
