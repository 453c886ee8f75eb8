"""What a policy and its critic share: a language model that reads texts."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeAlias

import keras
import tensorflow as tf
from typing_extensions import Self

from kpg import contracts
from kpg.language.tokenizers.codec import Tokens
from kpg.models.language import saving
from kpg.models.language.decoding.tables import sizes
from kpg.types import Config, Tensor

State: TypeAlias = tuple[Tensor, ...]
Count: TypeAlias = "int | Tensor"


class TextTrunk(keras.layers.Layer):
    """Reads texts and returns the features behind each token; dropout is always off.

    The state is the text so far: its tokens `[B, S]`, padded behind, and their number
    `[B]`. What else the model is given, `[B, ...]` each, comes before these two; `call`
    receives that and tokens `[B, L]`, and returns features `[B, L, F]`; F is `width`.
    `argument` names the model in a configuration, `reader` a method that models of the
    right kind have, `wanted` says what they are, and `max_tokens` is the most tokens
    they read at a time, or `None` for no limit.
    """

    argument: ClassVar[str]
    reader: ClassVar[str]
    wanted: ClassVar[str]

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        contracts.check_names(cls, TextTrunk)

    def __init__(self, lm: keras.Model, **kwargs: object) -> None:
        contracts.check_complete(type(self))
        backbone = getattr(lm, "backbone", None)
        known = callable(getattr(lm, self.reader, None))
        if not known or not hasattr(backbone, "token_embedding"):
            raise ValueError(f"{self.wanted}. Received: {type(lm).__name__}")
        super().__init__(**kwargs)
        self.lm = lm
        self.vocabulary_size = int(lm.backbone.vocabulary_size)
        self.width = int(lm.backbone.hidden_dim)
        limit = getattr(lm.backbone, "max_sequence_length", None)
        self.max_tokens = None if limit is None else int(limit)
        self._adapters = saving.Adapters(lm.backbone)
        self.built = True

    @abstractmethod
    def project(self, features: Tensor) -> Tensor:
        """Returns logits `[N, L, V]` of the tokens after features `[N, L, F]`."""

    @property
    def head_variables(self) -> list[keras.Variable]:
        """The variables that `project` reads."""
        return list(self.lm.backbone.token_embedding.variables)

    @abstractmethod
    def begin(self, prompts: Tokens, lengths: Tokens) -> tuple[Tokens, State]:
        """Returns the first observations `[B]` of completions, and the state before.

        Prompts are `[B, P]`, padded on the right, of `[B]` tokens in 1 … P.
        """

    @abstractmethod
    def has_room(self, prompt_tokens: Count, new_tokens: Count) -> bool | Tensor:
        """Whether the model can read so much; numbers give a bool, tensors a tensor."""

    @property
    @abstractmethod
    def room(self) -> str:
        """What `has_room` requires, as a sentence without its full stop."""

    @property
    @abstractmethod
    def state_spec(self) -> tuple[tf.TensorSpec, ...]:
        """Spec of one state."""

    @abstractmethod
    def initial_state(self, batch_size: int | Tensor) -> State:
        """Returns the state of a text that begins with its first observation."""

    @abstractmethod
    def behind(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> Tensor:
        """Returns features `[N, F]` behind texts `[N, L]` of `[N]` tokens.

        The first of a row's tokens, `prompts` of them, `[N]`, are its prompt.
        """

    def continued(self, prompts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the text `[B, L]` that a completion is a part of, and its length.

        Prompts are those of `begin`, as tensors.
        """
        return prompts, lengths

    @property
    def exact(self) -> bool:
        """Whether the model computes in single precision or better."""
        return self.lm.backbone.compute_dtype in ("float32", "float64")

    def logits(self, features: Tensor) -> Tensor:
        """Returns float32 logits `[..., V]` of the token after `[..., F]`."""
        logits = self.project(tf.reshape(features, [-1, 1, self.width]))
        shape = [*sizes(features)[:-1], self.vocabulary_size]
        return tf.cast(tf.reshape(logits, shape), tf.float32)

    def unroll(self, observations: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads T more tokens, `[T, B]` integers, in one forward pass.

        Returns features `[T, B, F]` behind each token, and the states after each, with
        T in front; their text is `[T, B, S + T]` or longer.
        """
        *given, history, lengths = state
        fed = tf.transpose(tf.cast(observations, tf.int32))
        steps = tf.range(sizes(fed)[1])
        # The tokens go right behind the text, and each row's padding behind them. Keras
        # warns of attention to a single place.
        alone = int((history.shape[1], fed.shape[1]) == (0, 1))
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

    def get_config(self) -> Config:
        """The name and the model."""
        return {"name": self.name, self.argument: saving.to_config(self.lm)}

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """See `keras.layers.Layer.from_config`."""
        options = dict(config)
        return cls(saving.revived(options.pop(cls.argument)), **options)
