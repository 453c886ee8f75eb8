"""An executor that writes B texts as it is told: one compiled call for each token."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from kpg.graph.compiling import compiled, traceable
from kpg.models.language.control.interaction import Interaction
from kpg.models.language.control.steering import Steering
from kpg.models.language.decoding.rowwise import RowwiseDecoder
from kpg.types import Array, Nest, Tensor


class ExecutorWriter:
    """The device's side of texts that are written under control.

    What the executor remembers stays on the device, in variables: what is passed from
    call to call would be copied. `view` is what it thinks of each text, by the names of
    `Interaction.view`, and `prompt`, its summary; `log_likelihoods`, `[B]` in nats,
    what it alone gave to the tokens written last, 0 for a text that has just begun.
    """

    def __init__(
        self,
        steering: Steering,
        interaction: Interaction,
        decoder: RowwiseDecoder,
        jit_compile: bool,
    ) -> None:
        self._steering = steering
        self._interaction = interaction
        self._decoder = decoder
        self._memory: Nest = None
        self._parameters: tf.Variable = None
        self.view: dict[str, Array] = {}
        self.log_likelihoods = np.zeros(0, np.float32)
        self._reading = functools.cache(self._reading_of)
        self._writing = compiled(self._write, jit_compile)

    def replace(
        self, rows: Array, texts: Array, lengths: Array, prompts: Array, begun: bool
    ) -> None:
        """Reads texts `[R, L]`, of `[R]` tokens, into `[R]` rows; into all B at first.

        `prompts`, `[R]`, says how many of the tokens are prompts; `begun` whether all
        are.
        """
        if self._memory is None:
            self._remember(*map(tf.constant, (texts, lengths, prompts)))
            self.log_likelihoods = np.zeros(len(rows), np.float32)
        view = self._reading(texts.shape[1], begun)(
            tf.constant(rows, tf.int32), *map(tf.constant, (texts, lengths, prompts))
        )
        for name, part in view.items():
            if name not in self.view:
                self.view[name] = np.zeros(part.shape, np.float32)
            self.view[name][rows] = part.numpy()
        if begun:
            self.log_likelihoods[rows] = 0.0

    def write(
        self, actions: Array, states: Array, lengths: Array, key: list[int]
    ) -> Array:
        """Writes a token of each text, `[B]` int32, as `[B, ...]` actions tell.

        States `[B]` are of the word classes, lengths `[B]` those of the texts so far;
        the key is two integers, a stateless seed.
        """
        given = map(tf.constant, (actions, states, lengths))
        seed = tf.constant(key, tf.int32)
        tokens, likelihoods, view = self._writing(*given, seed)
        self.view |= {name: part.numpy().copy() for name, part in view.items()}
        self.log_likelihoods = likelihoods.numpy().copy()
        written: Array = tokens.numpy()
        return written

    def _remember(self, texts: Tensor, lengths: Tensor, prompts: Tensor) -> None:
        """Makes the variables."""
        variable = functools.partial(tf.Variable, trainable=False)
        features, memory = self._decoder.start(texts, lengths, prompts)
        self._memory = tf.nest.map_structure(variable, memory)
        self._parameters = variable(self._steering.executor.outputs(features))

    def _reading_of(
        self, room: int, begun: bool
    ) -> tf.types.experimental.PolymorphicFunction:
        """Returns a compiled reader of any number of texts of that much room."""

        def read(
            rows: Tensor, texts: Tensor, lengths: Tensor, prompts: Tensor
        ) -> dict[str, Tensor]:
            features, fresh = self._decoder.start(texts, lengths, prompts)
            parameters = self._steering.executor.outputs(features)
            kept = tf.nest.flatten((self._memory, self._parameters))
            pairs = zip(kept, tf.nest.flatten((fresh, parameters)), strict=True)
            for old, new in pairs:
                # Numbers that all texts share also belong to the texts that stay.
                if old.shape.rank:
                    # In place, the variable would be copied with every later read.
                    whole, places = tf.convert_to_tensor(old), rows[:, tf.newaxis]
                    old.assign(tf.tensor_scatter_nd_update(whole, places, new))
            view = self._interaction.view(features, parameters)
            if begun:
                view["prompt"] = self._interaction.summary(texts, lengths)
            return view

        texts = tf.TensorSpec([None, room], tf.int32)
        numbers = tf.TensorSpec([None], tf.int32)
        return traceable(read, [numbers, texts, numbers, numbers])

    def _write(
        self, actions: Tensor, states: Tensor, lengths: Tensor, key: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        before = tf.convert_to_tensor(self._parameters)
        memory = tf.nest.map_structure(tf.convert_to_tensor, self._memory)
        tokens = self._steering.tokens(before, actions, states, key)
        log_probs = tf.nn.log_softmax(before)
        likelihoods = tf.gather(log_probs, tokens, batch_dims=1)
        features, memory = self._decoder.advance(memory, tokens, lengths)
        parameters = self._steering.executor.outputs(features)
        tf.nest.map_structure(lambda old, new: old.assign(new), self._memory, memory)
        self._parameters.assign(parameters)
        return tokens, likelihoods, self._interaction.view(features, parameters)
